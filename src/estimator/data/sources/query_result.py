"""A database's answer while it arrives, and what every database asks of a query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from estimator.core.text import join_names
from estimator.data.sources.address import TABLE_NAME
from estimator.errors import SourceError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Answer:
    """Frames of the same columns, read from an open connection one by one; `notes` say how."""

    frames: Iterator[pl.DataFrame]
    notes: tuple[str, ...] = ()


def select(query: str) -> str:
    """Return a query as a SELECT: a table's name stands for all of its rows.

    >>> select("sales.houses"), select("SELECT 1;")
    ('SELECT * FROM "sales"."houses"', 'SELECT 1')
    """
    text = query.strip().rstrip(";").rstrip()
    if TABLE_NAME.fullmatch(text):
        table = ".".join(map(quoted, text.split(".")))
        return f"SELECT * FROM {table}"  # noqa: S608 # quoted, and the user's own
    return text


def quoted(name: str) -> str:
    """Return a name of a table or column as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def checked_names(names: Sequence[str], place: str) -> list[str]:
    """Return the names of an answer's columns.

    Raises
    ------
    SourceError: there are none, since the query is no SELECT, or two are the same.
    """
    if not names:
        raise SourceError(f"{place}: data.query gives no table", hint="it must be a SELECT or a table's name")
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise SourceError(
            f"{place}: data.query gives more than one column called {join_names(map(repr, again))}",
            hint="give one of them another name with AS",
        )
    return list(names)
