"""File + overrides + environment -> Config; an error lists all faults with file, line and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from estimator.config.document import Document, flow_value, read_document
from estimator.config.section import Section, Shelves
from estimator.config.sections import Config
from estimator.config.tutorial import Translation, translate
from estimator.config.validation import ConfigFault, faults_of, validate
from estimator.errors import ConfigError

ENVIRONMENT_PREFIX = "ESTIMATOR_CONFIG__"

AnySection = TypeVar("AnySection", bound=Section)


def read_config(
    path: Path, shelves: Shelves, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Read a config file; an override such as "training.epochs=5" wins over the environment, which wins over the file.

    The environment variable for that key is ESTIMATOR_CONFIG__TRAINING__EPOCHS.

    Raises
    ------
    ConfigError: lists every fault with its file and line, the value found and the values allowed.
    """
    document = read_document(path)
    return resolve(
        document.values, shelves, document=document, overrides=[*from_environment(environment or {}), *overrides]
    )


def resolve(
    values: Mapping[str, Any], shelves: Shelves, *, document: Document | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Return the checked Config of plain values; see `read_config`."""
    translation = translate(values)
    for text in overrides:
        override(translation.values, text)
    config, faults = validate(translation.values, shelves)
    if faults or config is None:
        raise _error(faults, translation, document or Document("config", {}))
    return config


def resolve_section(
    name: str,
    section: type[AnySection],
    stored: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> AnySection:
    """Return one section of the config stored with a version, changed by environment, overrides and settings in turn.

    Keys that this release does not know are dropped from `stored`, so a version of another release can be used.

    Raises
    ------
    ConfigError: lists every fault.
    """
    values: dict[str, Any] = {name: {key: stored[key] for key in section.model_fields if key in stored}}
    for text in (*from_environment(environment), *overrides):
        if text.startswith(f"{name}."):
            override(values, text)
    try:
        return section.model_validate({**values[name], **(settings or {})})
    except ValidationError as error:
        faults = faults_of(error, section, (name,))
        messages = (f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults)
        raise ConfigError("; ".join(messages), hint=faults[0].hint) from error


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the overrides that environment variables set.

    >>> from_environment({"ESTIMATOR_CONFIG__TRAINING__EPOCHS": "5", "HOME": "/root"})
    ['training.epochs=5']
    """
    return [
        f"{name.removeprefix(ENVIRONMENT_PREFIX).lower().replace('__', '.')}={value}"
        for name, value in sorted(environment.items())
        if name.startswith(ENVIRONMENT_PREFIX)
    ]


def override(values: dict[str, Any], text: str) -> None:
    """Put "SECTION.KEY=VALUE" into translated values, in place.

    Raises
    ------
    ConfigError: the text is not of this form.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: expected SECTION.KEY=VALUE", hint="for example --set training.epochs=5")
    change = translate(_nested(parts, flow_value(value))).values
    for name in ("model", "deployment"):
        before, after = values.get(name), change.get(name)
        if isinstance(before, dict) and isinstance(after, Mapping):
            # Another kind starts from its own defaults.
            values[name] = before if after.get("kind") in (None, before.get("kind")) else {}
    _merge(values, change)


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    return {parts[0]: value if len(parts) == 1 else _nested(parts[1:], value)}


def _merge(values: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _error(faults: Sequence[ConfigFault], translation: Translation, document: Document) -> ConfigError:
    lines = []
    for fault in faults:
        written = translation.written_path(fault.path)
        key = ".".join(map(str, written))
        hint = f" ({fault.hint})" if fault.hint else ""
        lines.append(f"{document.where(written)}: {key}: {fault.message}{hint}")
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError(f"{len(lines)} faults in the config:\n  " + "\n  ".join(lines))
