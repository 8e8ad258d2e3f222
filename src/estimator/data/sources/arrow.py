"""Arrow IPC (Feather), as a file or a stream: columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from estimator.data.sources.base import BATCH_ROWS, FileSource
from estimator.data.sources.files import TableFile, expect_signature, polars_input, read_errors
from estimator.data.sources.parquet import check_same_types

FILE_SIGNATURE, STREAM_SIGNATURE = b"ARROW1", b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Arrow(FileSource):
    """Arrow files or streams with the same columns and types."""

    endings: ClassVar[tuple[str, ...]] = (".arrow", ".arrows", ".feather", ".ipc")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        empty: pl.DataFrame | None = None
        is_empty = True
        for file in self.files:
            with read_errors((file,)):
                frame = _read(file)
                empty = frame.clear() if empty is None else empty
                check_same_types(file, frame.schema, empty.schema)
                for part in frame.iter_slices(rows) if frame.height else ():
                    is_empty = False
                    yield part
        if is_empty and empty is not None:
            yield empty


def _read(file: TableFile) -> pl.DataFrame:
    start = expect_signature(file, (FILE_SIGNATURE, STREAM_SIGNATURE), "an Arrow file")
    if start.startswith(FILE_SIGNATURE):
        return pl.read_ipc(polars_input(file))
    return pl.read_ipc_stream(polars_input(file))
