"""A Keras object of a config, checked: "adam" or {name: adam, learning_rate: 0.01}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from estimator.config import ConfigFault, NestedError
from estimator.config.document import KeyPath
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
    NestedError: an unknown name, unknown settings, settings of the wrong type, or required ones left out.
    """
    if isinstance(value, KerasObject):
        return value
    name_key, written, given = _parts(value, noun)
    name = canonical(written, defaults_by_name)
    if name not in defaults_by_name:
        problem = f"no {noun} called {written!r}" if written else f"{noun} without a name"
        raise NestedError([ConfigFault(name_key, problem, did_you_mean(name, defaults_by_name))])
    defaults = defaults_by_name[name]
    settings, faults = dict(defaults), list[ConfigFault]()
    for key, item in given.items():
        if key not in defaults:
            hint = did_you_mean(str(key), defaults) if defaults else "it has none"
            faults.append(ConfigFault((key,), f"{noun} {name!r} has no setting {key!r}", hint))
            continue
        try:
            settings[key] = _typed(key, item, defaults[key])
        except NestedError as error:
            faults += [replace(fault, path=(key, *fault.path)) for fault in error.faults]
    missing = [key for key in defaults if settings[key] is ...]
    if missing:
        faults.append(ConfigFault((), f"{noun} {name!r} needs {', '.join(missing)}"))
    if faults:
        raise NestedError(faults)
    return KerasObject(name=name, settings=tuple(sorted(settings.items(), key=lambda item: item[0])))


def _parts(value: object, noun: str) -> tuple[KeyPath, str, dict[str, Any]]:
    """Return the key of the name, the name and the settings as they were written."""
    if isinstance(value, str):
        return (), value, {}
    if not isinstance(value, Mapping):
        expected = f"expected the name of {noun}, or a mapping with `name` and its settings"
        raise NestedError([ConfigFault((), f"{expected}, got {value!r}")])
    content = dict(value)
    # A KerasObject that went through JSON comes back with its fields.
    given = dict(content.pop("settings", ()) or ())
    name_key = next((key for key in _NAMES if key in content), None)
    written = "" if name_key is None else str(content.pop(name_key))
    return () if name_key is None else (name_key,), written, {**given, **content}


def _typed(key: str, value: Any, default: Any) -> Any:
    if key == "learning_rate" and isinstance(value, str | Mapping):
        return read_keras_object(value, SCHEDULES, "learning-rate schedule")
    if isinstance(value, list | tuple):
        return tuple(_typed(key, item, ...) for item in value)
    if isinstance(default, str):
        return str(value)
    if value is None and (default is None or default is ...):
        return None
    if isinstance(default, bool) and not isinstance(value, bool):
        raise NestedError([ConfigFault((), f"expected true or false, got {value!r}")])
    if not isinstance(default, bool) and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise NestedError([ConfigFault((), f"expected a number, got {value!r}")])
    return value
