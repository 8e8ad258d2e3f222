"""Predictions in a table of an SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import polars as pl

from estimator.data.sinks.base import RUNS_TABLE, SinkPlan, TableSink
from estimator.data.sources.address import SQLITE_FILE
from estimator.data.sources.query import quoted, quoted_table
from estimator.errors import SourceError

# How long to wait for another process that is writing.
LOCK_TIMEOUT_SECONDS = 10.0
# SQLite has no type for times.
TIMES_AS_TEXT = pl.selectors.temporal().cast(pl.String)


class SQLiteSink(TableSink):
    """A table in an SQLite file, which is created if it does not exist."""

    def check(self) -> None:
        if not self.address.url.startswith(SQLITE_FILE) or not self._path.absolute().parent.is_dir():
            raise SourceError(
                f"{self.address.name}: cannot be written",
                hint="sqlite:///my.db is relative to this folder, sqlite:////my.db is absolute",
            )

    def check_existing(self) -> None:
        if self._path.exists():
            with self._connected() as connection:
                self.reject_existing(self._exists(connection, self.table))

    def plan(self, schema: pl.Schema) -> SinkPlan:
        exists, path = False, self._path
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            raise SourceError(f"{self.name}: cannot be written: no permission to write to {path}")
        if path.exists():
            with self._connected() as connection:
                columns = self._columns(connection, self.table)
                is_view = "SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?"
                self.reject_view(not connection.execute(is_view, [self.table.rpartition(".")[2]]).fetchall())
            exists = bool(columns)
            self.reject_existing(exists)
            if exists and self.if_exists == "append":
                self.reject_clash(schema, columns)
        return SinkPlan(self.action(exists), {name: _type_name(dtype) for name, dtype in schema.items()})

    def is_written(self, attempt: str) -> bool:
        if not self._path.exists():
            return False
        with self._connected() as connection:
            statement = f"SELECT 1 FROM {self._runs} WHERE attempt = ?"  # noqa: S608 # fixed name
            return self._exists(connection, RUNS_TABLE) and bool(connection.execute(statement, [attempt]).fetchall())

    def forget(self, attempt: str) -> None:
        if not self._path.exists():
            return
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if self._exists(connection, RUNS_TABLE):
                connection.execute(f"DELETE FROM {self._runs} WHERE attempt = ?", [attempt])  # noqa: S608 # fixed name
                if not connection.execute(f"SELECT 1 FROM {self._runs}").fetchall():  # noqa: S608 # fixed name
                    connection.execute(f"DROP TABLE {self._runs}")
            connection.execute("COMMIT")

    def write(self, parts: Sequence[Path], attempt: str) -> None:
        schema = pl.read_parquet_schema(parts[0])
        types = ", ".join(f"{quoted(name)} {_type_name(dtype)}" for name, dtype in schema.items())
        parameters = ", ".join("?" * len(schema))
        names = ", ".join(map(quoted, schema))
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            exists = self._exists(connection, self.table)
            self.reject_existing(exists)
            connection.execute(f"CREATE TABLE IF NOT EXISTS {self._runs} (attempt TEXT PRIMARY KEY)")
            connection.execute(f"INSERT INTO {self._runs} VALUES (?)", [attempt])  # noqa: S608 # fixed name
            if exists and self.if_exists == "replace":
                connection.execute(f"DROP TABLE {self._quoted}")
            if not exists or self.if_exists == "replace":
                connection.execute(f"CREATE TABLE {self._quoted} ({types})")
            for part in parts:
                frame = pl.read_parquet(part).with_columns(TIMES_AS_TEXT)
                connection.executemany(
                    f"INSERT INTO {self._quoted} ({names}) VALUES ({parameters})",  # noqa: S608 # quoted names
                    frame.iter_rows(),
                )
            connection.execute("COMMIT")

    @property
    def _path(self) -> Path:
        return Path(self.address.url.removeprefix(SQLITE_FILE).partition("?")[0])

    @property
    def _place(self) -> str:
        return str(self._path.resolve())

    @property
    def _quoted(self) -> str:
        return quoted_table(self.table)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            # Closing the connection rolls back what is not committed.
            with closing(sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise SourceError(f"{self.name}: SQLite reports: {error}") from error

    def _exists(self, connection: sqlite3.Connection, table: str) -> bool:
        return bool(self._columns(connection, table))

    def _columns(self, connection: sqlite3.Connection, table: str) -> dict[str, bool]:
        """Return whether a row needs a value by column; no columns of a table that does not exist."""
        rows = connection.execute(f"PRAGMA table_info({quoted(table.rpartition('.')[2])})").fetchall()
        # A primary key that is an integer gets a value of its own.
        return {
            name: bool(is_not_null and default is None and not key) for _, name, _, is_not_null, default, key in rows
        }


def _type_name(dtype: pl.DataType) -> str:
    if dtype.is_integer() or dtype == pl.Boolean:
        return "INTEGER"
    return "REAL" if dtype.is_numeric() else "TEXT"
