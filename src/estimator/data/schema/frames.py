"""A polars frame -> checked arrays: whole columns at once, with doubtful cells left to `cells.read_cell`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Mask
from estimator.data.schema.cells import LARGEST_EXACT_INTEGER, CellError, read_cell
from estimator.data.schema.column import FALSE_WORDS, TIME_KINDS, TRUE_WORDS, WORD_KINDS, Column
from estimator.data.schema.contract import MAX_FAULTS, Batch, Schema
from estimator.data.schema.text_parsing import as_meant_series, as_moments, as_words, stripped
from estimator.errors import Fault, RowError


def read_frame(schema: Schema, frame: pl.DataFrame, *, first_row: int = 1, drop_faulty: bool = False) -> Batch:
    """Check a frame and return it as arrays; `first_row` is the number of its first row in messages.

    With `drop_faulty`, rows that break the contract are left out, and told in the batch, instead of raised.

    Raises
    ------
    RowError: columns are missing or unknown, or cells break the contract.
    """
    frame = with_contract_names(schema, frame)
    missing = [Fault(first_row, name, None, text) for text, name in schema.name_faults(set(frame.columns))]
    if missing:
        raise RowError(missing)
    feed: dict[str, npt.NDArray[Any]] = {}
    faults: list[Fault] = []
    for column in schema.features:
        feed[column.name], found = read_series(column, frame[column.name], first_row=first_row)
        faults.extend(found)
    if not faults:
        return Batch(feed, frame.height)
    faults.sort(key=lambda fault: fault.row)
    if not drop_faulty:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))
    kept = np.ones(frame.height, dtype=np.bool_)
    kept[[fault.row - first_row for fault in faults]] = False
    return Batch({name: values[kept] for name, values in feed.items()}, int(kept.sum()), tuple(faults), kept)


def with_contract_names(schema: Schema, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with aliases replaced by the contract's names."""
    renamed = {name: known for name in frame.columns if (known := schema.resolve(name)) and known != name}
    clash = [known for known in renamed.values() if known in frame.columns]
    return frame.rename({name: known for name, known in renamed.items() if known not in clash})


def read_series(column: Column, series: pl.Series, *, first_row: int = 1) -> tuple[npt.NDArray[Any], list[Fault]]:
    """Return a column as an array of shape (rows, 1) and its faults; faulty cells hold a gap."""
    series = series.fill_nan(None) if series.dtype.is_float() else series
    meant = series if column.is_text else as_meant_series(column, series)
    values, doubtful = _READERS[column.kind](column, meant)
    doubtful = doubtful | _gaps(column, series) | _beyond(column, values)
    faults: list[Fault] = []
    verdicts: dict[object, float | str | CellError] = {}
    positions = np.flatnonzero(doubtful)
    for position, cell in zip(positions.tolist(), series.gather(positions).to_list(), strict=True):
        key = cell if isinstance(cell, str) else repr(cell)
        if key not in verdicts:
            verdicts[key] = _verdict(column, cell)
        verdict = verdicts[key]
        if isinstance(verdict, CellError):
            faults.append(Fault(first_row + position, column.name, cell, str(verdict)))
            values[position] = "" if column.is_text else np.nan
        else:
            values[position] = verdict
    return values.reshape(-1, 1), faults


def _verdict(column: Column, cell: object) -> float | str | CellError:
    try:
        return read_cell(column, cell)
    except CellError as error:
        return error


def _gaps(column: Column, series: pl.Series) -> Mask:
    """Mark gaps only where they are refused or would pass for a value; an allowed null is already right."""
    doubtful = np.zeros(len(series), dtype=np.bool_)
    if not column.gaps:
        doubtful |= series.is_null().to_numpy()
    if series.dtype == pl.String:
        bare = replace(column, gaps=(), limits=None)
        spelled = [gap for gap in ("", *column.gaps) if not isinstance(_verdict(bare, gap), CellError)]
        spelled += ["", *column.gaps] if column.is_text else []
        if spelled:
            doubtful |= stripped(series).is_in(spelled).fill_null(False).to_numpy()
    return doubtful


