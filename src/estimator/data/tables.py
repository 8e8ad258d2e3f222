"""Tables that a caller passes in Python: polars, pandas or rows as dicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from estimator.data.schema import Batch, Schema
from estimator.data.schema.cells import number_text, plain_value
from estimator.data.sources.base import BATCH_ROWS, Source
from estimator.errors import SchemaError

if TYPE_CHECKING:
    import polars as pl


def read_table(schema: Schema, data: Any) -> Batch:
    """Check a polars or pandas frame, a list of dicts or one dict against the schema.

    The libraries of `data` need not be installed here, hence any type.

    Raises
    ------
    RowError: a row breaks the schema.
    SchemaError: `data` is not a table.
    """
    if isinstance(data, Mapping):
        return schema.read_rows([data])
    if _is_rows(data):
        return schema.read_rows(data)
    from estimator.data.schema.frames import read_frame

    return read_frame(schema, as_frame(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSource(Source):
    """Rows that a caller hands in, as a source; their hash stands for that of the files of other sources."""

    rows: pl.DataFrame

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        yield from self.rows.iter_slices(rows) if self.rows.height else [self.rows]

    def notes(self) -> list[str]:
        return []

    def fingerprint(self) -> dict[str, str]:
        return {"rows": frame_hash(self.rows)}


def frame_hash(frame: pl.DataFrame) -> str:
    """Return the sha256 of a frame's names, types and values: equal frames have equal hashes, however they were made.

    >>> import polars as pl
    >>> whole = pl.DataFrame({"a": [1.5, None], "b": ["x", "yz"]})
    >>> frame_hash(pl.concat([whole[:1], whole[1:]])) == frame_hash(whole) != frame_hash(whole[::-1])
    True
    """
    import polars as pl

    digest = hashlib.sha256()
    for series in frame.iter_columns():
        digest.update(json.dumps([series.name, str(series.dtype), len(series)]).encode())
        digest.update(series.is_null().to_numpy().tobytes())
        if series.dtype.is_temporal():
            series = series.to_physical()
        if series.dtype.is_numeric() and not series.dtype.is_decimal():
            digest.update(series.fill_null(0).to_numpy().tobytes())
            continue
        is_text = series.dtype == pl.String
        texts = [str(value) for value in (series.fill_null("") if is_text else series).to_list()]
        digest.update(json.dumps(texts).encode())
    return digest.hexdigest()


def as_frame(data: Any) -> pl.DataFrame:
    """Return a polars or pandas frame, or rows as dicts, as a polars frame.

    >>> as_frame([{"rooms": 4, "city": "Oslo"}]).rows()
    [(4, 'Oslo')]

    Raises
    ------
    SchemaError: `data` is not a table, or has two columns of the same name.
    """
    import polars as pl

    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if type(data).__module__.split(".")[0] == "pandas" and type(data).__name__ == "DataFrame":
        names = [str(name) for name in data.columns]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise SchemaError(f"the frame has columns of the same name: {repeated}", hint="rename them")
        return pl.DataFrame([_pandas_series(name, data.iloc[:, index]) for index, name in enumerate(names)])
    if _is_rows(data):
        return _frame_of_rows(data)
    raise SchemaError(
        f"expected a polars or pandas frame, or rows as dicts, got {type(data).__name__}",
        hint="turn an array into a frame with column names first",
    )


def _is_rows(data: Any) -> bool:
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def _frame_of_rows(rows: Sequence[Any]) -> pl.DataFrame:
    import polars as pl

    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
            raise SchemaError(f"row {number}: expected a dict with a value per column name, got {row!r:.80}")
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([_series(name, [row.get(name) for row in rows]) for name in names])


def _pandas_series(name: str, series: Any) -> pl.Series:
    """Return numbers, times and durations of numpy as they are, other values with None for a missing one."""
    import polars as pl

    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufbmM":
        values = series.to_numpy()
        if dtype.kind in "mM" and np.datetime_data(dtype)[0] not in ("ns", "us", "ms"):
            values = values.astype(f"{dtype.kind}8[ms]")
        return pl.Series(name, values.astype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else values)
    values = zip(series.tolist(), series.isna().tolist(), strict=True)
    return _series(name, [None if is_missing is True else value for value, is_missing in values])


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return values as a column; numbers next to texts become text, and what no type holds stays as objects.

    A number becomes the text that a single row has for it: 1.0 is "1".
    """
    import polars as pl

    values = [plain_value(value) for value in values]
    types = {type(value) for value in values if value is not None}
    if str in types and types <= {str, int, float, bool}:
        return pl.Series(name, [None if value is None else _text_of(value) for value in values], dtype=pl.String)
    if types == {bool, float} or types == {bool, int, float} or types == {bool, int}:
        values = [None if value is None else float(value) for value in values]
    try:
        return pl.Series(name, values)
    except (TypeError, OverflowError, AttributeError, pl.exceptions.PolarsError):
        pass
    try:
        return pl.Series(name, values, strict=False)
    except (TypeError, OverflowError, AttributeError, ValueError, pl.exceptions.PolarsError):
        return pl.Series(name, values, dtype=pl.Object)


def _text_of(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value)
