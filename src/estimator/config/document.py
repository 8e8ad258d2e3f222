"""A config or schema as it was written: its text, its plain values, and the line of each key."""

from __future__ import annotations

import json
import numbers
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estimator.config.formats import READERS, KeyPath, flow_value
from estimator.errors import ConfigError

__all__ = ["Document", "KeyPath", "flow_value", "parse_document", "read_document", "split_key", "values_document"]

# Keys of one column, whose name may hold dots.
COLUMN_SECTIONS = ("schema.columns.", "features.columns.")
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a text; `lines` maps a path of keys and list positions to a line, counted from 1.

    `name` is for messages, `content` what was written, and `suffix` names its format. Relative paths in it start in
    `folder`.
    """

    name: str
    values: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    content: bytes = b""
    suffix: str = ".json"
    folder: Path = field(default_factory=Path)

    def where(self, path: KeyPath) -> str:
        """Return "file:line" of a path, or of its nearest parent that has a line."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.name}:{self.lines[path[:end]]}"
        return self.name


def read_document(path: Path) -> Document:
    """Read a config or schema file in the format that its ending names.

    Raises
    ------
    ConfigError: the file is missing, not UTF-8, malformed, not a mapping, or gives a key twice.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(READERS)}, got {path.suffix!r}")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        hint = "estimator init TABLE --target COLUMN writes a first config"
        if re.match(r"https?:/", str(path)):
            hint = "this command needs a file: download the config first"
        raise ConfigError(f"{path}: no such file", hint=hint) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_document(content, str(path), suffix=suffix, folder=path.parent)


def parse_document(content: bytes, name: str, *, suffix: str | None = None, folder: Path | None = None) -> Document:
    """Return a text as a document; without a suffix, its first characters tell the format.

    Raises
    ------
    ConfigError: it is not UTF-8, malformed, not a mapping, or gives a key twice.
    """
    text = _decoded(content, name)
    ending = suffix if suffix and suffix in READERS else _detected_suffix(text)
    values, lines = READERS[ending](text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: expected sections with keys, got {type(values).__name__}")
    return Document(name, values, lines, content, ending, folder or Path())


def values_document(values: Mapping[str, Any], name: str = "config") -> Document:
    """Return plain values as a document.

    Raises
    ------
    ConfigError: a value is none that JSON has.
    """
    content = json.dumps(dict(values), indent=2, ensure_ascii=False, default=_plain).encode()
    return Document(name, json.loads(content), content=content)


def _plain(value: object) -> str | int | float:
    """Return a path as text, and a number of another library as Python's."""
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ConfigError(
        f"config: a config cannot hold a {type(value).__name__}",
        hint="it holds text, numbers, lists and dictionaries; rows are handed over as estimator.train(..., data=frame)",
    )


def split_key(key: str) -> tuple[str, ...]:
    """Return the parts of a key; the name of a column may hold dots.

    >>> split_key("model.optimizer.learning_rate"), split_key("features.columns.emp.rate.encoder")
    (('model', 'optimizer', 'learning_rate'), ('features', 'columns', 'emp.rate', 'encoder'))
    """
    for section in COLUMN_SECTIONS:
        column, dot, last = key.removeprefix(section).rpartition(".")
        if key.startswith(section) and dot:
            return (*section.split(".")[:2], column, last)
    return tuple(key.split("."))


def _decoded(content: bytes, name: str) -> str:
    if content.startswith(_BYTE_ORDER_MARKS):
        raise ConfigError(f"{name}: is UTF-16, expected UTF-8", hint="save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{name}:{line}: expected UTF-8, got the byte {content[error.start]:#04x}", hint="save it as UTF-8"
        ) from error


def _detected_suffix(text: str) -> str:
    """Return the ending of the format that a text is in.

    >>> _detected_suffix(' {"data": {}}'), _detected_suffix("[data]\\npath = 1"), _detected_suffix("data:\\n  path: a")
    ('.json', '.toml', '.yml')
    """
    if text.lstrip().startswith(("{", "[{")):
        return ".json"
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            is_toml = re.match(r"""\s*(\[+[\w."' -]+\]+\s*(#.*)?$|[\w."'-]+\s*=)""", line)
            return ".toml" if is_toml else ".yml"
    return ".yml"
