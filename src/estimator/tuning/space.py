"""Dimensions of a search -> what a trial tries, and what it amounts to as a config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from estimator.config import Config, Dimension, Layers, Range, Shelves, Tuning, resolve
from estimator.config.space import has_key, kinds_of, split_key, with_edits
from estimator.errors import ConfigError

KIND = "model.kind"


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched in one config: dimensions by key, for every kind of model that is tried."""

    config: Config
    shelves: Shelves
    kinds: Mapping[str, Mapping[str, Dimension]]

    @classmethod
    def of(cls, config: Config, shelves: Shelves) -> Space:
        """Return the space of a config; a kind that it names no setting of gets its usual one.

        Raises
        ------
        ConfigError: there is nothing to search.
        """
        asked = {key: item for key, item in config.tuning.space.items() if key != KIND}
        kinds, found = kinds_of(config, shelves), {}
        for kind in kinds:
            found[kind] = {key: item for key, item in asked.items() if has_key(kind, key, shelves)}
            if not asked or (len(kinds) > 1 and not any(key.startswith("model.") for key in found[kind])):
                usual: Mapping[str, Any] = shelves.models.load(kind).default_space  # type: ignore[attr-defined] # a Model
                found[kind] = {**Tuning(space=dict(usual)).space, **found[kind]}
        if len(kinds) == 1 and not found[kinds[0]]:
            raise ConfigError(f"a model of kind {kinds[0]!r} has no usual search", hint="name settings in tuning.space")
        return cls(config, shelves, found)

    def suggested(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the edits, key -> value, that a trial is to try."""
        kinds = list(self.kinds)
        if len(kinds) == 1:
            return {key: _suggested(trial, key, item) for key, item in self.kinds[kinds[0]].items()}
        kind = trial.suggest_categorical(KIND, kinds)
        own = {key: _suggested(trial, self.name(kind, key), item) for key, item in self.kinds[kind].items()}
        return {KIND: kind, **own}

    def name(self, kind: str, key: str) -> str:
        """Return what a trial calls a key: among several kinds, each has its own."""
        return key.replace("model.", f"{kind}.", 1) if len(self.kinds) > 1 and key.startswith("model.") else key

    def varied(self, edits: Mapping[str, Any]) -> Config:
        """Return the config with edits in place; without a search of its own."""
        values = with_edits(self.config, edits, self.shelves)
        return resolve({**values, "tuning": {}}, self.shelves)

    def own(self) -> dict[str, Any] | None:
        """Return the parameters of a trial that tries the config as it is; None when it lies outside the space."""
        kind = kinds_of(self.config.model_copy(update={"tuning": Tuning()}), self.shelves)[0]
        if kind not in self.kinds:
            return None
        parameters: dict[str, Any] = {KIND: kind} if len(self.kinds) > 1 else {}
        plain = self.varied({})
        values = with_edits(self.config, {}, self.shelves)
        for key, item in self.kinds[kind].items():
            found = self._inside(key, item, _at(values, split_key(key)), plain)
            if found is None:
                return None
            parameters |= {f"{self.name(kind, key)}{end}": value for end, value in found.items()}
        return parameters

    def _inside(self, key: str, item: Dimension, value: Any, plain: Config) -> dict[str, Any] | None:
        """Return the parameters, by what is added to the key, that give the config's own value."""
        if isinstance(item, list):
            same = [choice for choice in item if self.varied({key: choice}) == plain]
            return {"": _label(same[0])} if same else None
        if isinstance(item, Range):
            inside = isinstance(value, int | float) and item.low <= value <= item.high
            return {"": value} if inside else None
        units = [layer["units"] for layer in value]
        inside = item.count.low <= len(units) <= item.count.high
        inside = inside and all(item.units.low <= size <= item.units.high for size in units)
        if not inside or self.varied({key: units}) != plain:
            return None
        return {".count": len(units), **{f".{place}": size for place, size in enumerate(units, start=1)}}


def shown(value: Any) -> str:
    """Return a setting's value for people.

    >>> shown("relu"), shown([64, 32]), shown(0.05)
    ('relu', '[64, 32]', '0.05')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _label(choice: Any) -> str:
    return json.dumps(choice, ensure_ascii=False)


def _suggested(trial: optuna.Trial, name: str, item: Dimension) -> Any:
    if isinstance(item, Layers):
        count = int(_number(trial, f"{name}.count", item.count))
        return [int(_number(trial, f"{name}.{place}", item.units)) for place in range(1, count + 1)]
    if isinstance(item, Range):
        return _number(trial, name, item)
    return json.loads(trial.suggest_categorical(name, [_label(choice) for choice in item]))


def _number(trial: optuna.Trial, name: str, item: Range) -> float:
    if item.integer:
        return trial.suggest_int(name, int(item.low), int(item.high), log=item.log)
    # Four digits are enough to search by, and can be read.
    rounded = float(f"{trial.suggest_float(name, item.low, item.high, log=item.log):.4g}")
    return min(max(rounded, item.low), item.high)


def _at(values: Mapping[str, Any], path: Sequence[str | int]) -> Any:
    found: Any = values
    for part in path:
        if not isinstance(found, Mapping):
            return None
        found = {**found, **dict(found.get("settings") or ())}.get(part)
    return found
