"""Where predictions are written: a file or a database table, each of them atomically."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from estimator.core.files import atomic_path
from estimator.core.text import join_names
from estimator.data.sources.address import SQLITE_FILE, TABLE_NAME, Address, locate
from estimator.data.sources.postgresql import connected
from estimator.data.sources.query import quoted, quoted_table
from estimator.errors import SourceError

ENDINGS = (".parquet", ".csv")
# How long to wait for another process that is writing.
LOCK_TIMEOUT_SECONDS = 10.0
# Where a database keeps the ids of attempts, from the moment their rows are there until their parts are gone.
RUNS_TABLE = "estimator_runs"
# Two processes must not create that table at once; any number that is the same in all of them.
ADVISORY_LOCK = 717172

# Spreadsheets run a cell of a CSV file that begins so as a formula, which may load an address or start a program. A tab
# or a carriage return is skipped first, and the wide forms are those of East Asian keyboards.
FORMULA = r"^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

IfExists = Literal["fail", "replace", "append"]


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


def sink_for(
    output: str,
    environment: Mapping[str, str],
    *,
    table: str | None = None,
    if_exists: IfExists | None = None,
    quote_formulas: bool = False,
) -> Sink:
    """Return the sink for a path, or for a table at an address such as postgresql://me:${PGPASSWORD}@host/db.

    An existing file is replaced; `if_exists` decides about an existing table, by default "fail". `quote_formulas` is
    for CSV files, which spreadsheets open.

    Raises
    ------
    SourceError: `output` is not a file or database that can be written.
    """
    address = locate(output, environment)
    if quote_formulas and (address.scheme or not is_csv(Path(output))):
        raise SourceError(f"{address.name}: --quote-formulas is for a .csv file: no other output is read as formulas")
    if not address.scheme:
        if table is not None or if_exists is not None:
            raise SourceError(f"{output}: is a file, but --table and --if-exists are for databases")
        return FileSink(Path(output), quote_formulas)
    if address.scheme not in TABLE_SINKS:
        raise SourceError(
            f"{address.name}: predictions cannot be written to {address.scheme}://",
            hint=f"use a {join_names(ENDINGS)} file, or {join_names(f'{scheme}://' for scheme in TABLE_SINKS)}",
        )
    if table is None or TABLE_NAME.fullmatch(table) is None:
        raise SourceError(
            f"{address.name}: expected the name of a table for the predictions, got {table!r}",
            hint="letters, digits and _, optionally after a schema and a dot; on the command line --table",
        )
    return TABLE_SINKS[address.scheme](address, table, if_exists or "fail")


@dataclass(frozen=True)
class FileSink(Sink):
    """A Parquet or CSV file."""

    numbers_rows: ClassVar[bool] = False
    keeps_attempts: ClassVar[bool] = False
    path: Path
    quotes_formulas: bool = False

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def parts_path(self) -> Path:
        return self.path

    def check(self) -> None:
        if self.path.suffix.lower() not in ENDINGS:
            raise SourceError(
                f"{self.path}: expected a file that ends in {' or '.join(ENDINGS)}",
                hint="or a database: sqlite:///predictions.db, postgresql://...",
            )
        if not self.path.absolute().parent.is_dir():
            raise SourceError(f"{self.path}: cannot be written: the folder {self.path.parent} does not exist")

    def check_existing(self) -> None:
        """A file is replaced."""

    def is_written(self, attempt: str) -> bool:
        return False

    def forget(self, attempt: str) -> None:
        """A file keeps no ids."""

    def write(self, parts: Sequence[Path], attempt: str) -> None:
        try:
            with atomic_path(self.path, durable=True) as temporary:
                rows = pl.scan_parquet(list(parts))
                if is_csv(self.path):
                    (without_formulas(rows) if self.quotes_formulas else rows).sink_csv(temporary)
                else:
                    rows.sink_parquet(temporary)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(f"{self.path}: cannot be written: {error}") from error


def is_csv(path: Path) -> bool:
    """Whether a path ends as CSV files do."""
    return path.suffix.lower() == ".csv"


def without_formulas(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return rows with ' before each text and name that a spreadsheet would run as a formula.

    >>> rows = pl.LazyFrame({"=a": ["=1+1", "-5", "-5+A1", None], "b": [-5.0, 1.0, 2.0, 3.0]})
    >>> without_formulas(rows).collect().to_dict(as_series=False)
    {"'=a": ["'=1+1", '-5', "'-5+A1", None], 'b': [-5.0, 1.0, 2.0, 3.0]}
    """
    schema = rows.collect_schema()
    texts = [pl.col(name) for name, dtype in schema.items() if dtype == pl.String]
    quoted_texts = [
        pl.when(text.str.contains(FORMULA) & ~text.str.contains(NUMBER)).then("'" + text).otherwise(text).name.keep()
        for text in texts
    ]
    formulas = [name for name in schema if re.match(FORMULA, name) and not re.match(NUMBER, name)]
    return rows.with_columns(quoted_texts).rename({name: f"'{name}" for name in formulas})


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

    def reject_existing(self, exists: bool) -> None:
        """Raise an error if the table exists and `if_exists` is "fail"."""
        if exists and self.if_exists == "fail":
            raise SourceError(f"{self.name}: exists", hint="choose another, or --if-exists replace or append")


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
        types = ", ".join(f"{quoted(name)} {_sqlite_type(dtype)}" for name, dtype in schema.items())
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
        return bool(connection.execute(f"PRAGMA table_info({quoted(table.rpartition('.')[2])})").fetchall())


