"""The types of a file's columns: what a schema cannot hold, and what durations, times of day and decimals become."""

from __future__ import annotations

import polars as pl

from estimator.core.date_formats import FIRST_DAY, LAST_DAY

# Types whose values no kind of the schema can hold, and what to call them.
NESTED = {pl.List: "lists", pl.Array: "arrays", pl.Struct: "structs", pl.Binary: "bytes", pl.Object: "objects"}
# Units of dates and times in a day.
PER_DAY = {"days": 1, "ms": 86_400_000, "us": 86_400_000_000}


def nested_noun(dtype: pl.DataType) -> str | None:
    """Return what a column holds that no kind can hold, in the plural; None if a kind can hold it.

    >>> nested_noun(pl.List(pl.Int64)), nested_noun(pl.Int64())
    ('lists', None)
    """
    other = "nested values" if dtype.is_nested() else None
    return next((noun for kind, noun in NESTED.items() if dtype == kind), other)


def conversion(dtype: pl.DataType) -> str | None:
    """Return how a column that is not read as it is becomes numbers, for a note; None for other columns.

    >>> conversion(pl.Duration("us"))
    'durations are read as numbers of seconds'
    """
    if dtype == pl.Duration:
        return "durations are read as numbers of seconds"
    if dtype == pl.Time:
        return "times of day are read as numbers of seconds since midnight"
    if isinstance(dtype, pl.Datetime) and dtype.time_zone not in (None, "UTC"):
        return f"times of the zone {dtype.time_zone} are converted to UTC"
    has_fractions = isinstance(dtype, pl.Decimal) and dtype.scale != 0
    return "decimals are read as numbers of 15 digits" if has_fractions else None


def plain_series(series: pl.Series) -> pl.Series:
    """Return durations and times of day in seconds, decimals as doubles, and a column of a null type as text.

    Dates are text where one is outside the years 1 to 9999, so that it can be named.

    >>> from datetime import timedelta
    >>> plain_series(pl.Series([timedelta(minutes=2)])).to_list()
    [120.0]
    """
    dtype = series.dtype
    if dtype == pl.Duration:
        return _seconds(series.cast(pl.Duration("us")))
    if dtype == pl.Time:
        return _seconds(series.cast(pl.Int64) // 1000)
    if isinstance(dtype, pl.Decimal):
        return series.cast(pl.Float64) if dtype.scale != 0 else _whole(series)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return _within_years(series)
    return series.cast(pl.String) if dtype == pl.Null else series


def _within_years(series: pl.Series) -> pl.Series:
    unit = series.dtype.time_unit if isinstance(series.dtype, pl.Datetime) else "days"
    if unit == "ns":
        # Nanoseconds reach from 1677 to 2262.
        return series
    per_day, numbers = PER_DAY[unit], series.to_physical().cast(pl.Int64)
    is_out = ((numbers < FIRST_DAY * per_day) | (numbers >= (LAST_DAY + 1) * per_day)).fill_null(False)
    if not is_out.any():
        return series
    # Polars cannot write such a date.
    texts = series.set(is_out, None).cast(pl.Datetime("us")).cast(pl.String)
    return texts.zip_with(~is_out, numbers.cast(pl.String) + f" {unit} since 1970").alias(series.name)


def _whole(decimals: pl.Series) -> pl.Series:
    """Return whole numbers, as text where 64 bits do not hold them."""
    numbers = decimals.cast(pl.Int64, strict=False)
    return numbers if numbers.null_count() == decimals.null_count() else decimals.cast(pl.String)


def _seconds(microseconds: pl.Series) -> pl.Series:
    # Numpy divides as Python does; polars may multiply by the reciprocal.
    values = microseconds.to_physical().cast(pl.Float64).to_numpy() / 1e6
    return pl.Series(microseconds.name, values).fill_nan(None)
