"""What a caller hands in (polars, pandas, rows as dicts) -> checked rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from estimator.data.schema import Batch, Schema
from estimator.errors import SchemaError

if TYPE_CHECKING:
    import polars as pl


def read_table(schema: Schema, data: Any) -> Batch:
    """Check rows given as a polars frame, a pandas frame, a list of dicts or one dict.

    `data` may come from libraries that are not installed here, hence of any type.

    Raises
    ------
    RowError: the rows break the contract.
    SchemaError: the data are none of these.
    """
    if isinstance(data, Mapping):
        return schema.read_rows([data])
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return schema.read_rows(data)
    from estimator.data.schema.frames import read_frame

    return read_frame(schema, as_frame(data))


def as_frame(data: Any) -> pl.DataFrame:
    """Return a polars or pandas frame, or rows as dicts, as a polars frame."""
    import polars as pl

    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if type(data).__module__.split(".")[0] == "pandas" and type(data).__name__ == "DataFrame":
        if data.columns.has_duplicates:
            raise SchemaError(
                f"the frame has columns of the same name: {sorted(set(data.columns[data.columns.duplicated()]))}"
            )
        return pl.DataFrame({str(name): _pandas_values(data[name]) for name in data.columns})
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return pl.DataFrame(list(data), infer_schema_length=None)
    raise SchemaError(
        f"expected a polars or pandas frame, or rows as dicts, got {type(data).__name__}",
        hint="for arrays, make a frame with the column names first",
    )


def _pandas_values(series: Any) -> Any:
    """Return numbers and times as numpy, all else as a list with None for what pandas holds as missing."""
    if series.dtype.kind in "iufbM" if hasattr(series.dtype, "kind") else False:
        return series.to_numpy()
    return [None if gap else value for value, gap in zip(series.tolist(), series.isna().tolist(), strict=True)]
