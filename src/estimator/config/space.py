"""A config with some settings in place of others, and what may stand in `tuning.space`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estimator.config.document import Path_
from estimator.config.sections import Config, Dimension, Layers, Range, model_data
from estimator.config.shelves import Shelves

SEARCHED = ("model", "training", "features")
# With another value, trials would be judged on other rows.
FIXED = ("training.seed", "training.test_size", "training.split")


def path_of(key: str) -> Path_:
    """Return the parts of a key; the name of a column may hold dots.

    >>> path_of("model.optimizer.learning_rate"), path_of("features.columns.emp.rate.encoder")
    (('model', 'optimizer', 'learning_rate'), ('features', 'columns', 'emp.rate', 'encoder'))
    """
    if key.startswith("features.columns."):
        name, _, last = key.removeprefix("features.columns.").rpartition(".")
        return ("features", "columns", name, last)
    return tuple(key.split("."))


def varied(config: Config, edits: Mapping[str, Any], shelves: Shelves) -> dict[str, Any]:
    """Return a config's values, all defaults filled in, with edits, key -> value, in their place.

    Another `model.kind` starts from its own defaults.
    """
    kind = shelves.models.name_of(type(config.model))
    values = model_data(config, kind)
    chosen = shelves.models.load(edits.get("model.kind", kind))
    if edits.get("model.kind", kind) != kind:
        values["model"] = chosen().model_dump(mode="json")
    for key, value in edits.items():
        put(values, path_of(key), value)
    changed = {str(path_of(key)[1]) for key in edits if key.startswith("model.")}
    values["model"] = chosen.followed(values["model"], changed)
    return values


def put(values: dict[str, Any], path: Path_, value: Any) -> None:
    """Set a value; a word on the way becomes a mapping with its name."""
    holder: Any = values
    for part in path[:-1]:
        inner = holder.get(part)
        holder[part] = dict(inner) if isinstance(inner, Mapping) else {} if inner is None else {"name": inner}
        holder = holder[part]
    holder[path[-1]] = value


def probes(dimension: Dimension) -> list[Any]:
    """Return the values that show whether a setting takes all that a search would give it."""
    if isinstance(dimension, Range):
        low, high = dimension.low, dimension.high
        return [int(low), int(high)] if dimension.integer else [low, high, low + (high - low) * 0.37]
    if isinstance(dimension, Layers):
        count, units = dimension.count, dimension.units
        return [[int(units.low)] * int(count.low), [int(units.high)] * int(count.high)]
    return list(dimension)


def kinds_of(config: Config, shelves: Shelves) -> list[str]:
    """Return the kinds of model that a search chooses from."""
    named = config.tuning.space.get("model.kind")
    return [str(kind) for kind in named] if isinstance(named, list) else [shelves.models.name_of(type(config.model))]


def takes(kind: str, key: str, shelves: Shelves) -> bool:
    """Whether a key is one that a search with a kind of model can set."""
    return not key.startswith("model.") or path_of(key)[1] in shelves.models.load(kind).model_fields
