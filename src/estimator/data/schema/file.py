"""A schema as plain data: written as YAML for people to review, read back with errors that name the place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, get_args

from estimator.core.date_formats import compile_format
from estimator.core.names import nfc
from estimator.core.text import did_you_mean
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.column import KINDS, Column, MissingPolicy
from estimator.data.schema.schema import Schema
from estimator.errors import SchemaError

HEADER = """\
# The schema of this table: what each column is and accepts. Review it; training and serving enforce it.
#   kind            {kinds}
#   nullable        true: values may be missing; leave it out to reject missing values
#   na_values       spellings of a missing value, besides the empty cell
#   training_range  smallest and largest training value, for information
#   range           [low, high], set by you and enforced; null leaves an end open
#   on_missing      a missing value, where nullable is not true: reject (default), or impute a typical value
#   required        true: rows must have the column, although it is nullable, imputed or has a default
#   default         value of the column in rows that leave it out; else it is a missing value there
#   unknown         an unknown category becomes: other (default), missing, or error
#   unit, aliases (other names under which the column may come)
"""
CATEGORIES_HEADER = "# The categories of columns that have many, with the number of training rows of each."
MAX_CATEGORIES_IN_PLACE = 50
MAX_LINE_LENGTH = 120
# YAML takes no longer key without a mark.
MAX_KEY_LENGTH = 1000
# What YAML allows in a text only as an escape, and what would end a line.
NOT_PRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_COLUMN_KEYS = [item.name for item in fields(Column) if item.name != "name"]
_MAPPINGS = {"categories", "units", "replace"}
_TUPLES = {"na_values", "training_range", "range", "date_formats", "aliases", "strip"}
_UNKNOWN = ("other", "missing", "error")


def to_data(schema: Schema) -> dict[str, Any]:
    """Return the schema as JSON-ready data; defaults are left out."""
    return {
        "target": schema.target.name,
        "unknown_columns": schema.unknown_columns,
        "columns": {column.name: _column_data(column) for column in (*schema.columns, schema.target)},
    }


def from_data(data: Mapping[str, Any], *, source: str) -> Schema:
    """Return the schema that `to_data` gave; `source` is the file named in errors.

    Raises
    ------
    SchemaError: a key or kind is unknown, a value is of the wrong type, or the target has no column.
    """
    contents = data.get("columns")
    if not isinstance(contents, Mapping) or data.get("target") not in contents:
        raise SchemaError(f"{source}: expected `target` and `columns`, with the target among the columns")
    lists = data.get("categories", {})
    if not isinstance(lists, Mapping) or lists.keys() - contents.keys():
        raise SchemaError(f"{source}: categories: expected a mapping from columns of `columns` to their categories")
    columns = []
    for name, content in contents.items():
        if name in lists and isinstance(content, Mapping):
            content = {**content, "categories": lists[name]}
        columns.append(_column(nfc(str(name)), content, source))
    target = next(column for column in columns if column.name == nfc(str(data["target"])))
    unknown = data.get("unknown_columns", "error")
    if unknown not in ("error", "ignore"):
        raise SchemaError(f"{source}: unknown_columns: expected 'error' or 'ignore', got {unknown!r}")
    return Schema(tuple(column for column in columns if column is not target), target, unknown)


def to_yaml(schema: Schema, questions: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return the schema as commented YAML, a block per column, in table order.

    `questions` are written above their columns. Categories are listed at the end of the file where they are many.
    """
    data = to_data(schema)
    lines = [HEADER.format(kinds=", ".join(KINDS)), f"target: {flow(data['target'])}"]
    lines += [f"unknown_columns: {data['unknown_columns']}", "columns:"]
    lists: dict[str, Mapping[str, int]] = {}
    for name, content in data["columns"].items():
        if len(content.get("categories", ())) > MAX_CATEGORIES_IN_PLACE:
            lists[name] = content.pop("categories")
        lines += [f"  # {comment(question)}" for question in (questions or {}).get(name, ())]
        lines += _key(name, indent=2)
        for key, value in content.items():
            lines += _folded(f"    {key}: ", value, indent=6)
        lines += [f"    # {len(lists[name]):,} categories: see the end of this file"] if name in lists else []
    if lists:
        lines += ["", CATEGORIES_HEADER, "categories:"]
    for name, categories in lists.items():
        lines += _key(name, indent=2)
        lines += _folded("    ", categories, indent=4)
    return "\n".join(lines) + "\n"


def flow(value: object) -> str:
    """Return a value on one line, as JSON and YAML both read it; what YAML forbids in a text is escaped.

    >>> flow({"price (\\u20ac)": [1, None], "bell": "\\x07"})
    '{"price (€)": [1, null], "bell": "\\\\u0007"}'
    """
    return _escaped(json.dumps(value, ensure_ascii=False))


