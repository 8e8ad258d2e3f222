"""A table that does not fit into memory: its rows in files, of which columns and blocks of rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from estimator.core.arrays import Indices
from estimator.core.scratch import Scratch

# Rows of a file: as many as fit into so many bytes, at most as many as a source reads at a time.
FILE_BYTES, MAX_FILE_ROWS = 64_000_000, 131_072


@dataclass(frozen=True, slots=True)
class StoredTable:
    """Rows in files of a scratch folder, used like a frame: a column is read when it is asked for.

    Each file but the last one holds `file_rows` rows. `names` maps a column to its name in the files; `selection` are
    the rows in use, ascending, None for all.
    """

    scratch: Scratch
    files: tuple[Path, ...]
    file_rows: int
    n_stored: int
    names: Mapping[str, str]
    selection: Indices | None = None

    @classmethod
    def write(cls, batches: Iterable[pl.DataFrame], scratch: Scratch) -> StoredTable:
        """Write rows into files as they come.

        Raises
        ------
        FileError: the disk has too little room.
        """
        files: list[Path] = []
        names: dict[str, str] = {}
        file_rows, n_stored = 0, 0
        for frame in _of_equal_size(batches):
            if not names:
                # In an expression, polars takes a name such as * for a pattern.
                names = {name: f"c{index}" for index, name in enumerate(frame.columns)}
                file_rows = frame.height
            with scratch.new_file(int(frame.estimated_size()), ".arrow") as path:
                frame.rename(names).write_ipc(path, compression="lz4")
            files.append(path)
            n_stored += frame.height
        return cls(scratch, tuple(files), file_rows, n_stored, names)

    @property
    def height(self) -> int:
        """The number of rows in use."""
        return self.n_stored if self.selection is None else len(self.selection)

    @property
    def file_bytes(self) -> int:
        """The size of the files, with the rows that are not in use."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.names)

    def __getitem__(self, name: str) -> pl.Series:
        """Return a column."""
        return pl.concat(list(self.parts(name)))

    def parts(self, name: str) -> Iterator[pl.Series]:
        """Yield a column file by file."""
        for number, path in enumerate(self.files):
            series = pl.scan_ipc(path).select(self.names[name]).collect().to_series().alias(name)
            if self.selection is not None:
                begin = number * self.file_rows
                first, last = np.searchsorted(self.selection, (begin, begin + self.file_rows))
                series = series.gather(self.selection[first:last] - begin)
            yield series

    def head(self, n_rows: int) -> pl.DataFrame:
        """Return the first rows."""
        return self.block(0, min(n_rows, self.height))

    def filter(self, mask: pl.Series) -> StoredTable:
        """Return the rows of a mask."""
        positions = np.flatnonzero(mask.to_numpy())
        if len(positions) == self.height:
            return self
        return replace(self, selection=positions if self.selection is None else self.selection[positions])

    def rename(self, names: Mapping[str, str]) -> StoredTable:
        """Return the same rows with other names of some columns."""
        return replace(self, names={names.get(name, name): stored for name, stored in self.names.items()})

    def iter_slices(self, n_rows: int | None = None) -> Iterator[pl.DataFrame]:
        """Yield all rows in order, `n_rows` at a time, or as many as a file holds."""
        step = n_rows or self.file_rows
        for begin in range(0, self.height, step):
            yield self.block(begin, min(begin + step, self.height))

    def block(self, begin: int, end: int) -> pl.DataFrame:
        """Return the rows from `begin` to before `end`."""
        return self.gather(np.arange(begin, end))

    def gather(self, positions: Indices) -> pl.DataFrame:
        """Return few rows, at ascending positions."""
        stored = positions if self.selection is None else self.selection[positions]
        parts = []
        for number in np.unique(stored // self.file_rows).tolist():
            first, last = np.searchsorted(stored, (number * self.file_rows, (number + 1) * self.file_rows))
            frame, rows = pl.read_ipc(self.files[number]), stored[first:last] - number * self.file_rows
            parts.append(frame if len(rows) == frame.height else frame[rows])
        frame = pl.concat(parts) if parts else pl.read_ipc(self.files[0]).clear()
        return pl.DataFrame({name: frame[stored_name] for name, stored_name in self.names.items()})


# A table in memory or in files.
Table = pl.DataFrame | StoredTable
AnyTable = TypeVar("AnyTable", bound=Table)


def in_memory(table: Table) -> pl.DataFrame:
    """Return a table in memory."""
    return pl.concat(list(table.iter_slices())) if isinstance(table, StoredTable) else table


def read_table(
    batches: Iterable[pl.DataFrame], open_scratch: Callable[[], Scratch], fits: Callable[[int, int], bool]
) -> Table:
    """Read a table into memory while it `fits`, by its numbers of cells and of bytes, and else all of it into files."""
    frames: list[pl.DataFrame] = []
    stream, n_cells, n_bytes = iter(batches), 0, 0
    for frame in stream:
        frames.append(frame)
        n_cells, n_bytes = n_cells + frame.height * frame.width, n_bytes + int(frame.estimated_size())
        if not fits(n_cells, n_bytes):
            return StoredTable.write(_drained(frames, stream), open_scratch())
    return pl.concat(frames)


def _drained(frames: list[pl.DataFrame], stream: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield frames, forgetting each one, then those of a stream."""
    while frames:
        yield frames.pop(0)
    yield from stream


def _of_equal_size(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of the size of a file; the last one may be smaller."""
    waiting: Sequence[pl.DataFrame] = ()
    size = 0
    for batch in batches:
        row_bytes = max(8 * batch.width, int(batch.estimated_size()) // max(batch.height, 1), 1)
        size = size or max(1, min(MAX_FILE_ROWS, FILE_BYTES // row_bytes))
        waiting = [*waiting, batch] if batch.height or not waiting else waiting
        if sum(frame.height for frame in waiting) >= size:
            frame = pl.concat(waiting)
            n_whole = frame.height // size * size
            yield from frame[:n_whole].iter_slices(size)
            waiting = [frame[n_whole:]]
    rest = pl.concat(waiting)
    if rest.height:
        yield rest.rechunk()
