"""Parquet files: columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns
from estimator.data.sources.files import TableFile, expect_signature, polars_input, read_errors
from estimator.errors import SourceError

SLICE_ROWS = 262_144


@dataclass(frozen=True, slots=True)
class Parquet(FileSource):
    """Parquet files with the same columns and types."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        schema: Mapping[str, pl.DataType] | None = None
        is_empty = True
        for file in self.files:
            # One by one, so that a message names the file.
            with read_errors((file,)):
                expect_signature(file, (b"PAR1",), "a Parquet file")
                types = pl.read_parquet_schema(polars_input(file))
                schema = types if schema is None else schema
                check_same_types(file, types, schema)
                for frame in _slices(file, rows):
                    is_empty = False
                    yield frame
        if is_empty:
            yield pl.DataFrame(schema=schema)


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
            raise SourceError(
                f"{file}: column {name!r} is {types[name]}, but {dtype} in the files before it",
                hint="write all files with the same types",
            )
