"""Schema: the columns of a table, and the check that turns rows into what the graph takes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Mask
from estimator.core.names import look_alike, nfc
from estimator.core.stored_matrix import StoredCells
from estimator.core.text import closest, did_you_mean, join_names
from estimator.data.schema.cells import NOT_NULLABLE, CellError, read_cell
from estimator.data.schema.column import EPOCH, TIME_KINDS, Column
from estimator.errors import Fault, RowError

MAX_FAULTS = 20
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class StoredFeed(Mapping[str, npt.NDArray[Any]], ABC):
    """The columns of a `Batch` that is not in memory: each is read when it is asked for."""

    @abstractmethod
    def rows(self, selection: npt.NDArray[Any]) -> Batch:
        """Return the rows selected by a mask or by positions; few of them are loaded."""

    @abstractmethod
    def blocks(self) -> Iterator[Batch]:
        """Yield all rows in order, in batches that fit into memory."""

    @abstractmethod
    def encoded(self, encode: Callable[[Batch], Floats], width: int) -> StoredCells:
        """Return what a function makes of the rows, of shape (rows, width), computed each time it is read."""

    @abstractmethod
    def kept(self, cells: StoredCells) -> StoredCells:
        """Write cells into a file, so that they are not computed again.

        Raises
        ------
        FileError: the disk has too little room.
        """


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that passed the check: one array of shape (rows, 1) per feature.

    `faults` and `is_valid` are set when faulty rows were dropped: `is_valid` marks the rows of the table that are in
    `feed`.
    """

    feed: Mapping[str, npt.NDArray[Any]]
    n_rows: int
    faults: tuple[Fault, ...] = ()
    is_valid: Mask | None = None

    def blocks(self) -> Iterator[Batch]:
        """Yield all rows in order, in batches that fit into memory: rows in memory as they are."""
        if isinstance(self.feed, StoredFeed):
            yield from self.feed.blocks()
        else:
            yield self

    def rows(self, selection: npt.NDArray[Any]) -> Batch:
        """Return the rows selected by a mask or by positions."""
        if isinstance(self.feed, StoredFeed):
            return self.feed.rows(selection)
        feed = {name: values[selection] for name, values in self.feed.items()}
        n_rows = int(selection.sum()) if selection.dtype == np.bool_ else len(selection)
        return Batch(feed, n_rows)


