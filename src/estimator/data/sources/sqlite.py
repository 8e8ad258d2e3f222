"""SQLite: a file, opened to read only, whose columns are what their values are."""

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
from estimator.data.sources.base import BATCH_ROWS
from estimator.data.sources.query_result import Answer, checked_names, quoted, select
from estimator.errors import SourceError

# A value's type as SQLite names it, and its bit in the mask of a column.
BITS = {"integer": 1, "real": 2, "text": 4, "blob": 8}
Reader = Callable[[Any], Any]


@contextmanager
def ask(address: Address, query: str, folder: Path) -> Iterator[Answer]:
    """Open the database and give the answer to a query, whose rows are read while the block lasts."""
    path = folder / address.url.removeprefix(SQLITE_FILE).partition("?")[0]
    if not address.url.startswith(SQLITE_FILE) or not path.is_file():
        raise SourceError(
            f"{address.name}: no such file: {path}",
            hint="sqlite:///folder/my.db is relative to the config, sqlite:////folder/my.db is not",
        )
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=10)) as connection:
        connection.text_factory = _text
        try:
            yield _answer(connection, select(query), address.name)
        except sqlite3.Error as error:
            raise SourceError(f"{address.name}: SQLite says: {error}", hint=_hint(connection, str(error))) from None


def _answer(connection: sqlite3.Connection, query: str, place: str) -> Answer:
    # Both questions see the same rows, whoever writes in between.
    connection.execute("BEGIN")
    with closing(connection.execute(query)) as cursor:
        names = checked_names([item[0] for item in cursor.description or ()], place)
    masks = _masks(connection, query, names)
    columns = {name: _column(mask) for name, mask in zip(names, masks, strict=True)}
    mixed = tuple(
        f"{place}: column {name!r} holds {' and '.join(_types(mask))}: all of it is read as text"
        for name, mask in zip(names, masks, strict=True)
        if columns[name][0] == pl.String and len(_types(mask)) > 1
    )
    return Answer(_frames(connection.execute(query), columns), mixed)


def _masks(connection: sqlite3.Connection, query: str, names: Sequence[str]) -> list[int]:
    """Return for each column which types its values have, all of them looked at; SQLite's columns have none."""
    sums = [
        " + ".join(f"{bit} * max(typeof(answer.{quoted(name)}) = '{word}')" for word, bit in BITS.items())
        for name in names
    ]
    # A comment at the end of the query must not swallow the bracket.
    found = connection.execute(f"SELECT {', '.join(sums)} FROM (\n{query}\n) AS answer").fetchone()  # noqa: S608 # the user's own query, read only
    return [mask or 0 for mask in found]


def _types(mask: int) -> list[str]:
    return [word for word, bit in BITS.items() if mask & bit]


def _column(mask: int) -> tuple[Any, Reader]:
    """Return the type of a column and what makes a value one of it."""
    if mask == BITS["integer"]:
        return pl.Int64, int
    if mask and not mask & ~(BITS["integer"] | BITS["real"]):
        return pl.Float64, float
    return pl.String, lambda value: value.hex() if isinstance(value, bytes) else str(value)


def _frames(cursor: sqlite3.Cursor, columns: dict[str, tuple[Any, Reader]]) -> Iterator[pl.DataFrame]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield pl.DataFrame(
            [
                pl.Series(name, [None if value is None else read(value) for value in values], dtype=kind)
                for (name, (kind, read)), values in zip(columns.items(), zip(*rows, strict=True), strict=True)
            ]
        )


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
