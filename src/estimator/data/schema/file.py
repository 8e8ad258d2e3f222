"""A schema as plain data: written for people to review, read back with pointed errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from estimator.core.text import did_you_mean
from estimator.data.schema.column import KINDS, Column
from estimator.data.schema.contract import Schema
from estimator.errors import SchemaError

HEADER = """\
# The contract of this table: what each column is and accepts. Review it; training obeys it.
#   kind    {kinds}
#   gaps    spellings of a missing value; leave it out to refuse gaps
#   seen    what the table held, for information; limits [low, high] are yours to set and are enforced
#   unseen  what a new level becomes: other (default), gap, or error
#   unit, aliases (other names under which the column may come)
"""
_COLUMN_KEYS = [item.name for item in fields(Column) if item.name != "name"]
_MAPPINGS = {"levels", "units", "spellings"}
_TUPLES = {"gaps", "seen", "limits", "formats", "aliases", "affixes"}


def to_data(schema: Schema) -> dict[str, Any]:
    """Return the schema as JSON-ready data; defaults are left out."""
    return {
        "target": schema.target.name,
        "unknown_columns": schema.unknown_columns,
        "columns": {column.name: _column_data(column) for column in (*schema.columns, schema.target)},
    }


def from_data(data: Mapping[str, Any], *, place: str) -> Schema:
    """Return the schema that `to_data` gave; `place` names the file in errors.

    Raises
    ------
    SchemaError: a key or kind is unknown, or the target has no column.
    """
    columns = data.get("columns")
    if not isinstance(columns, Mapping) or data.get("target") not in columns:
        raise SchemaError(f"{place}: expected `target` and `columns`, with the target among the columns")
    read = [_column(str(name), content, place) for name, content in columns.items()]
    target = next(column for column in read if column.name == data["target"])
    unknown = data.get("unknown_columns", "error")
    if unknown not in ("error", "ignore"):
        raise SchemaError(f"{place}: unknown_columns: expected 'error' or 'ignore', got {unknown!r}")
    return Schema(tuple(column for column in read if column is not target), target, unknown)


def to_yaml(schema: Schema) -> str:
    """Return the schema as commented YAML, a column a block, in table order."""
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
    bare = Column(column.name, column.kind)
    found: dict[str, Any] = {"kind": column.kind}
    for key in _COLUMN_KEYS[1:]:
        value = getattr(column, key)
        if value != getattr(bare, key):
            found[key] = (
                list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
            )
    return found


def _column(name: str, content: object, place: str) -> Column:
    if not isinstance(content, Mapping) or "kind" not in content:
        raise SchemaError(f"{place}: column {name!r}: expected at least a kind", hint=f"kinds: {', '.join(KINDS)}")
    for key in content:
        if key not in _COLUMN_KEYS:
            raise SchemaError(
                f"{place}: column {name!r}: unknown key {key!r}", hint=did_you_mean(str(key), _COLUMN_KEYS)
            )
    if content["kind"] not in KINDS:
        raise SchemaError(
            f"{place}: column {name!r}: no kind {content['kind']!r}", hint=did_you_mean(str(content["kind"]), KINDS)
        )
    if content.get("unseen", "other") not in ("other", "error", "gap"):
        raise SchemaError(f"{place}: column {name!r}: unseen: expected other, gap or error, got {content['unseen']!r}")
    _refuse_other_types(name, content, place)
    # Keys and the words for kinds are checked above; what is left are plain values.
    values: dict[str, Any] = {
        key: tuple(value) if key in _TUPLES and value is not None else value for key, value in content.items()
    }
    if "levels" in values:
        values["levels"] = {str(level): int(count) for level, count in values["levels"].items()}
    return Column(name, **values)


def _refuse_other_types(name: str, content: Mapping[str, Any], place: str) -> None:
    """Refuse what cannot be read: lists and mappings that are none, and patterns that are no regular expression."""
    for keys, wanted, words in ((_TUPLES, Sequence, "a list"), (_MAPPINGS, Mapping, "a mapping")):
        for key in keys & content.keys():
            value = content[key]
            if value is not None and (isinstance(value, str) or not isinstance(value, wanted)):
                raise SchemaError(f"{place}: column {name!r}: {key}: expected {words}, got {value!r:.80}")
    try:
        re.compile(content.get("pattern") or "")
    except (re.error, TypeError) as error:
        raise SchemaError(
            f"{place}: column {name!r}: pattern: {content['pattern']!r} is no regular expression: {error}"
        ) from None
