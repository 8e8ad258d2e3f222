"""A config with some settings replaced by others, and which keys `tuning.space` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estimator.config.document import KeyPath, split_key
from estimator.config.section import Shelves
from estimator.config.sections import Config, model_data
from estimator.config.tuning import Dimension, Layers, Range

SEARCHED = ("model", "training", "features")
# These decide which rows a trial is evaluated on, so trials could not be compared.
NOT_SEARCHED = ("training.seed", "training.test_size", "training.split")


def with_edits(config: Config, edits: Mapping[str, Any], shelves: Shelves) -> dict[str, Any]:
    """Return a config's values, all defaults filled in, with edits (key -> value) applied.

    Another `model.kind` starts from its own defaults.
    """
    kind = shelves.models.name_of(type(config.model))
    values = model_data(config, kind)
    model_class = shelves.models.load(edits.get("model.kind", kind))
    if edits.get("model.kind", kind) != kind:
        values["model"] = model_class().model_dump(mode="json")
    for key, value in edits.items():
        set_value(values, split_key(key), value)
    values["model"] = model_class.with_dependent_settings(values["model"], changed_model_keys(edits))
    return values


def changed_model_keys(edits: Mapping[str, Any]) -> set[str]:
    """Return the keys of the section `model` that edits change.

    >>> changed_model_keys({"model.depth": 4, "training.epochs": 5})
    {'depth'}
    """
    return {str(split_key(key)[1]) for key in edits if key.startswith("model.")}


def set_value(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set a value in place; a plain name on the way, such as "adam", becomes a mapping with that `name`.

    >>> values = {"optimizer": "adam"}
    >>> set_value(values, ("optimizer", "learning_rate"), 0.01)
    >>> values
    {'optimizer': {'name': 'adam', 'learning_rate': 0.01}}
    """
    holder: Any = values
    for part in path[:-1]:
        inner = holder.get(part)
        holder[part] = dict(inner) if isinstance(inner, Mapping) else {} if inner is None else {"name": inner}
        holder = holder[part]
    holder[path[-1]] = value


def probes(dimension: Dimension) -> list[Any]:
    """Return the values that show whether a setting accepts all that a search may try.

    >>> probes(Range(low=2, high=8, integer=True)), probes(["relu", "gelu"])
    ([2, 8], ['relu', 'gelu'])
    """
    if isinstance(dimension, Range):
        low, high = dimension.low, dimension.high
        return [int(low), int(high)] if dimension.integer else [low, high, low + (high - low) * 0.37]
    if isinstance(dimension, Layers):
        count, units = dimension.count, dimension.units
        return [[int(units.low)] * int(count.low), [int(units.high)] * int(count.high)]
    return list(dimension)


def kinds_of(config: Config, shelves: Shelves) -> list[str]:
    """Return the kinds of model that a search chooses from."""
    kinds = config.tuning.space.get("model.kind")
    return [str(kind) for kind in kinds] if isinstance(kinds, list) else [shelves.models.name_of(type(config.model))]


def has_key(kind: str, key: str, shelves: Shelves) -> bool:
    """Whether a search over a kind of model can set a key."""
    return not key.startswith("model.") or split_key(key)[1] in shelves.models.load(kind).model_fields
