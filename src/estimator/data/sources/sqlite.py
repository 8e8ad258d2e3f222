"""SQLite: a file, opened read-only; a column's type is decided by its values."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from estimator.core.text import did_you_mean
from estimator.data.sources.address import SQLITE_FILE, Address
from estimator.data.sources.base import BATCH_ROWS, QueryConnector, QueryResult
from estimator.data.sources.query import as_select, check_column_names, quoted
from estimator.errors import SourceError

TIMEOUT_SECONDS = 10.0
# A value's type as SQLite names it -> its bit in a column's mask of types.
TYPE_BITS = {"integer": 1, "real": 2, "text": 4, "blob": 8}
Converter = Callable[[Any], Any]


class SQLite(QueryConnector):
    """sqlite:///folder/my.db."""

    @classmethod
    @contextmanager
    def query(cls, address: Address, query: str, folder: Path) -> Iterator[QueryResult]:
        path = folder / address.url.removeprefix(SQLITE_FILE).partition("?")[0]
        if not address.url.startswith(SQLITE_FILE) or not path.is_file():
            raise SourceError(
                f"{address.name}: no such file: {path}",
                hint="sqlite:///folder/my.db is relative to the config, sqlite:////folder/my.db is absolute",
            )
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS)) as connection:
            connection.text_factory = _text
            try:
                yield _result(connection, as_select(query), address.name)
            except sqlite3.Error as error:
                message = f"{address.name}: SQLite reports: {error}"
                raise SourceError(message, hint=_hint(connection, str(error))) from None


def _result(connection: sqlite3.Connection, query: str, database: str) -> QueryResult:
    # One transaction: the types and the rows are of the same state, even if another process writes in between.
    connection.execute("BEGIN")
    with closing(connection.execute(query)) as cursor:
        names = check_column_names([item[0] for item in cursor.description or ()], database)
    masks = dict(zip(names, _masks(connection, query, names), strict=True))
    columns = {name: _column(mask) for name, mask in masks.items()}
    notes = tuple(
        f"{database}: column {name!r} holds {' and '.join(_types(mask))}: all of it is read as text"
        for name, mask in masks.items()
        if columns[name][0] == pl.String and len(_types(mask)) > 1
    )
    return QueryResult(_frames(connection.execute(query), columns), notes)


def _masks(connection: sqlite3.Connection, query: str, names: Sequence[str]) -> list[int]:
    """Return for each column the types of all its values: columns of SQLite have no type of their own."""
    sums = [
        " + ".join(f"{bit} * max(typeof(result.{quoted(name)}) = '{type_}')" for type_, bit in TYPE_BITS.items())
        for name in names
    ]
    # The line breaks keep a comment at the end of the query from hiding the bracket.
    row = connection.execute(f"SELECT {', '.join(sums)} FROM (\n{query}\n) AS result").fetchone()  # noqa: S608 # the user's own query, read only
    return [mask or 0 for mask in row]


def _types(mask: int) -> list[str]:
    return [type_ for type_, bit in TYPE_BITS.items() if mask & bit]


def _column(mask: int) -> tuple[Any, Converter]:
    """Return the polars type of a column, and the function that converts a value to it."""
    if mask == TYPE_BITS["integer"]:
        return pl.Int64, int
    if mask and not mask & ~(TYPE_BITS["integer"] | TYPE_BITS["real"]):
        return pl.Float64, float
    return pl.String, lambda value: f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


def _frames(cursor: sqlite3.Cursor, columns: dict[str, tuple[Any, Converter]]) -> Iterator[pl.DataFrame]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        series = []
        for (name, (dtype, convert)), values in zip(columns.items(), zip(*rows, strict=True), strict=True):
            series.append(pl.Series(name, [None if v is None else convert(v) for v in values], dtype=dtype))
        yield pl.DataFrame(series)


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _hint(connection: sqlite3.Connection, reason: str) -> str | None:
    if reason.startswith("no such table: "):
        tables = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        ]
        return did_you_mean(reason.removeprefix("no such table: "), tables)
    if "readonly" in reason:
        return "data.query must only read"
    return None if "not a database" in reason else "data.query must be a SELECT or a table's name"
