"""JSON, YAML and TOML -> plain values, and the line of each key."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from estimator.errors import ConfigError, needs_extra

KeyPath = tuple[str | int, ...]
# Aliases of aliases make a short text of YAML a huge value.
MAX_NODES, MAX_DEPTH = 100_000, 60


class WrittenFloat(float):
    """A number that keeps its spelling, for keys that hold text: 3.10 stays "3.10"."""

    text = ""

    def __str__(self) -> str:
        return self.text


ValuesAndLines = tuple[Any, dict[KeyPath, int]]


def _read_json(text: str, name: str) -> ValuesAndLines:
    try:
        values = json.loads(text)
        lines, repeated = _json_lines(text)
    except json.JSONDecodeError as error:
        problem, hint = _json_problem(text, error)
        place = f"{name}:{error.lineno}: not JSON: {problem} (column {error.colno})"
        raise ConfigError(place, hint=hint) from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply") from error
    _reject_repeated(name, repeated)
    return values, lines


def _json_problem(text: str, error: json.JSONDecodeError) -> tuple[str, str | None]:
    """Return what is wrong in JSON, in the words of somebody who writes it by hand, and what to do."""
    rest, before = text[error.pos :].lstrip(), text[: error.pos].rstrip()
    if not rest:
        return "it ends too early", "is a bracket or a quote not closed?"
    if rest.startswith(("//", "/*", "#")):
        return "a comment, which JSON does not have", "leave it out, or write the config as YAML"
    if (rest[0] in "]}," and before.endswith(",")) or error.msg.startswith("Illegal trailing comma"):
        return "a comma too many", "leave out the last comma"
    if rest[0] in "'\u201c\u201d\u2018\u2019":
        return f"text in {rest[0]}", 'write text in "double quotes"'
    if error.msg.startswith("Expecting ',' delimiter"):
        return "a comma is missing before this", "put a comma behind the entry before it"
    if word := re.match(r"[A-Za-z_][\w-]*", rest):
        known = {"True": "true", "False": "false", "None": "null"}.get(word[0], f'"{word[0]}"')
        return f"{word[0]!r} without quotes", f"write {known}"
    return error.msg[0].lower() + error.msg[1:], None


def _reject_repeated(name: str, repeated: list[tuple[KeyPath, int, int]]) -> None:
    """Raise an error that lists each key that is given twice, as (path, first line, second line)."""
    messages = [
        f"{name}:{second}: the key {path[-1]!r} is given twice, first in line {first}"
        for path, first, second in repeated
    ]
    if messages:
        faults = f"{len(messages)} faults in the config:\n  " if len(messages) > 1 else ""
        raise ConfigError(faults + "\n  ".join(messages), hint="leave out one of the two")


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _json_lines(text: str) -> tuple[dict[KeyPath, int], list[tuple[KeyPath, int, int]]]:
    """Walk the tokens of valid JSON: return the line of every key and list item, and the keys that are given twice."""
    lines: dict[KeyPath, int] = {}
    repeated: list[tuple[KeyPath, int, int]] = []
    # One entry per open object or list: its path, whose last part is the current key or position.
    open_paths: list[list[str | int]] = []
    key: str | None = None
    for match in _JSON_TOKEN.finditer(text):
        lexeme, line = match.group(), text.count("\n", 0, match.start()) + 1
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
                path = _path(open_paths)
                repeated += [(path, lines[path], line)] if path in lines else []
                lines[path] = line
                continue
            if inner is not None and isinstance(inner[-1], int):
                lines[_path(open_paths)] = line
            if lexeme in "{[":
                open_paths.append([""] if lexeme == "{" else [0])
                key = None
    return lines, repeated


def _path(open_paths: list[list[str | int]]) -> KeyPath:
    return tuple(path[-1] for path in open_paths)


def _read_yaml(text: str, name: str) -> ValuesAndLines:
    with needs_extra("train", "reading YAML"):
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
    try:
        # Composing keeps the nodes, and with them the lines and the spelling of numbers.
        with warnings.catch_warnings(action="ignore", category=ReusedAnchorWarning):
            root = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark is not None else 0
        problem, hint = _yaml_problem(text.splitlines()[line : line + 1], str(error.problem))
        raise ConfigError(f"{name}:{line + 1}: not YAML: {problem}", hint=hint) from error
    except YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply") from error
    if root is None:
        return {}, {}
    nodes = _YamlNodes({}, [])
    values = nodes.value(root, ())
    _reject_repeated(name, nodes.repeated)
    return values, nodes.lines


def _yaml_problem(line: list[str], problem: str) -> tuple[str, str | None]:
    """Return what is wrong in a line of YAML, and what to do."""
    written = line[0] if line else ""
    if "\t" in written[: len(written) - len(written.lstrip())] or "'\\t'" in problem:
        return "a tab at the start of the line", "YAML is indented with blanks: replace each tab by two"
    if "mapping values are not allowed" in problem:
        return "a colon in the middle of a value, or a wrong indent", "put the value in quotes, or check the indent"
    if problem.startswith("could not find expected ':'"):
        return "a key without a colon, or a quote or bracket that is not closed", "a line reads `key: value`"
    if problem == "expected <block end>, but found '<scalar>'" and ("'" in written or '"' in written):
        return "text after a quoted text", "put the whole value in quotes of the other kind: \"'a' if x else 'b'\""
    if "%" in problem or "@" in problem or "`" in problem:
        return problem, "put the value in quotes"
    return problem, None


@dataclass(frozen=True, slots=True)
class _YamlNodes:
    """Nodes of ruamel.yaml as plain values, by the core schema of YAML 1.2: their lines, and the keys given twice."""

    lines: dict[KeyPath, int]
    repeated: list[tuple[KeyPath, int, int]]

    def value(self, node: Any, path: KeyPath) -> Any:
        """Return the plain value of a node."""
        if len(self.lines) > MAX_NODES or len(path) > MAX_DEPTH:
            raise ConfigError(f"{'.'.join(map(str, path[:3]))}: too large for a config", hint="are aliases nested?")
        if path:
            self.lines.setdefault(path, node.start_mark.line + 1)
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.value(item, (*path, position)) for position, item in enumerate(node.value)]
        return _scalar_value(node.value, plain=node.style not in ("'", '"', "|", ">"))

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name == "<<" and key.style is None:
                for item in value.value if value.id == "sequence" else [value]:
                    merged |= {name: inner for name, inner in self.value(item, path).items() if name not in merged}
                continue
            if name in values:
                self.repeated.append(((*path, name), self.lines[(*path, name)], line))
            self.lines[(*path, name)] = line
            values[name] = self.value(value, (*path, name))
        return {**merged, **values}


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
        return _read_yaml(f"value: {text}", "--set")[0]["value"]


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


def _read_toml(text: str, name: str) -> ValuesAndLines:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"at line (\d+)", str(error))
        line = f":{match.group(1)}" if match else ""
        problem = re.sub(r" \(at line \d+, column (\d+)\)", r" (column \1)", str(error))
        raise ConfigError(f"{name}{line}: not TOML: {problem[0].lower()}{problem[1:]}") from error
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
            if line.lstrip().startswith("[["):
                # The entries of a list of tables are counted.
                table = (*table, sum(path[:-1] == table and isinstance(path[-1], int) for path in lines))
                lines[table] = number
        elif key:
            lines.setdefault((*table, *_toml_key(key.group(1))), number)
    return lines


def _toml_key(text: str) -> KeyPath:
    return tuple(part.strip("\"' ") for part in re.findall(r"""\"[^\"]*\"|'[^']*'|[^.\s]+""", text))


READERS: Mapping[str, Callable[[str, str], ValuesAndLines]] = {
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": _read_toml,
}
