"""A matrix that is not in memory: blocks of its rows, or single columns, are read when they are asked for."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Indices, Mask
from estimator.core.scratch import Scratch

# So many rows and fewer are loaded when they are selected, if they are of fewer bytes.
LOADED_ROWS, LOADED_BYTES = 131_072, 256_000_000
ITEM_BYTES = 8


class StoredCells(ABC):
    """Doubles of shape (rows, width) that can be read in part, `block_rows` at a time."""

    n_rows: int
    width: int
    block_rows: int

    @abstractmethod
    def block(self, begin: int, end: int) -> Floats:
        """Return the rows from `begin` to before `end`."""

    def column(self, index: int) -> Floats:
        """Return one column, of shape (rows,)."""
        starts = range(0, self.n_rows, self.block_rows)
        ends = (min(start + self.block_rows, self.n_rows) for start in starts)
        return np.concatenate([self.block(start, end)[:, index] for start, end in zip(starts, ends, strict=True)])

    def rows(self, positions: Indices) -> Floats:
        """Return few rows at ascending positions."""
        found = np.empty((len(positions), self.width))
        for number in np.unique(positions // self.block_rows).tolist():
            start, end = number * self.block_rows, min((number + 1) * self.block_rows, self.n_rows)
            first, last = np.searchsorted(positions, (start, end))
            found[first:last] = self.block(start, end)[positions[first:last] - start]
        return found


@dataclass(frozen=True, slots=True)
class CellFile(StoredCells):
    """A file of doubles, column after column; it is removed when nothing refers to it any more."""

    path: Path
    n_rows: int
    width: int
    block_rows: int

    @classmethod
    def write(cls, scratch: Scratch, cells: StoredCells) -> CellFile:
        """Write cells into a new file.

        Raises
        ------
        FileError: the file cannot be written, for example because the disk is full.
        """
        n_rows, width = cells.n_rows, cells.width
        with scratch.new_file(n_rows * width * ITEM_BYTES, ".matrix") as path:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                for start in range(0, n_rows, cells.block_rows):
                    block = cells.block(start, min(start + cells.block_rows, n_rows))
                    for index in range(width):
                        _write_all(handle, np.ascontiguousarray(block[:, index]), (index * n_rows + start) * ITEM_BYTES)
            finally:
                os.close(handle)
        written = cls(path, n_rows, width, cells.block_rows)
        weakref.finalize(written, path.unlink, missing_ok=True)
        return written

    def block(self, begin: int, end: int) -> Floats:
        block = np.empty((end - begin, self.width))
        for index in range(self.width):
            block[:, index] = self._values(index, begin, end)
        return block

    def column(self, index: int) -> Floats:
        return self._values(index, 0, self.n_rows)

    def _values(self, index: int, begin: int, end: int) -> Floats:
        return np.fromfile(self.path, np.float64, end - begin, offset=(index * self.n_rows + begin) * ITEM_BYTES)


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """Some rows of stored cells, as a matrix of shape (rows, width).

    `selection` are the rows in use, ascending, None for all. Columns in `replaced`, of shape (rows,), are held in
    memory in place of the stored ones; `changes` are applied to a column when it is read.
    """

    cells: StoredCells
    selection: Indices | None = None
    replaced: Mapping[int, Floats] = field(default_factory=dict)
    changes: Mapping[int, Callable[[Floats], Floats]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.cells.n_rows if self.selection is None else len(self.selection)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows, and of columns."""
        return len(self), self.cells.width

    @property
    def block_rows(self) -> int:
        """How many rows are best read at a time."""
        return self.cells.block_rows

    def __getitem__(self, rows: Mask | Indices) -> StoredMatrix | Floats:
        """Return rows by a mask, or by ascending positions; few of them as an array."""
        positions = positions_of(rows)
        if is_small(len(positions), self.cells.width):
            stored = positions if self.selection is None else self.selection[positions]
            return self._changed(self.cells.rows(stored), {i: values[positions] for i, values in self.replaced.items()})
        return replace(
            self,
            selection=positions if self.selection is None else self.selection[positions],
            replaced={index: values[positions] for index, values in self.replaced.items()},
        )

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Load all rows."""
        matrix = np.empty(self.shape)
        for start, block in self.blocks():
            matrix[start : start + len(block)] = block
        return matrix if dtype is None else matrix.astype(dtype, copy=False)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield the number of the first row of each block, with its rows."""
        for start in range(0, len(self), self.block_rows):
            yield start, self.block(start, min(start + self.block_rows, len(self)))

    def block(self, begin: int, end: int) -> Floats:
        """Return the rows from `begin` to before `end`."""
        rows = self.selection
        cells = self.cells.block(begin, end) if rows is None else self.cells.rows(rows[begin:end])
        return self._changed(cells, {index: values[begin:end] for index, values in self.replaced.items()})

    def column(self, index: int) -> Floats:
        """Return one column, of shape (rows,)."""
        if index in self.replaced:
            values = self.replaced[index]
        else:
            values = self.cells.column(index)
            values = values if self.selection is None else values[self.selection]
        return self.changes[index](values) if index in self.changes else values

    def _changed(self, cells: Floats, replaced: Mapping[int, Floats]) -> Floats:
        for index, values in replaced.items():
            cells[:, index] = values
        for index, change in self.changes.items():
            cells[:, index] = change(cells[:, index])
        return cells


# A matrix in memory or not; both have a shape, and rows by a mask or by ascending positions.
Matrix = Floats | StoredMatrix


def is_small(n_rows: int, width: int) -> bool:
    """Return whether rows are loaded when they are selected."""
    return n_rows <= LOADED_ROWS and n_rows * width * ITEM_BYTES <= LOADED_BYTES


def positions_of(rows: Mask | Indices) -> Indices:
    """Return the positions of the rows that a mask selects, or positions as they are."""
    return np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.intp, copy=False)


def column_of(matrix: Matrix, index: int) -> Floats:
    """Return one column of a matrix."""
    return matrix.column(index) if isinstance(matrix, StoredMatrix) else matrix[:, index]


def with_columns(matrix: Matrix, columns: Mapping[int, Floats]) -> Matrix:
    """Return a matrix with some columns, of shape (rows,), in place of its own."""
    if isinstance(matrix, StoredMatrix):
        return replace(matrix, replaced={**matrix.replaced, **columns})
    changed = matrix.copy()
    for index, values in columns.items():
        changed[:, index] = values
    return changed


def changed_columns(matrix: Matrix, changes: Mapping[int, Callable[[Floats], Floats]]) -> Matrix:
    """Return a matrix whose columns are changed by functions, if there are any."""
    if not changes:
        return matrix
    if isinstance(matrix, StoredMatrix):
        return replace(matrix, changes={**matrix.changes, **changes})
    return with_columns(matrix, {index: change(matrix[:, index]) for index, change in changes.items()})


def by_blocks(function: Callable[[Floats], Floats], matrix: Matrix) -> Floats:
    """Return the results of a function of rows, such as a model's predictions."""
    if not isinstance(matrix, StoredMatrix):
        return function(matrix)
    return np.concatenate([function(block) for _, block in matrix.blocks()])


def _write_all(handle: int, values: Floats, offset: int) -> None:
    content = memoryview(values.view(np.uint8))  # type: ignore[arg-type] # an array is a buffer
    while content:
        n_written = os.pwrite(handle, content, offset)
        content, offset = content[n_written:], offset + n_written
