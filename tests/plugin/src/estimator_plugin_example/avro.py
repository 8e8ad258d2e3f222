"""Avro files: columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns
from estimator.data.sources.files import polars_input, read_errors


@dataclass(frozen=True, slots=True)
class Avro(FileSource):
    """Avro files with the same columns."""

    endings: ClassVar[tuple[str, ...]] = (".avro",)

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        with read_errors(self.files):
            frames = [pl.read_avro(polars_input(file)) for file in self.files]
        for file, frame in zip(self.files, frames, strict=True):
            check_same_columns(file, frame.columns, frames[0].columns)
        table = pl.concat(frames)
        yield from table.iter_slices(rows) if table.height else [table]
