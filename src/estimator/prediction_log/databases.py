"""The prediction log in one SQLite file, and in PostgreSQL where several servers share a log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from estimator.data.sources.address import SQLITE_FILE, Address, locate
from estimator.errors import RecordError, SourceError, needs_extra
from estimator.prediction_log.log import PredictionLog
from estimator.prediction_log.migrations import READ_VERSION, SCHEMA_VERSION, migrate

TIMEOUT_SECONDS = 10
# Any number that is the same in every process.
ADVISORY_LOCK = 717171


@contextmanager
def closed_on_error(log: PredictionLog) -> Iterator[None]:
    """Close a log that cannot be opened."""
    try:
        yield
    except BaseException:
        log.close()
        raise


def open_log(url: str, folder: Path, environment: Mapping[str, str], *, must_exist: bool = False) -> PredictionLog:
    """Open the log at a path in `folder`, or at an address such as postgresql://me:${PGPASSWORD}@host/db.

    A log of an earlier release is upgraded. With `must_exist` a missing file is an error instead of a new log.

    Raises
    ------
    SourceError: it cannot be opened, is another kind of database, comes from a newer release, or is missing.
    """
    address = locate(url, environment)
    if address.scheme in ("postgresql", "postgres"):
        return PostgreSQLLog(address)
    if address.scheme not in ("", "sqlite"):
        raise SourceError(
            f"{address.name}: expected a prediction log in a file or in PostgreSQL, not in {address.scheme!r}",
            hint="give a path, or postgresql://...",
        )
    path = folder / address.url.removeprefix(SQLITE_FILE)
    if must_exist and not path.is_file():
        raise SourceError(
            f"{path}: there is no prediction log", hint="give the path or URL that serving.prediction_log names"
        )
    return SQLiteLog(path)


class SQLiteLog(PredictionLog):
    """One file with a write-ahead log: writes survive a kill, and readers never wait."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        with self._errors_named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=TIMEOUT_SECONDS, check_same_thread=False)
            with closed_on_error(self):
                self._prepare()

    def _prepare(self) -> None:
        for setting in ("journal_mode = WAL", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {setting}")
        if self._is_current():
            # A writer that holds the lock must not keep readers from opening the log.
            return
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            migrate(self.name, _SQLiteTransaction(self._connection))

    def _is_current(self) -> bool:
        has_version = "SELECT 1 FROM sqlite_master WHERE name = 'prediction_log_meta'"
        if not self._connection.execute(has_version).fetchall():
            return False
        return self._connection.execute(READ_VERSION).fetchall() == [(str(SCHEMA_VERSION),)]

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._errors_named():
            return self._connection.execute(statement, values).fetchall()

    def execute_many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        with self._errors_named(), self._connection:
            self._connection.executemany(statement, values)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, UnicodeEncodeError) as error:
            raise RecordError(f"{self.name}: cannot hold a value: {type(error).__name__}") from error
        except (sqlite3.Error, OSError) as error:
            raise SourceError(f"{self.name}: the prediction log cannot be used: {error}") from error


class _SQLiteTransaction:
    real = "REAL"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()


class PostgreSQLLog(PredictionLog):
    """A database that several servers share; a lost connection is opened again at the next call."""

    def __init__(self, address: Address) -> None:
        with needs_extra("sql", "a prediction log in PostgreSQL"):
            import psycopg
        self.name, self._address, self._driver = address.name, address, psycopg
        self._connection: Any = None
        with self._errors_named(), closed_on_error(self):
            connection = self._connected()
            with connection.transaction():
                # Two servers that start at the same moment would both migrate.
                connection.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
                migrate(self.name, _PostgreSQLTransaction(connection))

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._errors_named():
            rows: list[tuple[Any, ...]] = self._connected().execute(statement.replace("?", "%s"), values).fetchall()
            return rows

    def execute_many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        with self._errors_named():
            connection = self._connected()
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(statement.replace("?", "%s"), values)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self._driver.connect(self._address.url, autocommit=True, connect_timeout=TIMEOUT_SECONDS)
        return self._connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (self._driver.DataError, self._driver.IntegrityError, OverflowError, UnicodeEncodeError) as error:
            raise RecordError(f"{self.name}: cannot hold a value: {type(error).__name__}") from None
        except self._driver.Error as error:
            message = self._address.scrubbed(str(error)).strip()
            raise SourceError(f"{self.name}: the prediction log cannot be used: {message}") from None


class _PostgreSQLTransaction:
    real = "DOUBLE PRECISION"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(statement.replace("?", "%s"), values or None)
        return cursor.fetchall() if cursor.description else []
