"""Schema: the columns of a table and the check that turns rows into what the graph takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Mask
from estimator.core.text import did_you_mean, nearest
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.column import TIME_KINDS, Column
from estimator.errors import Fault, RowError

MAX_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that passed: one array of shape (rows, 1) per feature, plus the rows that were left out.

    `kept` marks the rows in `feed`; it is all true unless faults were asked to be gaps.
    """

    feed: Mapping[str, npt.NDArray[Any]]
    n_rows: int
    faults: tuple[Fault, ...] = ()
    kept: Mask | None = None

    def rows(self, which: npt.NDArray[Any]) -> Batch:
        """Return the rows picked by a mask or by positions."""
        feed = {name: values[which] for name, values in self.feed.items()}
        n_rows = int(which.sum()) if which.dtype == np.bool_ else len(which)
        return Batch(feed, n_rows)


@dataclass(frozen=True)
class Schema:
    """The contract: `columns` in table order without the target, and the target's own column."""

    columns: tuple[Column, ...]
    target: Column
    unknown_columns: Literal["error", "ignore"] = "error"
    by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in (*self.columns, self.target)})

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns a model may use, in order."""
        return tuple(column for column in self.columns if column.is_feature)

    @cached_property
    def _spelling(self) -> dict[str, str]:
        return {alias: column.name for column in self.columns for alias in (column.name, *column.aliases)}

    def resolve(self, name: str) -> str | None:
        """Return the contract's name for a column or one of its aliases; None when unknown."""
        return self._spelling.get(name, name if name == self.target.name else None)

    def read_rows(self, rows: Sequence[Mapping[str, object]]) -> Batch:
        """Check rows given as mappings and return them as arrays.

        Raises
        ------
        RowError: with every fault of the first rows that break the contract, at most 20.
        """
        faults = list(_first(self._row_faults(rows), MAX_FAULTS))
        if faults:
            raise RowError(faults, hint=self._hint(faults[0]))
        columns: dict[str, list[float | str]] = {column.name: [] for column in self.features}
        for number, row in enumerate(rows, start=1):
            named = {self._spelling.get(name, name): value for name, value in row.items()}
            for column in self.features:
                try:
                    columns[column.name].append(read_cell(column, named[column.name]))
                except CellError as error:
                    faults.append(Fault(number, column.name, named[column.name], str(error)))
            if len(faults) >= MAX_FAULTS:
                break
        if faults:
            raise RowError(faults[:MAX_FAULTS])
        return Batch({c.name: as_array(c, columns[c.name]) for c in self.features}, len(rows))

    def _row_faults(self, rows: Sequence[Mapping[str, object]]) -> Iterator[Fault]:
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                yield Fault(number, None, row, f"expected an object with a value per column, got {row!r:.80}")
                continue
            names = {self._spelling.get(name, name) for name in row}
            for message, column in self.name_faults(names):
                yield Fault(number, column, row.get(column), message)

    def name_faults(self, names: set[str]) -> Iterator[tuple[str, str]]:
        """Yield (message, column) for each feature that is missing and each column that is unknown."""
        unknown = sorted(names - self.by_name.keys())
        for column in self.features:
            if column.name not in names:
                guess = nearest(column.name, unknown)
                close = f"; did you mean it by {guess!r}?" if guess else ""
                gap = "; a gap is given as null" if column.gaps else ""
                yield f"missing: expected {column.wish}{gap}{close}", column.name
        if self.unknown_columns == "error":
            for name in unknown:
                guess = nearest(name, self.by_name)
                yield "unknown column" + (f": did you mean {guess!r}?" if guess else ""), name

    def _hint(self, fault: Fault) -> str | None:
        if fault.message.startswith("unknown column") and fault.column is not None:
            return did_you_mean(fault.column, (column.name for column in self.features))
        return None

    def sendable(self, batch: Batch, place: int) -> dict[str, Any]:
        """Return a row that was read as it could be sent: gaps as null, whole numbers whole, times as ISO text."""
        return {column.name: _as_sent(column, batch.feed[column.name][place, 0]) for column in self.features}

    def outside(self, batch: Batch, columns: Sequence[Column] | None = None) -> list[list[str]]:
        """Return, per row, the columns (of all features, or of those given) with a value that training did not see."""
        found: list[list[str]] = [[] for _ in range(batch.n_rows)]
        for column in self.features if columns is None else columns:
            for position in column.outside(batch.feed[column.name][:, 0]):
                found[position].append(column.name)
        return found


def _as_sent(column: Column, value: Any) -> Any:
    if column.is_text:
        return value or None
    if value != value:
        return None
    if column.kind in TIME_KINDS:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(value))).isoformat()
    if column.kind == "boolean":
        return bool(value)
    return int(value) if column.kind == "integer" else float(value)


def as_array(column: Column, values: Sequence[float | str]) -> npt.NDArray[Any]:
    """Return values already read as the array of shape (rows, 1) that the graph takes."""
    return np.array(values, dtype=object if column.is_text else np.float64).reshape(-1, 1)


def _first(faults: Iterator[Fault], limit: int) -> Iterator[Fault]:
    for fault, _ in zip(faults, range(limit), strict=False):
        yield fault
