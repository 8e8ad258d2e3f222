"""Which keys of a config describe a model, and which act on a machine: only a config of one's own may do that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from estimator.config.section import Section
from estimator.config.sections import Config

# The sections that describe a model, and those of their keys that do not. The table that `data` names is opened only by
# who asks first. Whatever is not named here acts on the machine: a new key has no authority until it is given some.
_DESCRIBING: Mapping[str, frozenset[str]] = {
    "name": frozenset(),
    "purpose": frozenset(),
    "data": frozenset(),
    "schema": frozenset({"file"}),
    "features": frozenset(),
    "model": frozenset(),
    "training": frozenset({"pretrained", "scratch", "memory_limit"}),
    "validation": frozenset(),
    "tuning": frozenset({"study"}),
    "evaluation": frozenset(),
    "secrets": frozenset(),
}
# What the other sections say of a model's columns.
_OF_COLUMNS: Mapping[str, tuple[str, ...]] = {"serving": ("label", "private_columns")}


def description(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a version's config without what acts on a machine: addresses, files, hosts, keys, logs, alerts.

    >>> description({"data": {"target": "y"}, "store": "/", "serving": {"host": "0.0.0.0", "label": "Price"}})
    {'data': {'target': 'y'}, 'serving': {'label': 'Price'}}
    """
    kept: dict[str, Any] = {"serving": {}}
    for name, value in values.items():
        if name in _DESCRIBING:
            kept[name] = _without(value, _DESCRIBING[name])
        elif name in _OF_COLUMNS and isinstance(value, Mapping):
            kept[name] = {key: value[key] for key in _OF_COLUMNS[name] if key in value}
    return {name: kept[name] for name in values if name in kept} | {"serving": kept["serving"]}


def acting(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what acts on a machine in a version's config and is not the default, by key.

    >>> acting({"data": {"target": "y"}, "store": "/", "serving": {"host": "0.0.0.0", "port": 8000}})
    {'store': '/', 'serving.host': '0.0.0.0'}
    """
    return dict(_acting(values, description(values)))


def _acting(values: Mapping[str, Any], kept: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        default = _defaults().get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            keys = kept.get(name, {})
            yield from (
                (f"{name}.{key}", item) for key, item in value.items() if key not in keys and item != default.get(key)
            )
        elif name not in kept and value != default:
            yield name, value


def _without(value: Any, keys: frozenset[str]) -> Any:
    return {key: item for key, item in value.items() if key not in keys} if isinstance(value, Mapping) else value


@cache
def _defaults() -> Mapping[str, Any]:
    config = Config.model_validate({"data": {"path": "", "target": ""}, "model": Section()})
    return config.model_dump(mode="json", by_alias=True)