def comment(text: str) -> str:
    """Return a text on one line, with what YAML forbids even in a comment as an escape."""
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    return NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _key(name: str, *, indent: int) -> list[str]:
    """Return the line, or lines, of a key with a block; a long one needs a mark of its own."""
    key, blanks = flow(name), " " * indent
    return [f"{blanks}{key}:"] if len(key) <= MAX_KEY_LENGTH else [f"{blanks}? {key}", f"{blanks}:"]


def _folded(start: str, value: object, *, indent: int) -> list[str]:
    """Return a value after the start of its line, folded between items where it is long."""
    line = start + flow(value)
    if len(line) <= MAX_LINE_LENGTH or not value or not isinstance(value, Mapping | list):
        return [line]
    is_mapping = isinstance(value, Mapping)
    items = [_item(key, value[key]) for key in value] if isinstance(value, Mapping) else list(map(flow, value))
    lines, line = [f"{start}{'{' if is_mapping else '['}"], " " * indent
    for item in items:
        if line.strip() and len(line) + len(item) >= MAX_LINE_LENGTH:
            lines.append(line.rstrip())
            line = " " * indent
        line += f"{item}, "
    return [*lines, line.rstrip(), f"{' ' * (indent - 2)}{'}' if is_mapping else ']'}"]


def _item(key: str, value: object) -> str:
    text = flow(key)
    return f"{text}: {flow(value)}" if len(text) <= MAX_KEY_LENGTH else f"? {text} : {flow(value)}"


def _column_data(column: Column) -> dict[str, Any]:
    default = Column(column.name, column.kind)
    data: dict[str, Any] = {"kind": column.kind}
    for key in _COLUMN_KEYS[1:]:
        value = getattr(column, key)
        if value != getattr(default, key):
            data[key] = _plain(value)
    return data


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _column(name: str, content: object, source: str) -> Column:
    where = f"{source}: column {name!r}"
    if not isinstance(content, Mapping) or "kind" not in content:
        raise SchemaError(f"{where}: expected at least a kind", hint=f"kinds: {', '.join(KINDS)}")
    for key in content:
        if key not in _COLUMN_KEYS:
            raise SchemaError(f"{where}: unknown key {key!r}", hint=did_you_mean(str(key), _COLUMN_KEYS))
    _check_values(content, where)
    # What is left after the checks are plain values.
    values: dict[str, Any] = {
        key: tuple(value) if key in _TUPLES and value is not None else value for key, value in content.items()
    }
    if "categories" in values:
        values["categories"] = {str(category): int(count) for category, count in values["categories"].items()}
    column = Column(name, **values)
    check_optional(column, where)
    return column


def check_optional(column: Column, where: str) -> None:
    """Check what a column says of rows that leave it out.

    Raises
    ------
    SchemaError: `default` is no value of the column, or nothing could stand in for a column that is not required.
    """
    if column.default is not None:
        try:
            read_cell(replace(column, nullable=False, on_missing=None), column.default)
        except CellError as error:
            raise SchemaError(f"{where}: default: {error}") from None
    elif column.required is False and not column.accepts_missing:
        raise SchemaError(
            f"{where}: required: false needs a value for rows that leave the column out",
            hint="set default, nullable: true or on_missing: impute",
        )


def _check_values(content: Mapping[str, Any], where: str) -> None:
    """Raise for a word that is not one of the choices, a value of the wrong type, or a bad regular expression."""
    if content["kind"] not in KINDS:
        raise SchemaError(f"{where}: unknown kind {content['kind']!r}", hint=did_you_mean(str(content["kind"]), KINDS))
    if content.get("unknown", "other") not in _UNKNOWN:
        raise SchemaError(f"{where}: unknown: expected {', '.join(_UNKNOWN)}, got {content['unknown']!r}")
    if content.get("on_missing") not in (None, *get_args(MissingPolicy)):
        raise SchemaError(f"{where}: on_missing: expected reject or impute, got {content['on_missing']!r}")
    for key in ("nullable", "required"):
        if not isinstance(content.get(key, False), bool):
            raise SchemaError(f"{where}: {key}: expected true or false, got {content[key]!r}")
    for keys, expected_type, noun in ((_TUPLES, Sequence, "a list"), (_MAPPINGS, Mapping, "a mapping")):
        for key in keys & content.keys():
            value = content[key]
            if value is not None and (isinstance(value, str) or not isinstance(value, expected_type)):
                raise SchemaError(f"{where}: {key}: expected {noun}, got {value!r:.80}")
    try:
        for date_format in content.get("date_formats", ()):
            compile_format(str(date_format))
    except ValueError as error:
        raise SchemaError(f"{where}: date_formats: {error}") from None
    try:
        re.compile(content.get("pattern") or "")
    except (re.error, TypeError) as error:
        raise SchemaError(f"{where}: pattern: {content['pattern']!r} is not a regular expression: {error}") from None
