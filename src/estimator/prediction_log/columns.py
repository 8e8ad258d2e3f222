"""A record's fields as the columns of its table: the SQL, and values on their way in and out.

A column is added by a field of its record and a step in `migrations`; nothing else lists columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
# Metadata of a field that is stored as JSON text.
JSON = MappingProxyType({"json": True})


def column_names(record: type[DataclassInstance], *, without: Sequence[str] = ()) -> list[str]:
    """Return the columns of a record, in the order of its fields."""
    return [field.name for field in fields(record) if field.name not in without]


def insert_statement(table: str, columns: Sequence[str], on_conflict: str = "DO NOTHING") -> str:
    """Return the statement that inserts one record.

    >>> insert_statement("labels", ["id", "label"])
    'INSERT INTO labels (id, label) VALUES (?, ?) ON CONFLICT DO NOTHING'
    """
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT {on_conflict}"  # noqa: S608 # fixed names


def encoded(record: DataclassInstance, columns: Sequence[str]) -> tuple[Any, ...]:
    """Return a record's values for some columns; JSON fields become text."""
    as_json = _json_fields(type(record))
    values = ((name, getattr(record, name)) for name in columns)
    return tuple(msgspec.json.encode(value).decode() if name in as_json else value for name, value in values)


def decoded(record: type[Record], columns: Sequence[str], row: Sequence[Any]) -> Record:
    """Return the record of a row that was selected as `columns`; a JSON column that is NULL becomes None."""
    as_json = _json_fields(record)
    values = {
        name: msgspec.json.decode(value) if name in as_json and value is not None else value
        for name, value in zip(columns, row, strict=True)
    }
    return record(**values)


def _json_fields(record: type[DataclassInstance]) -> frozenset[str]:
    return frozenset(field.name for field in fields(record) if field.metadata.get("json"))
