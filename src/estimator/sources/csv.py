"""Comma-separated text, plain or gzipped: every cell arrives as the text it was written with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.sources.base import Source


@dataclass(frozen=True, slots=True)
class Csv(Source):
    """UTF-8 text with a header line; empty cells are null, leading zeros and spellings of a gap stay."""

    endings: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    separator: str | None = None

    def scan(self) -> pl.LazyFrame:
        tabs = self.paths[0].name.endswith((".tsv", ".tsv.gz"))
        separator = self.separator or ("\t" if tabs else ",")
        return pl.scan_csv(list(self.paths), infer_schema=False, separator=separator, glob=False)
