"""File + overrides + environment -> Config; an error lists all faults with file, line and key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from estimator.config.columns import column_faults
from estimator.config.document import Document, KeyPath, flow_value, read_document, split_key
from estimator.config.faults import ConfigFault, faults_of
from estimator.config.secrets import LOOKS_LIKE, secret_faults
from estimator.config.section import Section, Shelves
from estimator.config.sections import Config
from estimator.config.tutorial import Translation, translate
from estimator.config.validation import validate
from estimator.errors import ConfigError

ENVIRONMENT_PREFIX = "ESTIMATOR_CONFIG__"
REFERENCE = "docs/reference/config.md"

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True, slots=True)
class Places:
    """Where each key of a config was written: in its document, in an override or in the environment."""

    document: Document = field(default_factory=lambda: Document("config", {}))
    translation: Translation = field(default_factory=lambda: Translation({}, {}))
    overridden: Mapping[KeyPath, str] = field(default_factory=dict)

    def error(self, faults: Sequence[ConfigFault]) -> ConfigError:
        """Return an error that lists all faults in their order in the file, and says where their keys are explained."""
        lines = [self._line(fault) for fault in sorted(faults, key=self._position)]
        sections = [str(fault.path[0]) for fault in faults if len(fault.path) > 1]
        hint = f"estimator schema {sections[0] if sections else 'data'} explains the keys, as does {REFERENCE}"
        if any(fault.message.startswith(LOOKS_LIKE) for fault in faults):
            hint = "versions and images hold their config; what is no credential goes into secrets.allow: [FINGERPRINT]"
        if len(lines) == 1:
            return ConfigError(lines[0], hint=hint)
        return ConfigError(f"{len(lines)} faults in the config:\n  " + "\n  ".join(lines), hint=hint)

    def _line(self, fault: ConfigFault) -> str:
        """Return a fault with its place and its key, as they were written."""
        if fault.line is not None:
            return f"{self.document.name}:{fault.line}: {fault}"
        written = self.translation.written_path(fault.path)
        key = ".".join(map(str, written))
        override = self._override(fault.path)
        # An option names its key already.
        if override is not None and f"--set {key}".startswith(override):
            return f"--set {key}: {fault}"
        return f"{override or self.document.where(written)}: {key}: {fault}"

    def _position(self, fault: ConfigFault) -> int:
        if fault.line is not None or self._override(fault.path):
            return fault.line or 0
        _, _, line = self.document.where(self.translation.written_path(fault.path)).rpartition(":")
        return int(line) if line.isdecimal() else 0

    def _override(self, path: KeyPath) -> str | None:
        parents = [path[:end] for end in range(len(path), 0, -1)]
        return next((self.overridden[parent] for parent in parents if parent in self.overridden), None)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A checked config, with the document it was read from, so that later faults have a file and line too."""

    config: Config
    places: Places

    @property
    def document(self) -> Document:
        """The config as it was written."""
        return self.places.document

    def check_columns(self, header: Collection[str], schema_names: Collection[str] = ()) -> None:
        """Check every column that the config names; `schema_names` are those of a reviewed schema.

        Raises
        ------
        ConfigError: lists every column that does not exist.
        """
        if faults := column_faults(self.config, header, schema_names):
            raise self.places.error(faults)


def read_config(
    path: Path, shelves: Shelves, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Read a config file; an override such as "training.epochs=5" wins over the environment, which wins over the file.

    The environment variable for that key is ESTIMATOR_CONFIG__TRAINING__EPOCHS.

    Raises
    ------
    ConfigError: lists every fault with its file and line, the value found and the values allowed.
    """
    return load_config(read_document(path), shelves, overrides=overrides, environment=environment).config


def resolve(values: Mapping[str, Any], shelves: Shelves, *, overrides: Sequence[str] = ()) -> Config:
    """Return the checked Config of plain values; see `read_config`."""
    return load_config(Document("config", dict(values)), shelves, overrides=overrides).config


def load_config(
    document: Document,
    shelves: Shelves,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    more_faults: Callable[[LoadedConfig], list[ConfigFault]] = lambda loaded: [],
) -> LoadedConfig:
    """Return the checked config of a document; see `read_config`.

    `more_faults` are found where there are faults already, so that all are reported at once.
    """
    translation, overridden = translate(document.values), dict[KeyPath, str]()
    changes = [*_from_environment(environment or {}), *((None, text) for text in overrides)]
    for label, text in changes:
        path = override(translation.values, text)
        overridden[path] = label or f"--set {text.partition('=')[0].strip()}"
    # Before all others: a message about a wrong value shows the value.
    secrets = secret_faults(translation.values, document, [text for _, text in changes])
    config, faults = validate(translation.values, shelves)
    faults = [*secrets, *(fault for fault in faults if not any(secret.hides(fault) for secret in secrets))]
    places = Places(document, translation, overridden)
    if config is not None and faults:
        found = more_faults(LoadedConfig(config, places))
        faults += [fault for fault in found if not any(known.overlaps(fault.path) for known in faults)]
    if faults or config is None:
        raise places.error(faults)
    return LoadedConfig(config, places)


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
    changed: dict[str, Any] = {}
    for text in (*from_environment(environment), *overrides):
        if text.startswith(f"{name}."):
            override(values, text)
            override(changed, text)
    if secrets := secret_faults(changed):
        raise Places().error(secrets)
    content = {**values[name], **(settings or {})}
    try:
        return section.model_validate(content)
    except ValidationError as error:
        faults = faults_of(error, section, (name,), content)
        messages = (f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults)
        raise ConfigError("; ".join(messages), hint=faults[0].hint) from error


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the overrides that environment variables set.

    >>> from_environment({"ESTIMATOR_CONFIG__TRAINING__EPOCHS": "5", "HOME": "/root"})
    ['training.epochs=5']
    """
    return [text for _, text in _from_environment(environment)]


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (variable, override) of each variable that sets a key."""
    return [
        (name, f"{name.removeprefix(ENVIRONMENT_PREFIX).lower().replace('__', '.')}={value}")
        for name, value in sorted(environment.items())
        if name.startswith(ENVIRONMENT_PREFIX)
    ]


def override(values: dict[str, Any], text: str) -> KeyPath:
    """Put "SECTION.KEY=VALUE" into translated values, in place, and return the path that is set.

    Raises
    ------
    ConfigError: the text is not of this form.
    """
    key, equals, value = text.partition("=")
    parts = split_key(key.strip())
    if not equals or not all(parts):
        raise ConfigError(f"--set {key}: expected SECTION.KEY=VALUE", hint="for example --set training.epochs=5")
    change = translate(_nested(parts, flow_value(value))).values
    for name in ("model", "deployment"):
        before, after = values.get(name), change.get(name)
        if isinstance(before, dict) and isinstance(after, Mapping):
            # Another kind starts from its own defaults.
            values[name] = before if after.get("kind") in (None, before.get("kind")) else {}
    _merge(values, change)
    return _path_set(change, len(parts))


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    return {parts[0]: value if len(parts) == 1 else _nested(parts[1:], value)}


def _path_set(change: Any, n_parts: int) -> KeyPath:
    """Return the path to the value that was nested `n_parts` deep, after the tutorial's names were translated."""
    path: list[str | int] = []
    while isinstance(change, Mapping) and change and len(path) < max(n_parts, 2):
        # The tutorial's section also sets the kind.
        name = next((name for name in change if name != "kind"), next(iter(change)))
        if len(path) >= n_parts and len(change) > 1:
            break
        path.append(name)
        change = change[name]
    return tuple(path)


def _merge(values: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value
