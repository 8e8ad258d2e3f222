"""A table and the config's choices -> the schema that training, files and requests are checked against."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from estimator.config import Config
from estimator.core.text import did_you_mean
from estimator.data.schema.inference import ColumnOverride, infer_schema
from estimator.data.schema.schema import Schema
from estimator.errors import ConfigError


def build_schema(frame: pl.DataFrame, config: Config, reviewed: Schema | None = None) -> Schema:
    """Return the reviewed schema, or the one inferred from the table, without the columns that the config excludes.

    Raises
    ------
    ConfigError: a column to exclude is not in the table.
    SchemaError: see `infer_schema`.
    """
    schema = reviewed or infer_schema(
        frame,
        config.data.target,
        overrides=column_overrides(config),
        na_values=config.schema_.na_values,
        unknown_columns=config.schema_.unknown_columns,
    )
    return exclude_columns(schema, config)


def column_overrides(config: Config) -> dict[str, ColumnOverride]:
    """Return what a config sets for columns, by name."""
    return {name: ColumnOverride(**choices.model_dump()) for name, choices in config.schema_.columns.items()}


def exclude_columns(schema: Schema, config: Config) -> Schema:
    """Mark the columns that are not features: dropped ones, the sample weight, and the column that splits the rows.

    Raises
    ------
    ConfigError: one of them is not in the table.
    """
    split = config.training.split
    excluded = {*config.data.drop, *filter(None, [config.data.sample_weight])}
    if split.kind in ("group", "column") and split.column is not None:
        excluded.add(split.column)
    names = [column.name for column in schema.columns]
    for name in excluded.difference(names):
        raise ConfigError(f"expected a column of the table to exclude, got {name!r}", hint=did_you_mean(name, names))
    columns = tuple(replace(column, used=False) if column.name in excluded else column for column in schema.columns)
    return replace(schema, columns=columns)
