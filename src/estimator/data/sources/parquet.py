"""Parquet files: columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns, polars_errors
from estimator.errors import SourceError

SLICE_ROWS = 262_144


@dataclass(frozen=True, slots=True)
class Parquet(FileSource):
    """Parquet files with the same columns and types."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        with polars_errors(self.paths):
            schema = pl.read_parquet_schema(self.paths[0])
            is_empty = True
            for path in self.paths:
                _check_same_types(path, pl.read_parquet_schema(path), schema)
                for frame in _slices(path, rows):
                    is_empty = False
                    yield frame
            if is_empty:
                yield pl.DataFrame(schema=schema)

    def notes(self) -> list[str]:
        return []


def _slices(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    # One slice after another needs less memory than a reader that prefetches.
    table, start = pl.scan_parquet(path, glob=False), 0
    while (part := table.slice(start, SLICE_ROWS).collect()).height:
        yield from part.iter_slices(rows)
        start += SLICE_ROWS


def _check_same_types(path: Path, types: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> None:
    check_same_columns(path, list(types), list(expected))
    for name, dtype in expected.items():
        if types[name] != dtype:
            raise SourceError(
                f"{path}: column {name!r} is {types[name]}, but {dtype} in the files before it",
                hint="write all files with the same types",
            )
