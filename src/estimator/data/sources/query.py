"""What all databases share: quoted names, a table's name as a query, and checks of the result's columns."""

from __future__ import annotations

from collections.abc import Sequence

from estimator.core.text import join_names
from estimator.data.sources.address import TABLE_NAME
from estimator.errors import SourceError


def as_select(query: str) -> str:
    """Return a query as a SELECT; a table's name stands for all of its rows.

    >>> as_select("sales.houses"), as_select("SELECT 1;")
    ('SELECT * FROM "sales"."houses"', 'SELECT 1')
    """
    text = query.strip().rstrip(";").rstrip()
    if TABLE_NAME.fullmatch(text):
        return f"SELECT * FROM {quoted_table(text)}"  # noqa: S608 # quoted, and the user's own
    return text


def quoted(name: str) -> str:
    """Return the name of a table or column as SQL writes it.

    >>> print(quoted("price per m2"))
    "price per m2"
    """
    return '"' + name.replace('"', '""') + '"'


def quoted_table(name: str) -> str:
    """Return the name of a table, with or without its schema, as SQL writes it.

    >>> quoted_table("sales.houses")
    '"sales"."houses"'
    """
    return ".".join(map(quoted, name.split(".")))


def check_column_names(names: Sequence[str], source: str) -> list[str]:
    """Return the names of a result's columns.

    Raises
    ------
    SourceError: there are none, as the query is not a SELECT, or two are the same.
    """
    if not names:
        raise SourceError(f"{source}: data.query returns no table", hint="it must be a SELECT or a table's name")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(
            f"{source}: data.query returns more than one column called {join_names(map(repr, repeated))}",
            hint="rename one of them with AS",
        )
    return list(names)
