"""A polars frame -> checked arrays: whole columns at once; `cells.read_cell` decides the doubtful cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Mask
from estimator.data.schema.cells import LARGEST_EXACT_INTEGER, CellError, na_numbers, read_cell
from estimator.data.schema.column import FALSE_WORDS, STRING_KINDS, TIME_KINDS, TRUE_WORDS, Column
from estimator.data.schema.dtypes import nested_noun, plain_series
from estimator.data.schema.schema import MAX_FAULTS, Batch, Schema, as_array
from estimator.data.schema.text_parsing import as_text, normalize_series, strip_blanks
from estimator.data.schema.time_columns import parse_times, seconds_of
from estimator.data.stored_table import AnyTable
from estimator.errors import Fault, RowError


def read_frame(schema: Schema, frame: pl.DataFrame, *, first_row: int = 1, drop_faulty: bool = False) -> Batch:
    """Check a frame and return it as arrays; `first_row` is the number of its first row in messages.

    With `drop_faulty`, faulty rows are left out and listed in `Batch.faults` instead of raised.

    Raises
    ------
    RowError: columns are missing or unknown, or cells break the schema.
    """
    repeated = schema.repeated_names(frame.columns)
    frame = with_schema_names(schema, frame)
    named = chain(repeated, schema.name_faults(set(frame.columns)))
    name_faults = [Fault(first_row, name, None, text) for text, name in named]
    if name_faults:
        raise RowError(name_faults, hint=schema.hint(name_faults[0]))
    feed: dict[str, npt.NDArray[Any]] = {}
    faults: list[Fault] = []
    for column in schema.features:
        if column.name not in frame.columns:
            feed[column.name] = as_array(column, [read_cell(column, column.default)] * frame.height)
            continue
        feed[column.name], column_faults = read_series(column, frame[column.name], first_row=first_row)
        faults.extend(column_faults)
    if not faults:
        return Batch(feed, frame.height)
    faults.sort(key=lambda fault: fault.row)
    if not drop_faulty:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults), hint=schema.hint(faults[0]))
    is_valid = np.ones(frame.height, dtype=np.bool_)
    is_valid[[fault.row - first_row for fault in faults]] = False
    return Batch(
        {name: values[is_valid] for name, values in feed.items()}, int(is_valid.sum()), tuple(faults), is_valid
    )


def select_columns(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Return columns by their names; `DataFrame.select` takes a name such as * or ^a.*$ for a pattern."""
    # From a list, polars would give a column without a name one.
    return pl.DataFrame({name: frame[name] for name in names})


def with_schema_names(schema: Schema, frame: AnyTable) -> AnyTable:
    """Return the frame with aliases replaced by the schema's names."""
    names: dict[str, str] = {}
    for alias in frame.columns:
        name = schema.resolve(alias)
        # A second column of that name stays, and is unknown.
        if name is not None and name not in frame.columns and name not in names.values():
            names[alias] = name
    return frame.rename(names) if names else frame  # type: ignore[return-value] # of the same type


def read_series(column: Column, series: pl.Series, *, first_row: int = 1) -> tuple[npt.NDArray[Any], list[Fault]]:
    """Return a column as an array of shape (rows, 1) and its faults; a faulty cell is read as missing."""
    series = plain_series(series)
    series = series.fill_nan(None) if series.dtype.is_float() else series
    normalized = series if column.is_string else normalize_series(column, series)
    read = _READERS[column.kind] if nested_noun(series.dtype) is None else _read_nested
    values, doubtful = read(column, normalized)
    doubtful = doubtful | _doubtful_missing(column, series, values) | _out_of_bounds(column, values)
    faults: list[Fault] = []
    # Equal cells are decided once.
    decisions: dict[object, float | str | CellError] = {}
    positions = np.flatnonzero(doubtful)
    for position, cell in zip(positions.tolist(), series.gather(positions).to_list(), strict=True):
        key = cell if isinstance(cell, str) else repr(cell)
        if key not in decisions:
            decisions[key] = _decide(column, cell)
        decision = decisions[key]
        if isinstance(decision, CellError):
            faults.append(Fault(first_row + position, column.name, cell, str(decision)))
            values[position] = "" if column.is_string else np.nan
        else:
            values[position] = decision
    return values.reshape(-1, 1), faults


def _decide(column: Column, cell: object) -> float | str | CellError:
    try:
        return read_cell(column, cell)
    except CellError as error:
        return error


