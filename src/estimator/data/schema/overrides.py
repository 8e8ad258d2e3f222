"""A config's choices and a table -> the contract that training, files and requests obey."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from estimator.config import Config
from estimator.core.text import did_you_mean
from estimator.data.schema.inference import Reviewed, infer_schema
from estimator.data.schema.schema import Schema
from estimator.errors import ConfigError


def contract(frame: pl.DataFrame, config: Config, reviewed: Schema | None = None) -> Schema:
    """Return the schema of a table: the reviewed one or what the table shows, with the config's choices in it."""
    choices = config.schema_
    found = reviewed or infer_schema(
        frame,
        config.data.target,
        reviewed=settled_columns(config),
        na_values=choices.na_values,
        unknown_columns=choices.unknown_columns,
    )
    return without_columns(found, config)


def settled_columns(config: Config) -> dict[str, Reviewed]:
    """Return what a config settles about columns."""
    return {name: Reviewed(**item.model_dump()) for name, item in config.schema_.columns.items()}


def without_columns(schema: Schema, config: Config) -> Schema:
    """Mark the columns that are not features: dropped ones, row weights, and what only parts the rows."""
    split = config.training.split
    left_out = {*config.data.drop, *filter(None, [config.data.sample_weight])}
    left_out |= {split.column} if split.kind in ("group", "column") and split.column is not None else set()
    for name in left_out - {column.name for column in schema.columns}:
        raise ConfigError(
            f"no column {name!r} to leave out", hint=did_you_mean(name, (column.name for column in schema.columns))
        )
    columns = tuple(replace(column, used=False) if column.name in left_out else column for column in schema.columns)
    return replace(schema, columns=columns)
