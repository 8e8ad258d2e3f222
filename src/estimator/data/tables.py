"""Rows that a caller hands in (a polars or pandas frame, or dicts) -> checked rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from estimator.data.schema import Batch, Schema
from estimator.errors import SchemaError

if TYPE_CHECKING:
    import polars as pl


def read_table(schema: Schema, data: Any) -> Batch:
    """Check rows given as a polars frame, a pandas frame, a list of dicts or one dict.

    `data` is `Any` because it may come from a library that is not installed here.

    Raises
    ------
    RowError: the rows break the schema.
    SchemaError: the data are none of these.
    """
    if isinstance(data, Mapping):
        return schema.read_rows([data])
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return schema.read_rows(data)
    from estimator.data.schema.frames import read_frame

    return read_frame(schema, as_frame(data))


def as_frame(data: Any) -> pl.DataFrame:
    """Return a polars frame of a polars or pandas frame, or of rows as dicts.

    Raises
    ------
    SchemaError: the data are none of these, or two columns have the same name.
    """
    import polars as pl

    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if type(data).__module__.split(".")[0] == "pandas" and type(data).__name__ == "DataFrame":
        if data.columns.has_duplicates:
            duplicates = sorted(set(data.columns[data.columns.duplicated()]))
            raise SchemaError(f"expected unique column names, got twice: {', '.join(map(repr, duplicates))}")
        return pl.DataFrame({str(name): _pandas_values(data[name]) for name in data.columns})
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return pl.DataFrame(list(data), infer_schema_length=None)
    raise SchemaError(
        f"expected a polars or pandas frame, or rows as dicts, got {type(data).__name__}",
        hint="for arrays, build a frame with the column names first",
    )


def _pandas_values(series: Any) -> Any:
    """Return numbers and times as a numpy array, all else as a list with None for pandas' missing values."""
    # Pandas' own types have a kind as numpy's do.
    if series.dtype.kind in "iufbM":
        return series.to_numpy()
    return [
        None if is_missing else value for value, is_missing in zip(series.tolist(), series.isna().tolist(), strict=True)
    ]
