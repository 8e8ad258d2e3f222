"""Tables that a caller passes in Python: polars, pandas or rows as dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from estimator.data.schema import Batch, Schema
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
        if data.columns.has_duplicates:
            repeated = sorted(set(data.columns[data.columns.duplicated()]))
            raise SchemaError(f"the frame has columns of the same name: {repeated}", hint="rename them")
        return pl.DataFrame({str(name): _pandas_values(data[name]) for name in data.columns})
    if _is_rows(data):
        return pl.DataFrame(list(data), infer_schema_length=None)
    raise SchemaError(
        f"expected a polars or pandas frame, or rows as dicts, got {type(data).__name__}",
        hint="turn an array into a frame with column names first",
    )


def _is_rows(data: Any) -> bool:
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def _pandas_values(series: Any) -> Any:
    """Return numbers and times as numpy, other values as a list with None for a missing one."""
    if getattr(series.dtype, "kind", "O") in "iufbM":
        return series.to_numpy()
    values = zip(series.tolist(), series.isna().tolist(), strict=True)
    return [None if is_missing else value for value, is_missing in values]
