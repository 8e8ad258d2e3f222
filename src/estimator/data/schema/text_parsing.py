"""Whole text columns in polars, read cell by cell as `cells.read_cell` reads a single value."""

from __future__ import annotations

import polars as pl

from estimator.core.date_formats import BLANKS
from estimator.data.schema.cells import LARGEST_EXACT_INTEGER, normalize
from estimator.data.schema.column import Column


def strip_blanks(texts: pl.Series) -> pl.Series:
    """Return texts without leading and trailing blanks."""
    return texts.str.strip_chars(BLANKS)


def as_text(series: pl.Series) -> pl.Series:
    """Return any column as text; whole numbers are written without a fraction."""
    if series.dtype == pl.String:
        return series
    values = series.cast(pl.Float64) if series.dtype.is_float() else series
    texts = values.cast(pl.String, strict=False)
    if not series.dtype.is_float():
        return texts
    whole = values.cast(pl.Int64, strict=False)
    is_whole = (values == whole) & (values.abs() <= LARGEST_EXACT_INTEGER)
    # Python and polars switch to exponents at different sizes.
    same_notation = values.abs().is_between(1e-4, 1e15)
    different = values.filter(~same_notation & ~is_whole.fill_null(False)).unique()
    python_texts = values.replace_strict(different, pl.Series(map(str, different), dtype=pl.String), default=None)
    return whole.cast(pl.String).zip_with(is_whole, python_texts.fill_null(texts))


def normalize_series(column: Column, series: pl.Series) -> pl.Series:
    """Return a text column as `cells.normalize` would; missing values keep their spelling."""
    if not (column.pattern or column.ignore_case or column.replace):
        return series
    series = series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series
    if series.dtype != pl.String:
        return series
    distinct = series.unique().drop_nulls()
    missing = {"", *column.na_values}
    normalized = [text if text.strip() in missing else normalize(column, text) for text in distinct.to_list()]
    return series.replace_strict(distinct, pl.Series(normalized, dtype=pl.String), default=None)


def category_names(column: Column, series: pl.Series) -> pl.Series:
    """Return the category of each cell, null for missing values."""
    texts = as_text(series)
    is_missing = strip_blanks(texts).is_in(["", *column.na_values]).fill_null(False)
    return normalize_series(column, texts.set(is_missing, None))
