"""Arrow files (Feather, version 2): columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns, polars_errors


@dataclass(frozen=True, slots=True)
class Arrow(FileSource):
    """Arrow IPC files with the same columns."""

    endings: ClassVar[tuple[str, ...]] = (".arrow", ".feather")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        with polars_errors(self.paths):
            frames = [pl.read_ipc(path) for path in self.paths]
        for path, frame in zip(self.paths, frames, strict=True):
            check_same_columns(path, frame.columns, frames[0].columns)
        table = pl.concat(frames)
        yield from table.iter_slices(rows) if table.height else [table]

    def notes(self) -> list[str]:
        return []
