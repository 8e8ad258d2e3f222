"""Where answers go: a file, or a table of a database. Each is written whole or not at all."""

from __future__ import annotations

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
from estimator.data.sources.query_result import quoted
from estimator.errors import SourceError

ENDINGS = (".parquet", ".csv")
# Seconds that another process which writes is waited for.
PATIENCE = 10.0

IfExists = Literal["fail", "replace", "append"]


class Sink(ABC):
    """A place for answers."""

    # A table has no order of its own: without a column to know them by, its rows are numbered.
    numbers_rows: ClassVar[bool] = True

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""

    @property
    @abstractmethod
    def parts_path(self) -> Path:
        """The path next to which answers are kept until all are there."""

    @abstractmethod
    def check(self) -> None:
        """Look, before any row is read, whether answers could be written.

        Raises
        ------
        SourceError: they could not.
        """

    @abstractmethod
    def write(self, parts: Sequence[Path]) -> None:
        """Write the rows of Parquet files, in order, one file in memory at a time.

        Raises
        ------
        SourceError: they cannot be written; what was there is as it was.
        """


def sink_of(
    output: str, environment: Mapping[str, str], *, table: str | None = None, if_exists: IfExists | None = None
) -> Sink:
    """Return the sink of a path, or of a table at an address such as postgresql://me:${PGPASSWORD}@host/db.

    A file that is there is replaced; for a table that is there, `if_exists` says what happens, by default "fail".

    Raises
    ------
    SourceError: nothing can be written there.
    """
    address = locate(output, environment)
    tables: dict[str, type[Table]] = {"sqlite": SQLiteTable, "postgresql": PostgreSQLTable, "postgres": PostgreSQLTable}
    if not address.scheme:
        if table is not None or if_exists is not None:
            raise SourceError(f"{output}: is a file; a table's name and what to do if it exists are for databases")
        return File(Path(output))
    if address.scheme not in tables:
        raise SourceError(
            f"{address.name}: answers cannot be written to {address.scheme}://",
            hint=f"a file that ends in {join_names(ENDINGS)}, or {join_names(f'{scheme}://' for scheme in tables)}",
        )
    if table is None or TABLE_NAME.fullmatch(table) is None:
        raise SourceError(
            f"{address.name}: expected the name of a table for the answers, got {table!r}",
            hint="letters, digits and _, with a schema before it or not; on the command line --table",
        )
    return tables[address.scheme](address, table, if_exists or "fail")


@dataclass(frozen=True)
class File(Sink):
    """A Parquet or CSV file."""

    numbers_rows: ClassVar[bool] = False
    path: Path

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
                hint="or a database: sqlite:///answers.db, postgresql://...",
            )
        if not self.path.absolute().parent.is_dir():
            raise SourceError(f"{self.path}: cannot be written: the folder {self.path.parent} does not exist")

    def write(self, parts: Sequence[Path]) -> None:
        try:
            with atomic_path(self.path) as temporary:
                rows = pl.scan_parquet(list(parts))
                if self.path.suffix.lower() == ".csv":
                    rows.sink_csv(temporary)
                else:
                    rows.sink_parquet(temporary)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(f"{self.path}: cannot be written: {error}") from error


@dataclass(frozen=True)
class Table(Sink):
    """A table of a database, filled in one transaction; answers wait for it in the working folder."""

    address: Address
    table: str
    if_exists: IfExists

    @property
    def name(self) -> str:
        return f"{self.address.name}, table {self.table}"

    @property
    def parts_path(self) -> Path:
        return Path(self.table)

    def refuse_existing(self, exists: bool) -> None:
        """Refuse a table that is there, unless it may be."""
        if exists and self.if_exists == "fail":
            raise SourceError(f"{self.name}: exists", hint="choose another, or --if-exists replace or append")


class SQLiteTable(Table):
    """A table of a file, which is made if it is not there."""

    def check(self) -> None:
        if not self.address.url.startswith(SQLITE_FILE) or not self._path.absolute().parent.is_dir():
            raise SourceError(
                f"{self.address.name}: cannot be written",
                hint="sqlite:///my.db is relative to this folder, sqlite:////my.db not",
            )
        if self._path.exists():
            with self._connected() as connection:
                self.refuse_existing(self._exists(connection))

    def write(self, parts: Sequence[Path]) -> None:
        schema = pl.read_parquet_schema(parts[0])
        types = ", ".join(f"{quoted(name)} {_sqlite_type(kind)}" for name, kind in schema.items())
        places = ", ".join("?" * len(schema))
        names = ", ".join(map(quoted, schema))
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            exists = self._exists(connection)
            self.refuse_existing(exists)
            if exists and self.if_exists == "replace":
                connection.execute(f"DROP TABLE {self._quoted}")
            if not exists or self.if_exists == "replace":
                connection.execute(f"CREATE TABLE {self._quoted} ({types})")
            for part in parts:
                frame = pl.read_parquet(part).with_columns(_as_text)
                connection.executemany(
                    f"INSERT INTO {self._quoted} ({names}) VALUES ({places})",  # noqa: S608 # quoted names
                    frame.iter_rows(),
                )
            connection.execute("COMMIT")

    @property
    def _path(self) -> Path:
        return Path(self.address.url.removeprefix(SQLITE_FILE).partition("?")[0])

    @property
    def _quoted(self) -> str:
        return ".".join(map(quoted, self.table.split(".")))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            # What is not committed when the connection is closed has never been.
            with closing(sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise SourceError(f"{self.name}: SQLite says: {error}") from error

    def _exists(self, connection: sqlite3.Connection) -> bool:
        return bool(connection.execute(f"PRAGMA table_info({quoted(self.table.rpartition('.')[2])})").fetchall())


class PostgreSQLTable(Table):
    """A table of PostgreSQL, filled by COPY."""

    def check(self) -> None:
        with self._connected() as connection:
            self.refuse_existing(self._exists(connection))

    def write(self, parts: Sequence[Path]) -> None:
        schema, _, table = self.table.rpartition(".")
        modes = {"fail": "create", "replace": "replace", "append": "create_append"}
        with self._connected() as connection:
            self.refuse_existing(self._exists(connection))
            with closing(connection.cursor()) as cursor:
                for place, part in enumerate(parts):
                    mode = "append" if place else modes[self.if_exists]
                    rows = pl.read_parquet(part).to_arrow(compat_level=pl.CompatLevel.oldest())
                    cursor.adbc_ingest(table, rows, mode=mode, **({"db_schema_name": schema} if schema else {}))
            connection.commit()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        from estimator.data.sources.postgresql import connected

        with connected(self.address, "writing PostgreSQL") as connection:
            yield connection

    def _exists(self, connection: Any) -> bool:
        with closing(connection.cursor()) as cursor:
            written = ".".join(map(quoted, self.table.split(".")))
            cursor.execute("SELECT to_regclass($1) IS NOT NULL", (written,))
            return bool(cursor.fetchall()[0][0])


_as_text = pl.selectors.temporal().cast(pl.String)


def _sqlite_type(kind: pl.DataType) -> str:
    if kind.is_integer() or kind == pl.Boolean:
        return "INTEGER"
    return "REAL" if kind.is_numeric() else "TEXT"
