"""Every row of a table, for a comparison: a value that the schema rejects is missing, and named as a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.frames import read_series
from estimator.data.schema.schema import as_array

# Fewer unreadable values than this fraction are missing values like others.
MIN_UNREADABLE = 0.1
NUMERIC_NOUNS = {"number": "numbers", "integer": "numbers", "boolean": "true or false"}


@dataclass(frozen=True, slots=True)
class LenientRows:
    """All rows of a table; `faults` are sentences about columns that are not there or not of their kind, by name."""

    batch: Batch
    faults: Mapping[str, str]


def read_leniently(schema: Schema, frame: pl.DataFrame) -> LenientRows:
    """Read every row of a frame, whose columns have the names of the schema.

    Fractions count as numbers where whole ones are usual, so that a change of the unit can be seen.
    """
    feed, faults = {}, {}
    for column in schema.features:
        if column.name not in frame.columns:
            missing = "" if column.is_string else np.nan
            feed[column.name] = as_array(column, [missing] * frame.height)
            faults[column.name] = f"{column.name} is not in the table"
            continue
        values, unreadable = read_series(_lenient(column), frame[column.name])
        feed[column.name] = values
        if len(unreadable) > MIN_UNREADABLE * frame.height:
            noun, fraction = NUMERIC_NOUNS.get(column.kind, column.kind), len(unreadable) / frame.height
            message = f"{column.name} held {noun} in the reference and cannot be read in {fraction:.0%} of the rows"
            faults[column.name] = f"{message}: {unreadable[0].value!r}"
        elif _is_text(column) and holds_numbers(frame[column.name]):
            example = frame[column.name].drop_nulls()[0]
            faults[column.name] = f"{column.name} held text in the reference and holds numbers now: {example!r}"
    return LenientRows(Batch(feed, frame.height), faults)


def _lenient(column: Column) -> Column:
    kind = "number" if column.kind == "integer" else column.kind
    return replace(column, kind=kind, nullable=True, on_missing=None, range=None, unknown="other")


def _is_text(column: Column) -> bool:
    return column.is_string and column.example is not None and not holds_numbers(pl.Series([str(column.example)]))


def holds_numbers(series: pl.Series) -> bool:
    """Whether every value is a number, and there is one."""
    if series.dtype != pl.String:
        return series.dtype.is_numeric() and series.null_count() < len(series)
    return (
        series.null_count() < len(series) and series.cast(pl.Float64, strict=False).null_count() == series.null_count()
    )