def _doubtful_missing(column: Column, series: pl.Series, values: npt.NDArray[Any]) -> Mask:
    """Mark missing values that are rejected or spelled like a value; an accepted null is already right."""
    doubtful = np.zeros(len(series), dtype=np.bool_)
    if not column.accepts_missing:
        doubtful |= series.is_null().to_numpy()
    if numbers := na_numbers(column):
        doubtful |= np.isin(values, list(numbers))
    if column.is_string and column.na_values and series.dtype.is_numeric():
        doubtful |= pl.Series(values, dtype=pl.String).is_in(column.na_values).to_numpy()
    if series.dtype == pl.String:
        spellings = ["", *column.na_values]
        bare = replace(column, nullable=False, on_missing=None, na_values=(), range=None)
        value_like = [text for text in spellings if not isinstance(_decide(bare, text), CellError)]
        value_like += spellings if column.is_string else []
        if value_like:
            doubtful |= strip_blanks(series).is_in(value_like).fill_null(False).to_numpy()
    return doubtful


def _out_of_bounds(column: Column, values: npt.NDArray[Any]) -> Mask:
    """Mark the numbers outside the range that a person has set."""
    out = np.zeros(len(values), dtype=np.bool_)
    if column.is_string or column.range is None:
        return out
    low, high = column.range
    if low is not None:
        out |= values < low
    if high is not None:
        out |= values > high
    return out


ReadValues = tuple[npt.NDArray[Any], Mask]


def _read_numbers(column: Column, series: pl.Series) -> ReadValues:
    if series.dtype == pl.Boolean or not (series.dtype == pl.String or series.dtype.is_numeric()):
        return _all_doubtful(series)
    if series.dtype == pl.String and (column.thousands or column.decimal != "."):
        # Polars would read "1,5" its own way, so every cell is read by the column's rules.
        return np.full(len(series), np.nan), series.is_not_null().to_numpy().copy()
    values = series.cast(pl.Float64, strict=False).to_numpy().astype(np.float64, copy=True)
    with np.errstate(invalid="ignore"):
        doubtful = np.isinf(values) | _unread(values, series)
        if column.kind == "integer":
            doubtful |= (values != np.floor(values)) & ~np.isnan(values)
            doubtful |= np.abs(values) > LARGEST_EXACT_INTEGER
    return values, doubtful


def _read_nested(column: Column, series: pl.Series) -> ReadValues:
    values = np.full(len(series), "" if column.is_string else np.nan, dtype=object if column.is_string else np.float64)
    return values, series.is_not_null().to_numpy().copy()


def _all_doubtful(series: pl.Series) -> ReadValues:
    return np.full(len(series), np.nan), np.ones(len(series), dtype=np.bool_)


def _unread(values: Floats, series: pl.Series) -> Mask:
    """Mark cells that hold something which was not read."""
    nan = np.isnan(values)
    if nan.sum() > series.null_count():
        nan &= series.is_not_null().to_numpy()
        return nan
    return np.zeros(len(values), dtype=np.bool_)


def _read_booleans(column: Column, series: pl.Series) -> ReadValues:
    if series.dtype == pl.Boolean:
        return series.cast(pl.Float64).to_numpy().astype(np.float64, copy=True), np.zeros(len(series), dtype=np.bool_)
    texts = series.cast(pl.String, strict=False)
    distinct = texts.unique().drop_nulls()
    numbers = pl.Series([_boolean(text) for text in distinct.to_list()], dtype=pl.Float64)
    values = texts.replace_strict(distinct, numbers, default=None).to_numpy().astype(np.float64, copy=True)
    return values, _unread(values, series)


def _boolean(text: str) -> float | None:
    word = text.strip().lower()
    return 1.0 if word in TRUE_WORDS else 0.0 if word in FALSE_WORDS else None


def _read_strings(column: Column, series: pl.Series) -> ReadValues:
    texts = normalize_series(column, as_text(series))
    values = texts.fill_null("").to_numpy().astype(object)
    doubtful = np.zeros(len(series), dtype=np.bool_)
    if column.rejects_unknown:
        doubtful = ~texts.is_in(list(column.categories)).fill_null(True).to_numpy()
    return values, doubtful | texts.str.contains("\x00", literal=True).fill_null(False).to_numpy()


def _read_times(column: Column, series: pl.Series) -> ReadValues:
    if series.dtype.is_temporal() and series.dtype not in (pl.Time, pl.Duration):
        times = series.cast(pl.Datetime("us"), strict=False)
    elif series.dtype == pl.String:
        times = parse_times(series, column.date_formats, with_iso=True)
        is_unread = times.is_null() & series.is_not_null()
        if is_unread.any():
            texts = strip_blanks(series.filter(is_unread))
            times = times.scatter(is_unread.arg_true(), parse_times(texts, column.date_formats, with_iso=True))
    else:
        return _all_doubtful(series)
    values = seconds_of(times)
    return values, _unread(values, series)


_READERS: Mapping[str, Callable[[Column, pl.Series], ReadValues]] = {
    "number": _read_numbers,
    "integer": _read_numbers,
    "boolean": _read_booleans,
    **dict.fromkeys(STRING_KINDS, _read_strings),
    **dict.fromkeys(TIME_KINDS, _read_times),
}
