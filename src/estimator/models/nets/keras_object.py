"""A Keras object of a config, checked: "adam" or {name: adam, learning_rate: 0.01}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from estimator.core.text import did_you_mean
from estimator.models.nets.keras_names import SCHEDULES, Settings, canonical

_NAMES = ("name", "kind", "class_name", "schedule")


class KerasObject(BaseModel):
    """A Keras name with all of its settings, defaults filled in; hashable."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __getitem__(self, key: str) -> Any:
        return dict(self.settings)[key]

    def __hash__(self) -> int:
        return hash((self.name, self.settings))

    @property
    def options(self) -> dict[str, Any]:
        """The settings by name."""
        return dict(self.settings)


def read_keras_object(value: object, defaults_by_name: Mapping[str, Settings], noun: str) -> KerasObject:
    """Return a Keras object as written in a config, checked; `noun` names its kind in errors.

    Raises
    ------
    ValueError: an unknown name or setting, a setting of the wrong type, or a required one left out.
    """
    if isinstance(value, KerasObject):
        return value
    if isinstance(value, str):
        written, given = value, {}
    elif isinstance(value, Mapping):
        content = dict(value)
        # A KerasObject that went through JSON comes back with its fields.
        given = dict(content.pop("settings", ()) or ())
        written = next((str(content.pop(key)) for key in _NAMES if key in content), "")
        given.update(content)
    else:
        raise ValueError(f"expected the name of {noun}, or a mapping with `name` and its settings, got {value!r}")
    name = canonical(written, defaults_by_name)
    if name not in defaults_by_name:
        raise ValueError(f"no {noun} called {written!r}; {did_you_mean(name, defaults_by_name)}")
    defaults = defaults_by_name[name]
    for key in given:
        if key not in defaults:
            raise ValueError(f"{noun} {name!r} has no setting {key!r}; {did_you_mean(str(key), defaults)}")
    settings = {**defaults, **{key: _typed(key, item, defaults[key]) for key, item in given.items()}}
    missing = [key for key, item in settings.items() if item is ...]
    if missing:
        raise ValueError(f"{noun} {name!r} needs {', '.join(missing)}")
    return KerasObject(name=name, settings=tuple(sorted(settings.items(), key=lambda item: item[0])))


def _typed(key: str, value: Any, default: Any) -> Any:
    if key == "learning_rate" and isinstance(value, str | Mapping):
        return read_keras_object(value, SCHEDULES, "learning-rate schedule")
    if isinstance(value, list | tuple):
        return tuple(_typed(key, item, ...) for item in value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{key}: expected true or false, got {value!r}")
        return value
    if isinstance(default, str):
        return str(value)
    if value is None and (default is None or default is ...):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key}: expected a number, got {value!r}")
    return value