class PostgreSQLSink(TableSink):
    """A PostgreSQL table, filled by COPY."""

    def check(self) -> None:
        with self._connected():
            pass

    def check_existing(self) -> None:
        with self._connected() as connection:
            self.reject_existing(self._exists(connection, quoted_table(self.table)))

    def is_written(self, attempt: str) -> bool:
        with self._connected() as connection, closing(connection.cursor()) as cursor:
            if not self._exists(connection, self._runs):
                return False
            cursor.execute(f"SELECT 1 FROM {self._runs} WHERE attempt = $1", (attempt,))  # noqa: S608 # fixed name
            return bool(cursor.fetchall())

    def forget(self, attempt: str) -> None:
        with self._connected() as connection, closing(connection.cursor()) as cursor:
            if self._exists(connection, self._runs):
                cursor.execute(f"DELETE FROM {self._runs} WHERE attempt = $1", (attempt,))  # noqa: S608 # fixed name
                connection.commit()

    def write(self, parts: Sequence[Path], attempt: str) -> None:
        schema, _, table = self.table.rpartition(".")
        modes = {"fail": "create", "replace": "replace", "append": "create_append"}
        with self._connected() as connection, closing(connection.cursor()) as cursor:
            self.reject_existing(self._exists(connection, quoted_table(self.table)))
            self._create_runs(connection, cursor)
            for index, part in enumerate(parts):
                mode = "append" if index else modes[self.if_exists]
                rows = pl.read_parquet(part).to_arrow(compat_level=pl.CompatLevel.oldest())
                cursor.adbc_ingest(table, rows, mode=mode, **({"db_schema_name": schema} if schema else {}))
            cursor.execute(f"INSERT INTO {self._runs} VALUES ($1)", (attempt,))  # noqa: S608 # fixed name
            connection.commit()

    def _create_runs(self, connection: Any, cursor: Any) -> None:
        if not self._exists(connection, self._runs):
            schema = self.table.rpartition(".")[0]
            cursor.execute(
                "SELECT has_schema_privilege(coalesce(nullif($1, ''), current_schema()), 'CREATE')", (schema,)
            )
            if cursor.fetchall() == [(False,)]:
                raise SourceError(
                    f"{self.name}: needs a table {RUNS_TABLE} next to it, which this user may not create",
                    hint=f"let its owner run: CREATE TABLE {self._runs} (attempt TEXT PRIMARY KEY); "
                    f"GRANT SELECT, INSERT, DELETE ON {self._runs} TO ...",
                )
            cursor.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._runs} (attempt TEXT PRIMARY KEY)")
        # Others need not wait for the rows.
        connection.commit()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with connected(self.address, "writing PostgreSQL") as connection:
            yield connection

    def _exists(self, connection: Any, table: str) -> bool:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT to_regclass($1) IS NOT NULL", (table,))
            return bool(cursor.fetchall()[0][0])


TABLE_SINKS: Mapping[str, type[TableSink]] = {
    "sqlite": SQLiteSink,
    "postgresql": PostgreSQLSink,
    "postgres": PostgreSQLSink,
}
# SQLite has no type for times.
TIMES_AS_TEXT = pl.selectors.temporal().cast(pl.String)


def _sqlite_type(dtype: pl.DataType) -> str:
    if dtype.is_integer() or dtype == pl.Boolean:
        return "INTEGER"
    return "REAL" if dtype.is_numeric() else "TEXT"
