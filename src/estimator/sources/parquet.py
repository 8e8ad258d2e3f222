"""Parquet: typed columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.sources.base import Files


@dataclass(frozen=True, slots=True)
class Parquet(Files):
    """Parquet files of the same columns."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    separator: str | None = None

    def scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(list(self.paths), glob=False)

    def notes(self) -> list[str]:
        return []
