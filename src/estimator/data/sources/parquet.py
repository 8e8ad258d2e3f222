"""Parquet: typed columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from estimator.data.sources.base import BATCH_ROWS, Files, explained, refuse_other_columns
from estimator.errors import SourceError

SLICE_ROWS = 262_144


@dataclass(frozen=True, slots=True)
class Parquet(Files):
    """Parquet files of the same columns."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        with explained(self.paths):
            schema = pl.read_parquet_schema(self.paths[0])
            found = False
            for path in self.paths:
                _refuse_other_types(path, pl.read_parquet_schema(path), schema)
                for part in _parts(path, rows):
                    found = True
                    yield part
            if not found:
                yield pl.DataFrame(schema=schema)

    def notes(self) -> list[str]:
        return []


def _parts(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    """Read a file slice after slice, which holds less in memory than reading ahead does."""
    table, start = pl.scan_parquet(path, glob=False), 0
    while (part := table.slice(start, SLICE_ROWS).collect()).height:
        yield from part.iter_slices(rows)
        start += SLICE_ROWS


def _refuse_other_types(path: Path, found: Mapping[str, pl.DataType], schema: Mapping[str, pl.DataType]) -> None:
    refuse_other_columns(path, list(found), list(schema))
    for name, dtype in schema.items():
        if found[name] != dtype:
            raise SourceError(f"{path}: column {name!r} is {found[name]}, but {dtype} in the files before it")
