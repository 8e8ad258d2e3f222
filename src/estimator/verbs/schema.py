"""schema: the JSON Schema of the config, what a key of it is, and what changed between the schemas of two versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from estimator.config.reference import KeyHelp, key_help
from estimator.config.validation import config_schema
from estimator.data.schema import Schema
from estimator.data.schema.compatibility import SchemaChange, schema_changes
from estimator.data.schema.file import from_data
from estimator.verbs.context import SHELVES, Context


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the config, with every kind of this installation."""
    return config_schema(SHELVES)


def explain(key: str) -> list[KeyHelp]:
    """Return the type, default and description of a key or of every key in a section; "" is the whole config.

    Raises
    ------
    ConfigError: there is no such key.
    """
    return key_help(key, SHELVES)


def diff(first: str, second: str, context: Context) -> list[SchemaChange]:
    """Return what changed between two schemas, each that of a version or of a schema file.

    Raises
    ------
    StoreError, ConfigError, SchemaError: one cannot be read.
    """
    return schema_changes(_schema_of(first, context), _schema_of(second, context))


def _schema_of(reference: str, context: Context) -> Schema:
    if not Path(reference).is_file():
        return context.version(reference).schema
    document = context.document(reference)
    return from_data(document.values, source=document.name)
