"""What a config says of columns comes before a schema file that a person has reviewed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from estimator.config import Config
from estimator.core.text import did_you_mean
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.column import NUMERIC_KINDS, Column
from estimator.data.schema.file import check_optional
from estimator.data.schema.frames import with_schema_names
from estimator.data.schema.inference import infer_column
from estimator.data.schema.schema import Schema
from estimator.data.stored_table import Table
from estimator.errors import SchemaError

OVERRIDE_KEYS = tuple(field.name for field in fields(ColumnOverride))
NUMBER_KEYS = frozenset({"strip", "thousands", "decimal", "units"})
# Keys that say how a value is read: a column with another value for one has other statistics.
READING_KEYS = NUMBER_KEYS | {"kind", "na_values", "date_formats", "pattern", "ignore_case", "replace"}


def with_choices(schema: Schema, frame: Table, config: Config) -> Schema:
    """Return a reviewed schema with what the config says of its columns.

    A column is inferred from the table again where the config says how to read its values.

    Raises
    ------
    SchemaError: the config names a column that the schema does not have, or what it says does not fit the values.
    """
    schema, read_again = chosen_columns(schema, config)
    frame = with_schema_names(schema, frame)
    inferred = {
        name: infer_column(frame[name], override, na_values=config.schema_.na_values)
        for name, override in read_again.items()
        if name in frame.columns
    }
    return with_columns(schema, inferred)


def chosen_columns(schema: Schema, config: Config) -> tuple[Schema, dict[str, ColumnOverride]]:
    """Return a reviewed schema with what the config says of its columns, and how to infer those read otherwise.

    Raises
    ------
    SchemaError: the config names a column that the schema does not have.
    """
    chosen, read_again = dict[str, Column](), dict[str, ColumnOverride]()
    for name, choices in config.schema_.columns.items():
        if name not in schema.by_name:
            hint = did_you_mean(name, schema.by_name)
            raise SchemaError(f"schema.columns: no column {name!r} in the schema file", hint=hint)
        column, override = schema.by_name[name], ColumnOverride(**choices.model_dump())
        values = {key: _as_column_has(getattr(override, key)) for key in choices.model_fields_set}
        changed = {key: value for key, value in values.items() if value != getattr(column, key)}
        if changed.keys() & READING_KEYS:
            read_again[name] = _merged(column, values, changed)
        chosen[name] = replace(column, **changed)
    return with_columns(schema, chosen), read_again


def with_columns(schema: Schema, columns: Mapping[str, Column]) -> Schema:
    """Return a schema with other columns in place of those of their names; which are used stays."""
    replaced = [replace(columns.get(column.name, column), used=column.used) for column in schema.columns]
    return replace(schema, columns=tuple(replaced), target=columns.get(schema.target.name, schema.target))


def with_missing_policy(schema: Schema, config: Config) -> Schema:
    """Return the schema with the config's `schema.on_missing` in columns that have none of their own.

    Raises
    ------
    SchemaError: a default does not fit its column, or nothing can stand in for a column that may be left out.
    """
    policy = config.schema_.on_missing
    columns = schema.columns
    if policy != "reject":
        columns = tuple(replace(column, on_missing=column.on_missing or policy) for column in columns)
    for column in columns:
        check_optional(column, f"schema.columns.{column.name}")
    return replace(schema, columns=columns)


def _merged(column: Column, values: Mapping[str, Any], changed: Mapping[str, Any]) -> ColumnOverride:
    """Return what the file and the config say of a column together."""
    merged = {**{key: getattr(column, key) for key in OVERRIDE_KEYS}, **values}
    if "kind" not in values and changed.keys() & NUMBER_KEYS and column.kind not in NUMERIC_KINDS:
        # The reviewed kind is that of numbers that could not be read yet.
        merged["kind"] = None
    if "na_values" in changed and "nullable" not in values:
        merged["nullable"] = column.nullable or None
    return ColumnOverride(**merged)


def _as_column_has(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
