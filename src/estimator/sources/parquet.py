"""Parquet: typed columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.sources.base import BATCH_ROWS, Source, explained


@dataclass(frozen=True, slots=True)
class Parquet(Source):
    """Parquet files of the same columns."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    separator: str | None = None

    def scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(list(self.paths), glob=False)

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        with explained(self.paths):
            for path in self.paths:
                table, start = pl.scan_parquet(path, glob=False), 0
                # A slice after the other holds less in memory than reading ahead does.
                while (part := table.slice(start, rows).collect()).height:
                    yield part
                    start += rows

    def notes(self) -> list[str]:
        return []
