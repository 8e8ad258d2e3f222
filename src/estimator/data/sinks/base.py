"""The contract of sinks, and what the tables of all databases share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl

from estimator.core.text import join_names
from estimator.data.sources.address import Address
from estimator.data.sources.query import quoted_table
from estimator.errors import SourceError

# Where a database keeps the ids of attempts, from the moment their rows are there until their parts are gone.
RUNS_TABLE = "estimator_runs"

IfExists = Literal["fail", "replace", "append"]


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """What writing would do to a destination: create or replace it, or append to it; and the type of each column."""

    action: Literal["create", "replace", "append"]
    types: Mapping[str, str]


class Sink(ABC):
    """A destination for predictions."""

    # The rows of a table have no order: without a key column they are numbered.
    numbers_rows: ClassVar[bool] = True
    # Whether it knows which attempts were written, because their rows may not be written again.
    keeps_attempts: ClassVar[bool] = True

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in messages."""

    @property
    @abstractmethod
    def parts_path(self) -> Path:
        """The path next to which unfinished predictions are kept."""

    @abstractmethod
    def check(self) -> None:
        """Check, before any row is read, that predictions can be written.

        Raises
        ------
        SourceError: they cannot.
        """

    @abstractmethod
    def check_existing(self) -> None:
        """Check that what exists at the destination may be changed.

        Raises
        ------
        SourceError: it may not.
        """

    @abstractmethod
    def plan(self, schema: pl.Schema) -> SinkPlan:
        """Return what writing rows with these columns would do; nothing is created or changed.

        Raises
        ------
        SourceError: as far as the destination says beforehand, they could not be written.
        """

    @abstractmethod
    def is_written(self, attempt: str) -> bool:
        """Whether writing the rows of an attempt again would double them."""

    @abstractmethod
    def forget(self, attempt: str) -> None:
        """Forget that an attempt was written."""

    @abstractmethod
    def write(self, parts: Sequence[Path], attempt: str) -> None:
        """Write the rows of Parquet files, in order, with one file in memory at a time.

        In one step with the rows, a database keeps the random id of the attempt, until it is forgotten.

        Raises
        ------
        SourceError: they cannot be written; the destination is unchanged.
        """


@dataclass(frozen=True)
class TableSink(Sink):
    """A database table, filled in one transaction; unfinished predictions are kept in the working folder."""

    address: Address
    table: str
    if_exists: IfExists

    @property
    def name(self) -> str:
        return f"{self.address.name}, table {self.table}"

    @property
    def parts_path(self) -> Path:
        return Path(f"{self.table}.{hashlib.sha256(self._place.encode()).hexdigest()[:8]}")

    @property
    def _place(self) -> str:
        """The database, however it is written: tables of one name in two databases have nothing in common."""
        return self.address.name

    @property
    def _runs(self) -> str:
        """The table of attempts, next to the one that is filled, as SQL writes it."""
        return quoted_table(f"{schema}.{RUNS_TABLE}" if (schema := self.table.rpartition(".")[0]) else RUNS_TABLE)

    def action(self, exists: bool) -> Literal["create", "replace", "append"]:
        """Return what writing does to a table that exists or not."""
        if not exists:
            return "create"
        return "append" if self.if_exists == "append" else "replace"

    def reject_view(self, is_table: bool) -> None:
        """Raise an error if what exists under the name of the table is none."""
        if not is_table:
            raise SourceError(
                f"{self.name}: is no table but a view, which holds no rows", hint="choose another --table"
            )

    def reject_clash(self, columns: Collection[str], existing: Mapping[str, bool]) -> None:
        """Raise an error if rows cannot be appended to `existing` columns; those that are True need a value."""
        missing = [name for name in columns if name not in existing]
        unfilled = [name for name, needs_value in existing.items() if needs_value and name not in columns]
        problems = [f"has no column {join_names(map(repr, missing))}"] if missing else []
        problems += [f"requires a value in {join_names(map(repr, unfilled))}"] if unfilled else []
        if problems:
            raise SourceError(
                f"{self.name}: {' and '.join(problems)}; the columns to append are {join_names(columns)}",
                hint="--keep other columns, or --if-exists replace",
            )

    def reject_existing(self, exists: bool) -> None:
        """Raise an error if the table exists and `if_exists` is "fail"."""
        if exists and self.if_exists == "fail":
            raise SourceError(f"{self.name}: exists", hint="choose another, or --if-exists replace or append")
