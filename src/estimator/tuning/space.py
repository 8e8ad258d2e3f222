"""The search space: what a trial tries, and the config that results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from estimator.config import Config, Dimension, Layers, Range, Shelves, Tuning, resolve
from estimator.config.document import split_key
from estimator.config.space import has_key, kinds_of, with_edits
from estimator.errors import ConfigError

KIND = "model.kind"


@dataclass(frozen=True, slots=True)
class Space:
    """The dimensions to search, by kind of model and key."""

    config: Config
    shelves: Shelves
    kinds: Mapping[str, Mapping[str, Dimension]]

    @classmethod
    def of(cls, config: Config, shelves: Shelves) -> Space:
        """Return the space of a config; a kind without settings in the config gets its default space.

        Raises
        ------
        ConfigError: there is nothing to search.
        """
        configured = {key: item for key, item in config.tuning.space.items() if key != KIND}
        kinds, by_kind = kinds_of(config, shelves), {}
        for kind in kinds:
            by_kind[kind] = {key: item for key, item in configured.items() if has_key(kind, key, shelves)}
            if not configured or (len(kinds) > 1 and not any(key.startswith("model.") for key in by_kind[kind])):
                default: Mapping[str, Any] = shelves.models.load(kind).default_space  # type: ignore[attr-defined] # a Model
                by_kind[kind] = {**Tuning(space=dict(default)).space, **by_kind[kind]}
        if len(kinds) == 1 and not by_kind[kinds[0]]:
            raise ConfigError(
                f"a model of kind {kinds[0]!r} has no default search space", hint="name settings in tuning.space"
            )
        return cls(config, shelves, by_kind)

    def suggested(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the settings, key -> value, that a trial tries."""
        kinds = list(self.kinds)
        if len(kinds) == 1:
            return {key: _suggested(trial, key, item) for key, item in self.kinds[kinds[0]].items()}
        kind = trial.suggest_categorical(KIND, kinds)
        settings = {key: _suggested(trial, self.name(kind, key), item) for key, item in self.kinds[kind].items()}
        return {KIND: kind, **settings}

    def name(self, kind: str, key: str) -> str:
        """Return the name of a key in a trial: with several kinds, each kind has its own parameters."""
        return key.replace("model.", f"{kind}.", 1) if len(self.kinds) > 1 and key.startswith("model.") else key

    def varied(self, edits: Mapping[str, Any]) -> Config:
        """Return the config with other settings, and without its own tuning section."""
        values = with_edits(self.config, edits, self.shelves)
        return resolve({**values, "tuning": {}}, self.shelves)

    def current(self) -> dict[str, Any] | None:
        """Return the parameters of a trial of the current config; None when it is outside the space."""
        kind = kinds_of(self.config.model_copy(update={"tuning": Tuning()}), self.shelves)[0]
        if kind not in self.kinds:
            return None
        parameters: dict[str, Any] = {KIND: kind} if len(self.kinds) > 1 else {}
        plain = self.varied({})
        values = with_edits(self.config, {}, self.shelves)
        for key, item in self.kinds[kind].items():
            suffixes = self._parameters(key, item, _at(values, split_key(key)), plain)
            if suffixes is None:
                return None
            parameters |= {f"{self.name(kind, key)}{suffix}": value for suffix, value in suffixes.items()}
        return parameters

    def _parameters(self, key: str, item: Dimension, value: Any, plain: Config) -> dict[str, Any] | None:
        """Return the parameters that give the current value, by suffix of the key; None when it is not in the space."""
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
        return {".count": len(units), **{f".{index}": size for index, size in enumerate(units, start=1)}}


def format_setting(value: Any) -> str:
    """Return the value of a setting as text.

    >>> format_setting("relu"), format_setting([64, 32]), format_setting(0.05)
    ('relu', '[64, 32]', '0.05')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _label(choice: Any) -> str:
    return json.dumps(choice, ensure_ascii=False)


def _suggested(trial: optuna.Trial, name: str, item: Dimension) -> Any:
    if isinstance(item, Layers):
        count = int(_number(trial, f"{name}.count", item.count))
        return [int(_number(trial, f"{name}.{index}", item.units)) for index in range(1, count + 1)]
    if isinstance(item, Range):
        return _number(trial, name, item)
    return json.loads(trial.suggest_categorical(name, [_label(choice) for choice in item]))


def _number(trial: optuna.Trial, name: str, item: Range) -> float:
    if item.integer:
        return trial.suggest_int(name, int(item.low), int(item.high), log=item.log)
    # Four digits are precise enough for a search, and readable.
    rounded = float(f"{trial.suggest_float(name, item.low, item.high, log=item.log):.4g}")
    return min(max(rounded, item.low), item.high)


def _at(values: Mapping[str, Any], path: Sequence[str | int]) -> Any:
    value: Any = values
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = {**value, **dict(value.get("settings") or ())}.get(part)
    return value
