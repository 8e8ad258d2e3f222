"""A schema as plain data: written as YAML for people to review, read back with errors that name the place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from estimator.core.text import did_you_mean
from estimator.data.schema.column import KINDS, Column
from estimator.data.schema.schema import Schema
from estimator.errors import SchemaError

HEADER = """\
# The schema of this table: what each column is and accepts. Review it; training and serving enforce it.
#   kind            {kinds}
#   nullable        true: values may be missing; leave it out to reject missing values
#   na_values       spellings of a missing value, besides the empty cell
#   training_range  smallest and largest training value, for information
#   range           [low, high], set by you and enforced; null leaves an end open
#   unknown         an unknown category becomes: other (default), missing, or error
#   unit, aliases (other names under which the column may come)
"""
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
    columns = [_column(str(name), content, source) for name, content in contents.items()]
    target = next(column for column in columns if column.name == data["target"])
    unknown = data.get("unknown_columns", "error")
    if unknown not in ("error", "ignore"):
        raise SchemaError(f"{source}: unknown_columns: expected 'error' or 'ignore', got {unknown!r}")
    return Schema(tuple(column for column in columns if column is not target), target, unknown)


def to_yaml(schema: Schema) -> str:
    """Return the schema as commented YAML, a block per column, in table order."""
    data = to_data(schema)
    lines = [HEADER.format(kinds=", ".join(KINDS)), f"target: {_scalar(data['target'])}"]
    lines += [f"unknown_columns: {data['unknown_columns']}", "columns:"]
    for name, content in data["columns"].items():
        lines.append(f"  {_scalar(name)}:")
        lines += [f"    {key}: {_scalar(value)}" for key, value in content.items()]
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    """JSON is YAML: quoted strings and flow lists read the same in both."""
    return json.dumps(value, ensure_ascii=False)


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
    return Column(name, **values)


def _check_values(content: Mapping[str, Any], where: str) -> None:
    """Raise for a word that is not one of the choices, a value of the wrong type, or a bad regular expression."""
    if content["kind"] not in KINDS:
        raise SchemaError(f"{where}: unknown kind {content['kind']!r}", hint=did_you_mean(str(content["kind"]), KINDS))
    if content.get("unknown", "other") not in _UNKNOWN:
        raise SchemaError(f"{where}: unknown: expected {', '.join(_UNKNOWN)}, got {content['unknown']!r}")
    if not isinstance(content.get("nullable", False), bool):
        raise SchemaError(f"{where}: nullable: expected true or false, got {content['nullable']!r}")
    for keys, expected_type, noun in ((_TUPLES, Sequence, "a list"), (_MAPPINGS, Mapping, "a mapping")):
        for key in keys & content.keys():
            value = content[key]
            if value is not None and (isinstance(value, str) or not isinstance(value, expected_type)):
                raise SchemaError(f"{where}: {key}: expected {noun}, got {value!r:.80}")
    try:
        re.compile(content.get("pattern") or "")
    except (re.error, TypeError) as error:
        raise SchemaError(f"{where}: pattern: {content['pattern']!r} is not a regular expression: {error}") from None
