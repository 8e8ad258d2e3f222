"""Where answers are kept: one SQLite file, or PostgreSQL when several servers log to one place."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from estimator.data.sources.address import SQLITE_FILE, Address, locate
from estimator.errors import SourceError, needs_extra
from estimator.prediction_log.records import Label, Logged

# So long, in milliseconds, a process waits for another one that writes.
PATIENCE = 10_000
PAGE = 5000
TABLES = (
    """CREATE TABLE IF NOT EXISTS predictions (
        id TEXT PRIMARY KEY, at {real} NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
        inputs TEXT NOT NULL, answer TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS predictions_by_time ON predictions (model, at, id)",
    "CREATE TABLE IF NOT EXISTS labels (id TEXT PRIMARY KEY, at {real} NOT NULL, truth TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS labels_by_time ON labels (at)",
    """CREATE TABLE IF NOT EXISTS shadows (
        id TEXT NOT NULL, version TEXT NOT NULL, at {real} NOT NULL, answer TEXT NOT NULL,
        PRIMARY KEY (id, version))""",
    "CREATE INDEX IF NOT EXISTS shadows_by_time ON shadows (at)",
    """CREATE TABLE IF NOT EXISTS watches (
        model TEXT PRIMARY KEY, holder TEXT NOT NULL, until {real} NOT NULL, state TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS evidence (
        model TEXT NOT NULL, at {real} NOT NULL, version TEXT NOT NULL, told TEXT NOT NULL, PRIMARY KEY (model, at))""",
    """CREATE TABLE IF NOT EXISTS events (
        id TEXT PRIMARY KEY, model TEXT NOT NULL, at {real} NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL,
        told TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS events_by_time ON events (model, at)",
    "CREATE TABLE IF NOT EXISTS tellings (event TEXT NOT NULL, who TEXT NOT NULL, PRIMARY KEY (event, who))",
)
WRITE = (
    "INSERT INTO predictions (id, at, model, version, inputs, answer) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
SHADOW = "INSERT INTO shadows (id, version, at, answer) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
# What was said later is what holds.
LABEL = """INSERT INTO labels (id, at, truth) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET at = excluded.at, truth = excluded.truth WHERE excluded.at >= labels.at"""
ROW = "p.id, p.at, p.model, p.version, p.inputs, p.answer, l.truth, l.at"
READ = f"SELECT {ROW} FROM predictions p LEFT JOIN labels l ON l.id = p.id"  # noqa: S608 # fixed names
LABELLED = f"SELECT {ROW} FROM labels l JOIN predictions p ON p.id = l.id"  # noqa: S608 # the same
Place = tuple[float, str]
START: Place = (0.0, "")


class Database(ABC):
    """Rows that were answered and their truths. Each call is one transaction; not for several threads at once.

    Every method raises SourceError when the database cannot be used.
    """

    name: str

    def write(self, records: Sequence[Logged]) -> None:
        """Keep rows; an id that is already there keeps what it has, so that writing twice does no harm."""
        encode = msgspec.json.encode
        self.run_many(
            WRITE,
            [
                (row.id, row.at, row.model, row.version, encode(row.inputs).decode(), encode(row.answer).decode())
                for row in records
            ],
        )

    def write_shadows(self, records: Sequence[Logged]) -> None:
        """Keep what a version would have answered, beside the rows that another one answered."""
        encode = msgspec.json.encode
        self.run_many(SHADOW, [(row.id, row.version, row.at, encode(row.answer).decode()) for row in records])

    def shadows(self, named: str) -> dict[str, Any]:
        """Return what other versions would have answered to the row of an id: version -> answer."""
        found = self.ask("SELECT version, answer FROM shadows WHERE id = ? ORDER BY version", [named])
        return {version: msgspec.json.decode(answer) for version, answer in found}

    def label(self, labels: Sequence[Label], at: float) -> int:
        """Keep truths; return how many of their ids are known by now. Truth may come before its answer is written."""
        self.run_many(LABEL, [(item.id, at, msgspec.json.encode(item.label).decode()) for item in labels])
        known = 0
        for start in range(0, len(labels), PAGE):
            named = [item.id for item in labels[start : start + PAGE]]
            marks = ", ".join("?" * len(named))
            known += int(self.ask(f"SELECT count(*) FROM predictions WHERE id IN ({marks})", named)[0][0])  # noqa: S608 # marks
        return known

    def find(self, named: str) -> Logged | None:
        """Return the row of an id, or None."""
        found = self.ask(f"{READ} WHERE p.id = ?", [named])
        return _logged(found[0]) if found else None

    def read(self, model: str, *, since: float = 0.0, until: float = float("inf")) -> Iterator[Logged]:
        """Yield a model's rows from `since` up to, but not with, `until`, in seconds since 1970, oldest first."""
        place: Place = (since, "")
        while found := self.after(model, place, until=until):
            yield from found
            place = (found[-1].at, found[-1].id)

    def after(self, model: str, place: Place, *, until: float = float("inf"), most: int = PAGE) -> list[Logged]:
        """Return a model's rows that were answered after a place, which is a time and an id, oldest first."""
        return self._page(READ, "p.at", model, place, until, most)

    def labelled(self, model: str, place: Place, *, until: float = float("inf"), most: int = PAGE) -> list[Logged]:
        """Return a model's rows whose truth came after a place, a time and an id, in the order in which it came."""
        return self._page(LABELLED, "l.at", model, place, until, most)

    def _page(self, what: str, time: str, model: str, place: Place, until: float, most: int) -> list[Logged]:
        found = self.ask(
            f"{what} WHERE p.model = ? AND {time} < ? AND ({time} > ? OR ({time} = ? AND p.id > ?)) "
            f"ORDER BY {time}, p.id LIMIT {int(most)}",
            [model, min(until, 1e300), place[0], place[0], place[1]],
        )
        return [_logged(row) for row in found]

    def latest(self, model: str, *, until: float = float("inf"), most: int = PAGE) -> list[Logged]:
        """Return the last rows of a model that were answered before a time, oldest first."""
        statement = f"{READ} WHERE p.model = ? AND p.at < ? ORDER BY p.at DESC, p.id DESC LIMIT {int(most)}"
        return [_logged(row) for row in reversed(self.ask(statement, [model, min(until, 1e300)]))]

    def shadowed(self, model: str, version: str, *, since: float = 0.0) -> int:
        """Return how many of a model's rows a version has answered as a shadow since a time."""
        statement = (
            "SELECT count(*) FROM shadows s JOIN predictions p ON p.id = s.id "
            "WHERE p.model = ? AND s.version = ? AND s.at >= ?"
        )
        return int(self.ask(statement, [model, version, since])[0][0])

    def count(self) -> tuple[int, int]:
        """Return how many rows and how many truths there are."""
        return int(self.ask("SELECT count(*) FROM predictions")[0][0]), int(
            self.ask("SELECT count(*) FROM labels")[0][0]
        )

    def forget(self, before: float) -> None:
        """Drop rows that were answered before a time, and the truths that came before it."""
        self.run_many("DELETE FROM predictions WHERE at < ?", [(before,)])
        self.run_many("DELETE FROM shadows WHERE at < ?", [(before,)])
        self.run_many("DELETE FROM labels WHERE at < ? AND id NOT IN (SELECT id FROM predictions)", [(before,)])

    @abstractmethod
    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, whose values stand as question marks."""

    @abstractmethod
    def run_many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each tuple of values, all or none."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open."""


def _logged(row: tuple[Any, ...]) -> Logged:
    named, at, model, version, inputs, answer, truth, truth_at = row
    decode = msgspec.json.decode
    return Logged(
        named, at, model, version, decode(inputs), decode(answer), None if truth is None else decode(truth), truth_at
    )


class SQLite(Database):
    """One file with a write-ahead log beside it: what is written survives a kill, and readers never wait."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=PATIENCE / 1000, check_same_thread=False)
            for setting in ("journal_mode = WAL", "synchronous = NORMAL"):
                self._connection.execute(f"PRAGMA {setting}")
            with self._connection:
                for statement in TABLES:
                    self._connection.execute(statement.format(real="REAL"))

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return self._connection.execute(statement, values).fetchall()

    def run_many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        with self._told(), self._connection:
            self._connection.executemany(statement, values)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise SourceError(f"{self.name}: the prediction log cannot be used: {error}") from error


class PostgreSQL(Database):
    """A database that several servers share; a connection that was lost is opened again at the next call."""

    def __init__(self, address: Address) -> None:
        with needs_extra("sql", "a prediction log in PostgreSQL"):
            import psycopg
        self.name, self._address, self._driver = address.name, address, psycopg
        self._connection: Any = None
        with self._told():
            connection = self._opened()
            with connection.transaction():
                # Two servers that start at once would both make the tables.
                connection.execute("SELECT pg_advisory_xact_lock(717171)")
                for statement in TABLES:
                    connection.execute(statement.format(real="DOUBLE PRECISION"))

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            found: list[tuple[Any, ...]] = self._opened().execute(statement.replace("?", "%s"), values).fetchall()
            return found

    def run_many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        with self._told():
            connection = self._opened()
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(statement.replace("?", "%s"), values)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _opened(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self._driver.connect(self._address.url, autocommit=True, connect_timeout=10)
        return self._connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            told = self._address.scrubbed(str(error)).strip()
            raise SourceError(f"{self.name}: the prediction log cannot be used: {told}") from None


def open_database(place: str, folder: Path, environment: Mapping[str, str], *, must_exist: bool = False) -> Database:
    """Return the log at a path in `folder`, or at an address such as postgresql://me:${PGPASSWORD}@host/db.

    Raises
    ------
    SourceError: it cannot be opened, is of another kind, or a file is not there that must exist.
    """
    address = locate(place, environment)
    if address.scheme in ("postgresql", "postgres"):
        return PostgreSQL(address)
    if address.scheme not in ("", "sqlite"):
        raise SourceError(
            f"{address.name}: a prediction log is kept in a file or in PostgreSQL, not in {address.scheme!r}",
            hint="give a path, or postgresql://...",
        )
    path = folder / address.url.removeprefix(SQLITE_FILE)
    if must_exist and not path.is_file():
        raise SourceError(
            f"{path}: there is no prediction log", hint="give the place that serving.prediction_log names"
        )
    return SQLite(path)