def _beyond(column: Column, values: npt.NDArray[Any]) -> Mask:
    if column.is_text or column.limits is None:
        return np.zeros(len(values), dtype=np.bool_)
    low, high = column.limits
    beyond = np.zeros(len(values), dtype=np.bool_)
    if low is not None:
        beyond |= values < low
    if high is not None:
        beyond |= values > high
    return beyond


Reading = tuple[npt.NDArray[Any], Mask]


def _numbers(column: Column, series: pl.Series) -> Reading:
    if series.dtype == pl.Boolean or not (series.dtype == pl.String or series.dtype.is_numeric()):
        return np.full(len(series), np.nan), np.ones(len(series), dtype=np.bool_)
    if series.dtype == pl.String and (column.thousands or column.decimal != "."):
        # "1,5" must not pass as it stands where a comma has a meaning: each cell is read by the column's own rules.
        return np.full(len(series), np.nan), series.is_not_null().to_numpy().copy()
    cast = series.cast(pl.Float64, strict=False)
    values = cast.to_numpy().astype(np.float64, copy=True)
    with np.errstate(invalid="ignore"):
        doubtful = np.isinf(values) | _unread(values, series)
        if column.kind == "integer":
            doubtful |= (values != np.floor(values)) & ~np.isnan(values)
            doubtful |= np.abs(values) > LARGEST_EXACT_INTEGER
    return values, doubtful


def _unread(values: Floats, series: pl.Series) -> Mask:
    """Mark cells that are no numbers although something is there."""
    unknown = np.isnan(values)
    if unknown.sum() > series.null_count():
        unknown &= series.is_not_null().to_numpy()
        return unknown
    return np.zeros(len(values), dtype=np.bool_)


def _booleans(column: Column, series: pl.Series) -> Reading:
    if series.dtype == pl.Boolean:
        return series.cast(pl.Float64).to_numpy().astype(np.float64, copy=True), np.zeros(len(series), dtype=np.bool_)
    words = series.cast(pl.String, strict=False)
    different = words.unique().drop_nulls()
    truths = [_truth(word) for word in different.to_list()]
    found = words.replace_strict(different, pl.Series(truths, dtype=pl.Float64), default=None)
    values = found.to_numpy().astype(np.float64, copy=True)
    return values, _unread(values, series)


def _truth(word: str) -> float | None:
    bare = word.strip().lower()
    return 1.0 if bare in TRUE_WORDS else 0.0 if bare in FALSE_WORDS else None


def _words(column: Column, series: pl.Series) -> Reading:
    words = as_meant_series(column, as_words(series))
    values = words.fill_null("").to_numpy().astype(object)
    doubtful = np.zeros(len(series), dtype=np.bool_)
    if column.has_known_levels:
        doubtful = ~words.is_in(list(column.levels)).fill_null(True).to_numpy()
    return values, doubtful | words.str.contains("\x00", literal=True).fill_null(False).to_numpy()


def _times(column: Column, series: pl.Series) -> Reading:
    if series.dtype.is_temporal() and series.dtype not in (pl.Time, pl.Duration):
        moments = series.cast(pl.Datetime("us"), strict=False)
    elif series.dtype == pl.String:
        moments = _parsed(series, column.formats)
    else:
        return np.full(len(series), np.nan), np.ones(len(series), dtype=np.bool_)
    values = moments.to_physical().cast(pl.Float64).to_numpy() / 1e6
    return values, _unread(values, series)


def _parsed(series: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    words = stripped(series)
    moments = pl.Series([None] * len(series), dtype=pl.Datetime("us"))
    for form in formats:
        found = as_moments(words, form)
        if isinstance(found.dtype, pl.Datetime) and found.dtype.time_zone is not None:
            found = found.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        moments = moments.zip_with(moments.is_not_null(), found)
    return moments


_READERS: Mapping[str, Callable[[Column, pl.Series], Reading]] = {
    "number": _numbers,
    "integer": _numbers,
    "boolean": _booleans,
    **dict.fromkeys(WORD_KINDS, _words),
    **dict.fromkeys(TIME_KINDS, _times),
}
