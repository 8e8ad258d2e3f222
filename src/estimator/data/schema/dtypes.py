"""The types of a file's columns: what a schema cannot hold, and what durations, times of day and decimals become."""

from __future__ import annotations

import polars as pl

# Types whose values no kind of the schema can hold, and what to call them.
NESTED = {pl.List: "lists", pl.Array: "arrays", pl.Struct: "structs", pl.Binary: "bytes", pl.Object: "objects"}


def nested_noun(dtype: pl.DataType) -> str | None:
    """Return what a column holds that no kind can hold, in the plural; None if a kind can hold it.

    >>> nested_noun(pl.List(pl.Int64)), nested_noun(pl.Int64())
    ('lists', None)
    """
    return next((noun for kind, noun in NESTED.items() if dtype == kind), None)


def conversion(dtype: pl.DataType) -> str | None:
    """Return how a column that is not read as it is becomes numbers, for a note; None for other columns.

    >>> conversion(pl.Duration("us"))
    'durations are read as numbers of seconds'
    """
    if dtype == pl.Duration:
        return "durations are read as numbers of seconds"
    if dtype == pl.Time:
        return "times of day are read as numbers of seconds since midnight"
    return "decimals are read as numbers of 15 digits" if dtype == pl.Decimal else None


def plain_series(series: pl.Series) -> pl.Series:
    """Return durations and times of day in seconds, decimals as doubles, and a column of a null type as text.

    >>> from datetime import timedelta
    >>> plain_series(pl.Series([timedelta(minutes=2)])).to_list()
    [120.0]
    """
    dtype = series.dtype
    if dtype == pl.Duration:
        return _seconds(series.cast(pl.Duration("us")))
    if dtype == pl.Time:
        return _seconds(series.cast(pl.Int64) // 1000)
    if dtype == pl.Decimal:
        return series.cast(pl.Float64)
    return series.cast(pl.String) if dtype == pl.Null else series


def _seconds(microseconds: pl.Series) -> pl.Series:
    # Numpy divides as Python does; polars may multiply by the reciprocal.
    values = microseconds.to_physical().cast(pl.Float64).to_numpy() / 1e6
    return pl.Series(microseconds.name, values).fill_nan(None)
