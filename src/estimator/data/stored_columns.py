"""The checked features of a table, in memory or in the files of a stored table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats
from estimator.core.stored_matrix import CellFile, StoredCells, is_small
from estimator.data.schema import Batch, Schema
from estimator.data.schema.frames import read_frame, read_series, select_columns
from estimator.data.schema.schema import MAX_FAULTS, StoredFeed
from estimator.data.stored_table import StoredTable, Table
from estimator.errors import Fault, RowError


@dataclass(frozen=True, slots=True)
class StoredColumns(StoredFeed):
    """The checked features of a stored table."""

    schema: Schema
    table: StoredTable

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        column, shared, parts = self.schema.by_name[name], dict[str, str](), []
        for series in self.table.parts(name):
            values, _ = read_series(column, series)
            if column.is_string:
                # One object per distinct text.
                texts = values[:, 0].tolist()
                values[:, 0] = list(map(shared.setdefault, texts, texts))
            parts.append(values)
        return np.concatenate(parts)

    def __iter__(self) -> Iterator[str]:
        return (column.name for column in self.schema.features)

    def __len__(self) -> int:
        return len(self.schema.features)

    def rows(self, selection: npt.NDArray[Any]) -> Batch:
        positions = np.flatnonzero(selection) if selection.dtype == np.bool_ else selection
        if is_small(len(positions), len(self.table.columns)):
            distinct, places = np.unique(positions, return_inverse=True)
            return self._read(self.table.gather(distinct)).rows(places)
        mask = np.zeros(self.table.height, dtype=np.bool_)
        mask[positions] = True
        if len(positions) != mask.sum() or (np.diff(positions) < 0).any():
            return Batch({name: values[positions] for name, values in self.items()}, len(positions))
        return Batch(replace(self, table=self.table.filter(pl.Series(mask))), len(positions))

    def blocks(self) -> Iterator[Batch]:
        for frame in self.table.iter_slices():
            yield self._read(frame)

    def block(self, begin: int, end: int) -> Batch:
        """Return the rows from `begin` to before `end`."""
        return self._read(self.table.block(begin, end))

    def encoded(self, encode: Callable[[Batch], Floats], width: int) -> StoredCells:
        return EncodedCells(self, encode, width)

    def kept(self, cells: StoredCells) -> StoredCells:
        return CellFile.write(self.table.scratch, cells)

    def _read(self, frame: pl.DataFrame) -> Batch:
        return read_frame(self.schema, select_columns(frame, self))


@dataclass(frozen=True, slots=True)
class EncodedCells(StoredCells):
    """Stored rows as a function encodes them, of shape (rows, width), each time they are read."""

    rows_of: StoredColumns
    encode: Callable[[Batch], Floats]
    width: int

    @property
    def n_rows(self) -> int:  # type: ignore[override] # that of the table
        return self.rows_of.table.height

    @property
    def block_rows(self) -> int:  # type: ignore[override] # that of the files
        return self.rows_of.table.file_rows

    def block(self, begin: int, end: int) -> Floats:
        return self.encode(self.rows_of.block(begin, end))


def read_rows(schema: Schema, table: Table) -> Batch:
    """Check the features of a table, and return them as arrays; those of a stored table stay in its files.

    Raises
    ------
    RowError: cells break the schema.
    """
    if isinstance(table, pl.DataFrame):
        return read_frame(schema, select_columns(table, [name for name in table.columns if name in schema.by_name]))
    columns, faults, n_faults, first = StoredColumns(schema, table), list[Fault](), 0, 1
    for frame in table.iter_slices():
        found = read_frame(schema, select_columns(frame, columns), first_row=first, drop_faulty=True).faults
        faults, n_faults, first = [*faults, *found][:MAX_FAULTS], n_faults + len(found), first + frame.height
    if faults:
        raise RowError(faults, n_faults=n_faults, hint=schema.hint(faults[0]))
    return Batch(columns, table.height)
