"""Parquet files: columns keep their types, or get one that holds those of all files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.core.text import join_names
from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns
from estimator.data.sources.files import TableFile, expect_signature, polars_input, read_errors
from estimator.errors import SourceError

SLICE_ROWS = 262_144
TEXTS = (pl.String, pl.Categorical, pl.Enum)
# A float holds every integer up to here.
LARGEST_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Parquet(FileSource):
    """Parquet files with the same columns; numbers of several types are read as one that holds all of them."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        types = []
        for file in self.files:
            # One by one, so that a message names the file.
            with read_errors((file,)):
                expect_signature(file, (b"PAR1",), "a Parquet file")
                types.append(pl.read_parquet_schema(polars_input(file)))
        schema = self._common_schema(types)
        is_empty = True
        for file in self.files:
            with read_errors((file,)):
                for frame in _slices(file, rows):
                    is_empty = False
                    yield _cast(frame, schema, file)
        if is_empty:
            yield pl.DataFrame(schema=schema)

    def _common_schema(self, types: Sequence[Mapping[str, pl.DataType]]) -> pl.Schema:
        """Return the types that hold the values of all files; add to `remarks` which ones differ.

        Raises
        ------
        SourceError: the columns differ, or the types of one have no such type.
        """
        schema = dict(types[0])
        for file, of_file in zip(self.files, types, strict=True):
            check_same_columns(file, list(of_file), list(schema))
            for name, dtype in schema.items():
                common = _common_type(dtype, of_file[name])
                if common is None:
                    raise _different_types(file, name, of_file[name], dtype)
                schema[name] = common
        for name, dtype in schema.items():
            files: dict[str, TableFile] = {}
            for file, of_file in zip(self.files, types, strict=True):
                files.setdefault(str(of_file[name]), file)
            if len(files) > 1:
                kinds = join_names(f"{kind} in {file}" for kind, file in files.items())
                self.remarks.append(f"column {name!r} is {kinds}: read as {dtype}")
        return pl.Schema(schema)


def _common_type(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    """Return a type that holds the values of both, None if there is none.

    A program that writes months to files makes integers floats where values are missing, and nulls where all are.
    """
    if first == second or second == pl.Null:
        return first
    if first == pl.Null:
        return second
    if first.is_numeric() and second.is_numeric() and pl.UInt64 not in (first, second):
        is_float = first.is_float() or second.is_float() or first.is_decimal() or second.is_decimal()
        return pl.Float64() if is_float else pl.Int64()
    if isinstance(first, pl.Datetime) and isinstance(second, pl.Datetime) and first.time_zone == second.time_zone:
        # Microseconds hold every year, nanoseconds those from 1678 to 2262.
        return pl.Datetime("us", first.time_zone)
    return pl.String() if isinstance(first, TEXTS) and isinstance(second, TEXTS) else None


def _cast(frame: pl.DataFrame, schema: pl.Schema, file: TableFile) -> pl.DataFrame:
    """Return a frame with the types of a schema.

    Raises
    ------
    SourceError: an integer is too large to be a float.
    """
    for name, dtype in schema.items():
        column = frame[name]
        if dtype == pl.Float64 and column.dtype.is_integer():
            beyond = column.filter((column > LARGEST_INTEGER) | (column < -LARGEST_INTEGER))
            if len(beyond):
                raise SourceError(
                    f"{file}: column {name!r} holds the integer {beyond[0]}, too large for the floats of other files",
                    hint="write all files with the same types",
                )
    return frame.cast(schema) if frame.schema != schema else frame


def _different_types(file: TableFile, name: str, dtype: pl.DataType, expected: pl.DataType) -> SourceError:
    return SourceError(
        f"{file}: column {name!r} is {dtype}, but {expected} in the files before it",
        hint="write all files with the same types",
    )


def _slices(file: TableFile, rows: int) -> Iterator[pl.DataFrame]:
    # One slice after another needs less memory than a reader that prefetches.
    table, start = pl.scan_parquet(polars_input(file), glob=False), 0
    while (part := table.slice(start, SLICE_ROWS).collect()).height:
        yield from part.iter_slices(rows)
        start += SLICE_ROWS


def check_same_types(file: TableFile, types: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> None:
    """Reject a file whose columns, or their types, differ from those of the files before it."""
    check_same_columns(file, list(types), list(expected))
    for name, dtype in expected.items():
        if types[name] != dtype:
            raise _different_types(file, name, types[name], dtype)
