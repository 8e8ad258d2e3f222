"""A JSON, YAML or TOML file -> plain values and the line on which each key stands."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estimator.errors import ConfigError, needs_extra

Path_ = tuple[str | int, ...]


class WrittenFloat(float):
    """A number that remembers how it was written, for keys that want text."""

    text = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values; `lines` maps a path of keys and positions to its line, counted from 1."""

    place: str
    values: dict[str, Any]
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def where(self, path: Path_) -> str:
        """Return "file:line" of a path, or of its nearest parent."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.place}:{self.lines[path[:end]]}"
        return self.place


def read_document(path: Path) -> Document:
    """Read a config or schema file, told by its ending.

    Raises
    ------
    ConfigError: not there, not UTF-8, not well formed, a key given twice, or not a mapping.
    """
    readers = {".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml, ".toml": _read_toml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(readers)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint="estimator init TABLE --target T writes a first one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    values, lines = reader(text, path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections with keys, got {type(values).__name__}")
    return Document(str(path), values, lines)


Read = tuple[Any, dict[Path_, int]]


def _read_json(text: str, path: Path) -> Read:
    try:
        values = json.loads(text, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except _TwiceError as error:
        raise ConfigError(f"{path}: the key {error} is given twice") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    return values, _json_lines(text)


class _TwiceError(ValueError):
    """A key is given twice in one object."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(repr(next(name for name in names if names.count(name) > 1)))
    return found


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _json_lines(text: str) -> dict[Path_, int]:
    """Walk the tokens of valid JSON and note the line of every key and every list item."""
    lines: dict[Path_, int] = {}
    open_paths: list[list[str | int]] = []
    key: str | None = None
    for token in _JSON_TOKEN.finditer(text):
        word = token.group()
        if word in "}]":
            open_paths.pop()
        elif word == ":":
            continue
        elif word == ",":
            key = None
            if open_paths and isinstance(open_paths[-1][-1], int):
                open_paths[-1][-1] += 1
        else:
            inside = open_paths[-1] if open_paths else None
            if inside is not None and isinstance(inside[-1], str) and key is None and word[0] == '"':
                key = inside[-1] = json.loads(word)
                lines[_path(open_paths)] = text.count("\n", 0, token.start()) + 1
                continue
            if inside is not None and isinstance(inside[-1], int):
                lines[_path(open_paths)] = text.count("\n", 0, token.start()) + 1
            if word in "{[":
                open_paths.append([""] if word == "{" else [0])
                key = None
    return lines


def _path(open_paths: list[list[str | int]]) -> Path_:
    return tuple(place[-1] for place in open_paths)


def _read_yaml(text: str, path: Path) -> Read:
    with needs_extra("train", "reading YAML"):
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError
    try:
        # Untyped loading keeps the nodes, hence the lines and the spelling of numbers.
        root = YAML(typ="rt", pure=True).compose(text)
        lines: dict[Path_, int] = {}
        return (_node_value(root, (), lines, str(path)) if root is not None else {}), lines
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error


def _node_value(node: Any, path: Path_, lines: dict[Path_, int], place: str) -> Any:
    """Return a node of ruamel's tree as a plain value, by the core schema of YAML 1.2."""
    if path:
        lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "mapping":
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                raise ConfigError(f"{place}:{key.start_mark.line + 1}: the key {name!r} is given twice")
            lines[(*path, name)] = key.start_mark.line + 1
            found[name] = _node_value(value, (*path, name), lines, place)
        return found
    if node.id == "sequence":
        return [_node_value(item, (*path, number), lines, place) for number, item in enumerate(node.value)]
    return _scalar_value(node.value, plain=node.style not in ("'", '"', "|", ">"))


def flow_value(text: str) -> Any:
    """Return a value as it would stand in a YAML file: 5, [a, b], {name: sgd}; text when it is none of these."""
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


def _read_toml(text: str, path: Path) -> Read:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = f":{found.group(1)}" if found else ""
        raise ConfigError(f"{path}{line}: not TOML: {error}") from error
    return values, _toml_lines(text)


def _toml_lines(text: str) -> dict[Path_, int]:
    lines: dict[Path_, int] = {}
    table: Path_ = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        key = re.match(r"""\s*("[^"]*"|'[^']*'|[\w.-]+)\s*=""", line)
        if header:
            table = _toml_key(header.group(1))
            lines.setdefault(table, number)
        elif key:
            lines.setdefault((*table, *_toml_key(key.group(1))), number)
    return lines


def _toml_key(text: str) -> Path_:
    return tuple(part.strip("\"' ") for part in re.findall(r"""\"[^\"]*\"|'[^']*'|[^.\s]+""", text))
