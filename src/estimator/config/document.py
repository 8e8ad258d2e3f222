"""A JSON, YAML or TOML file -> plain values, and the line of each key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estimator.errors import ConfigError, needs_extra

KeyPath = tuple[str | int, ...]


class WrittenFloat(float):
    """A number that keeps its spelling, for keys that hold text: 3.10 stays "3.10"."""

    text = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file; `lines` maps a path of keys and list positions to a line, counted from 1."""

    name: str
    values: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

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
    readers = {".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml, ".toml": _read_toml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(readers)}, got {path.suffix!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file", hint="estimator init TABLE --target COLUMN writes a first config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    values, lines = reader(text, path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections with keys, got {type(values).__name__}")
    return Document(str(path), values, lines)


ValuesAndLines = tuple[Any, dict[KeyPath, int]]


def _read_json(text: str, path: Path) -> ValuesAndLines:
    try:
        values = json.loads(text, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except _DuplicateKeyError as error:
        raise ConfigError(f"{path}: the key {error} is given twice") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    return values, _json_lines(text)


class _DuplicateKeyError(ValueError):
    """A key is given twice in one object."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKeyError(repr(next(name for name in names if names.count(name) > 1)))
    return values


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _json_lines(text: str) -> dict[KeyPath, int]:
    """Walk the tokens of valid JSON and note the line of every key and every list item."""
    lines: dict[KeyPath, int] = {}
    # One entry per open object or list: its path, whose last part is the current key or position.
    open_paths: list[list[str | int]] = []
    key: str | None = None
    for match in _JSON_TOKEN.finditer(text):
        lexeme = match.group()
        if lexeme in "}]":
            open_paths.pop()
        elif lexeme == ":":
            continue
        elif lexeme == ",":
            key = None
            if open_paths and isinstance(open_paths[-1][-1], int):
                open_paths[-1][-1] += 1
        else:
            inner = open_paths[-1] if open_paths else None
            if inner is not None and isinstance(inner[-1], str) and key is None and lexeme[0] == '"':
                key = inner[-1] = json.loads(lexeme)
                lines[_path(open_paths)] = text.count("\n", 0, match.start()) + 1
                continue
            if inner is not None and isinstance(inner[-1], int):
                lines[_path(open_paths)] = text.count("\n", 0, match.start()) + 1
            if lexeme in "{[":
                open_paths.append([""] if lexeme == "{" else [0])
                key = None
    return lines


def _path(open_paths: list[list[str | int]]) -> KeyPath:
    return tuple(path[-1] for path in open_paths)


def _read_yaml(text: str, path: Path) -> ValuesAndLines:
    with needs_extra("train", "reading YAML"):
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError
    try:
        # Composing keeps the nodes, and with them the lines and the spelling of numbers.
        root = YAML(typ="rt", pure=True).compose(text)
        lines: dict[KeyPath, int] = {}
        return (_node_value(root, (), lines, str(path)) if root is not None else {}), lines
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error


def _node_value(node: Any, path: KeyPath, lines: dict[KeyPath, int], file: str) -> Any:
    """Return a node of ruamel.yaml as a plain value, by the core schema of YAML 1.2."""
    if path:
        lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "mapping":
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in values:
                raise ConfigError(f"{file}:{key.start_mark.line + 1}: the key {name!r} is given twice")
            lines[(*path, name)] = key.start_mark.line + 1
            values[name] = _node_value(value, (*path, name), lines, file)
        return values
    if node.id == "sequence":
        return [_node_value(item, (*path, position), lines, file) for position, item in enumerate(node.value)]
    return _scalar_value(node.value, plain=node.style not in ("'", '"', "|", ">"))


def flow_value(text: str) -> Any:
    """Return a value as YAML reads it: a number, a list, a mapping, or else text.

    >>> flow_value("5"), flow_value("[a, b]"), flow_value("{name: sgd}")
    (5, ['a', 'b'], {'name': 'sgd'})
    """
    if not text.startswith(("[", "{", '"', "'")):
        return _scalar_value(text, plain=True) if text else ""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return _read_yaml(f"value: {text}", Path("--set"))[0]["value"]


_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _scalar_value(text: str, *, plain: bool) -> Any:
    if not plain:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false") and text in (text.lower(), text.upper(), text.title()):
        return text.lower() == "true"
    if _INT.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        return int(text)
    if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        number = WrittenFloat(text)
        number.text = text
        return number
    return text


def _read_toml(text: str, path: Path) -> ValuesAndLines:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"at line (\d+)", str(error))
        line = f":{match.group(1)}" if match else ""
        raise ConfigError(f"{path}{line}: not TOML: {error}") from error
    return values, _toml_lines(text)


def _toml_lines(text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        key = re.match(r"""\s*("[^"]*"|'[^']*'|[\w.-]+)\s*=""", line)
        if header:
            table = _toml_key(header.group(1))
            lines.setdefault(table, number)
        elif key:
            lines.setdefault((*table, *_toml_key(key.group(1))), number)
    return lines


def _toml_key(text: str) -> KeyPath:
    return tuple(part.strip("\"' ") for part in re.findall(r"""\"[^\"]*\"|'[^']*'|[^.\s]+""", text))