@dataclass(frozen=True)
class Schema:
    """The columns of a table: `columns` in table order without the target, and the `target` column.

    >>> schema = Schema((Column("rooms", "integer"), Column("city", "category")), Column("price", "number"))
    >>> {name: values.tolist() for name, values in schema.read_rows([{"rooms": 3, "city": "Oslo"}]).feed.items()}
    {'rooms': [[3.0]], 'city': [['Oslo']]}
    """

    columns: tuple[Column, ...]
    target: Column
    unknown_columns: Literal["error", "ignore"] = "error"
    by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in (*self.columns, self.target)})

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns a model uses, in order."""
        return tuple(column for column in self.columns if column.is_feature)

    @cached_property
    def encoded(self) -> tuple[Column, ...]:
        """The columns that are features by themselves: not those that only formulas use."""
        return tuple(column for column in self.features if not column.only_in_formulas)

    @cached_property
    def _name_by_alias(self) -> dict[str, str]:
        names = {nfc(alias): column.name for column in self.columns for alias in (column.name, *column.aliases)}
        return {nfc(self.target.name): self.target.name} | names

    def resolve(self, name: str) -> str | None:
        """Return the schema's name for a column or one of its aliases; None when unknown.

        Accents may be written as one character or as two.
        """
        return self._name_by_alias.get(nfc(name))

    def _known_name(self, name: str) -> str:
        return self._name_by_alias.get(nfc(name), name)

    def read_rows(self, rows: Sequence[Mapping[str, object]]) -> Batch:
        """Check rows given as mappings and return them as arrays.

        Raises
        ------
        RowError: with the first 20 faults.
        """
        faults = list(islice(self._row_faults(rows), MAX_FAULTS))
        if faults:
            raise RowError(faults, hint=self.hint(faults[0]))
        cells: dict[str, list[float | str]] = {column.name: [] for column in self.features}
        for number, row in enumerate(rows, start=1):
            values = {self._known_name(name): value for name, value in row.items()}
            for column in self.features:
                value = values.get(column.name, column.default)
                try:
                    cells[column.name].append(read_cell(column, value))
                except CellError as error:
                    faults.append(Fault(number, column.name, value, str(error)))
            if len(faults) >= MAX_FAULTS:
                break
        if faults:
            raise RowError(faults[:MAX_FAULTS], hint=self.hint(faults[0]))
        return Batch({column.name: as_array(column, cells[column.name]) for column in self.features}, len(rows))

    def _row_faults(self, rows: Sequence[Mapping[str, object]]) -> Iterator[Fault]:
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                yield Fault(number, None, row, f"expected an object with a value per column, got {row!r:.80}")
                continue
            for message, name in self.repeated_names(row):
                yield Fault(number, name, row.get(name), message)
            for message, name in self.name_faults({self._known_name(name) for name in row}):
                yield Fault(number, name, row.get(name), message)

    def repeated_names(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (message, column) for each column that is there under several names, such as an alias."""
        written: dict[str, list[str]] = defaultdict(list)
        for name in names:
            written[self._known_name(name)].append(name)
        for name, spellings in written.items():
            if len(spellings) > 1:
                yield f"given twice, as {join_names(map(ascii, spellings))}", name

    def name_faults(self, names: set[str], *, needs_all: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (message, column) for each feature that is missing and each column that is unknown.

        A feature that may be left out is missing if an unknown column looks like it, and with `needs_all`.
        """
        unknown = sorted(names - self.by_name.keys())
        for column in self.features:
            if column.name not in names:
                guess = _suggestion(column.name, unknown)
                if guess is None and not column.is_required and not needs_all:
                    continue
                question = f"; did you mean it by {guess}" if guess else ""
                null = " or null" if column.accepts_missing else ""
                yield f"missing: expected {column.expectation}{null}{question}", column.name
        if self.unknown_columns == "error":
            for name in unknown:
                guess = _suggestion(name, self.by_name)
                yield "unknown column" + (f": did you mean {guess}" if guess else ""), name

    def hint(self, fault: Fault) -> str | None:
        """Return what to do about a fault, where more can be said than its message does."""
        if fault.column is None:
            return None
        if fault.message.startswith("unknown column"):
            guess = did_you_mean(fault.column, (column.name for column in self.features))
            ignore = "schema.unknown_columns: ignore, and training again, reads tables with more columns"
            return f"{guess}; {ignore}" if guess else ignore
        column = self.by_name.get(fault.column)
        is_missing = column is not None and not column.accepts_missing and fault.message.endswith(NOT_NULLABLE)
        return hint_for_missing(fault.column) if is_missing else None

    def to_json_row(self, batch: Batch, index: int) -> dict[str, Any]:
        """Return a row as a JSON request would send it: null for missing, whole integers, times as ISO 8601."""
        return {column.name: _json_value(column, batch.feed[column.name][index, 0]) for column in self.features}

    def imputed(self, batch: Batch) -> Sequence[Sequence[str]]:
        """Return, per row, the names of columns whose missing value is imputed; nothing where no row has one."""
        columns = [column for column in self.features if column.imputes]
        missing = {column.name: _is_missing(column, batch.feed[column.name][:, 0]) for column in columns}
        if not any(is_missing.any() for is_missing in missing.values()):
            return ()
        return [[name for name, is_missing in missing.items() if is_missing[row]] for row in range(batch.n_rows)]

    def left_out(self, names: Sequence[str]) -> list[str]:
        """Return the features that a table with columns of these names does not have."""
        given = {self._known_name(name) for name in names}
        return [column.name for column in self.features if column.name not in given]

    def out_of_range(self, batch: Batch, columns: Sequence[Column] | None = None) -> list[list[str]]:
        """Return, per row, the names of columns outside the training range or of an unknown category.

        `columns` limits the check to some columns; without it all features are checked.
        """
        names: list[list[str]] = [[] for _ in range(batch.n_rows)]
        for column in self.features if columns is None else columns:
            for position in column.out_of_range(batch.feed[column.name][:, 0]):
                names[position].append(column.name)
        return names


def _is_missing(column: Column, cells: npt.NDArray[Any]) -> Mask:
    return np.asarray(cells == "" if column.is_string else np.isnan(cells))


def hint_for_missing(name: str) -> str:
    """Return the edits of a config that make a column accept missing values."""
    place = f"schema.columns.{name}" if PLAIN_NAME.fullmatch(name) else f"schema.columns, {name!r}"
    return f"{place}: nullable: true accepts missing values, on_missing: impute replaces them; then train again"


def _suggestion(name: str, others: Iterable[str]) -> str | None:
    """Return the closest of other names as a question ends, and what tells it apart if it looks the same."""
    others = list(others)
    if twin := look_alike(name, others):
        return f"{twin[0]!r}? it differs by {twin[1]}"
    guess = closest(name, others)
    return f"{guess!r}?" if guess else None


def as_array(column: Column, cells: Sequence[float | str]) -> npt.NDArray[Any]:
    """Return cells already read as the array of shape (rows, 1) that the graph takes."""
    return np.array(cells, dtype=object if column.is_string else np.float64).reshape(-1, 1)


def _json_value(column: Column, value: Any) -> Any:
    if column.is_string:
        return value or None
    # NaN, a missing value, is the only value that differs from itself.
    if value != value:
        return None
    if column.kind in TIME_KINDS:
        return (EPOCH + timedelta(seconds=float(value))).isoformat()
    if column.kind == "boolean":
        return bool(value)
    return int(value) if column.kind == "integer" else float(value)
