"""A polars column -> its text, cell by cell what `cells.read_cell` takes it for."""

from __future__ import annotations

import polars as pl

from estimator.data.schema.cells import LARGEST_EXACT_INTEGER, as_meant
from estimator.data.schema.column import Column

# What str.strip takes off; polars alone would leave the separators of information (U+001C to U+001F).
BLANKS = "".join(map(chr, (*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)))) + (
    "\u2028\u2029\u202f\u205f\u3000"
)


def stripped(words: pl.Series) -> pl.Series:
    """Return words without the blanks around them."""
    return words.str.strip_chars(BLANKS)


def as_moments(words: pl.Series, form: str, *, time_zone: str | None = None) -> pl.Series:
    """Return words as moments by a format of strptime, null where it does not read them; a month is its first day."""
    if "%d" not in form and "%j" not in form:
        words, form = words + " 01", f"{form} %d"
    return words.str.to_datetime(form.replace(".%f", "%.f"), time_unit="us", time_zone=time_zone, strict=False)


def as_words(series: pl.Series) -> pl.Series:
    """Return any column as text; whole numbers are written without a fraction."""
    if series.dtype == pl.String:
        return series
    values = series.cast(pl.Float64) if series.dtype.is_float() else series
    words = values.cast(pl.String, strict=False)
    if not series.dtype.is_float():
        return words
    whole = values.cast(pl.Int64, strict=False)
    is_whole = (values == whole) & (values.abs() <= LARGEST_EXACT_INTEGER)
    # Python and polars part where they begin to write exponents.
    is_plain = values.abs().is_between(1e-4, 1e15)
    odd = values.filter(~is_plain & ~is_whole.fill_null(False)).unique()
    written = values.replace_strict(odd, pl.Series(map(str, odd), dtype=pl.String), default=None)
    return whole.cast(pl.String).zip_with(is_whole, written.fill_null(words))


def as_meant_series(column: Column, series: pl.Series) -> pl.Series:
    """Return a column of text as it is meant; gaps stay as they are spelled. See `cells.as_meant`."""
    if not (column.pattern or column.fold or column.spellings):
        return series
    series = series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series
    if series.dtype != pl.String:
        return series
    words = series.unique().drop_nulls()
    gaps = {"", *column.gaps}
    meant = [word if word.strip() in gaps else as_meant(column, word) for word in words.to_list()]
    return series.replace_strict(words, pl.Series(meant, dtype=pl.String), default=None)


def level_names(column: Column, series: pl.Series) -> pl.Series:
    """Return the level of each cell, null for gaps."""
    words = as_words(series)
    is_gap = stripped(words).is_in(["", *column.gaps]).fill_null(False)
    return as_meant_series(column, words.set(is_gap, None))
