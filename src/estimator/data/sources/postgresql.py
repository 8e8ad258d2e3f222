"""PostgreSQL through ADBC: rows arrive in Arrow batches, in a transaction that can only read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from estimator.core.text import did_you_mean
from estimator.data.sources.address import Address
from estimator.data.sources.query_result import Answer, checked_names, quoted, select
from estimator.errors import SourceError, needs_extra

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

CONNECT_SECONDS = 10
KEPT = ("smallint", "integer", "bigint", "double precision", "boolean", "text", "character varying")
TIMES = ("date", "timestamp without time zone", "timestamp with time zone")
# Read from their digits: real as 0.1 and not as 0.100000001, numeric and money without a way through scaled integers.
NUMBERS = {"real": "{}::text", "numeric": "{}::text", "money": "{}::numeric::text"}
HINTS = {
    "42P01": "check the table's name and schema, as \\dt shows them",
    "42703": "check the columns' names, as \\d shows them; a name with capitals stands in double quotes",
    "42601": "data.query must be one SELECT or a table's name",
    "42501": "this user may not read it",
    "25006": "data.query must only read",
}
FAILURES = {
    "password authentication failed": "check the user and the variable that holds the password",
    "no password supplied": "write user:${NAME}@host, and set the environment variable NAME",
    "does not exist": "check the last part of the address",
    "pg_hba.conf": "the server lets this user in from elsewhere or by other means; ?sslmode=require may help",
}


@contextmanager
def ask(address: Address, query: str, folder: Path) -> Iterator[Answer]:
    """Connect and give the answer to a query, whose rows are read while the block lasts."""
    with connected(address, "reading PostgreSQL") as connection, closing(connection.cursor()) as cursor:
        yield _answer(cursor, select(query), address.name)


@contextmanager
def connected(address: Address, purpose: str) -> Iterator[Connection]:
    """Connect for a block, in a transaction that is forgotten unless the block commits it.

    Raises
    ------
    SourceError: no connection, or a statement of the block fails; the message never holds a password.
    """
    with needs_extra("sql", purpose):
        from adbc_driver_manager import dbapi as base
        from adbc_driver_postgresql import dbapi
        from pyarrow import ArrowException
    try:
        connection = dbapi.connect(_with_time_limit(address.url))
    except base.Error as error:
        raise _refused(address, error) from None
    with closing(connection):
        try:
            yield connection
        except base.Error as error:
            raise _unanswered(address, error, HINTS.get(error.sqlstate or ""), connection) from None
        except (ArrowException, OSError) as error:
            # What fails on the way comes from Arrow, which reads the rows from the driver.
            raise _unanswered(address, error, None, connection) from None


def _with_time_limit(url: str) -> str:
    if "connect_timeout=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={CONNECT_SECONDS}"


def _answer(cursor: Cursor, query: str, place: str) -> Answer:
    cursor.execute("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ")
    # Large tables are otherwise read from wherever another reader happens to be.
    cursor.execute("SET LOCAL synchronize_seqscans = off")
    names = checked_names(cursor.adbc_execute_schema(query).names, place)
    types = dict(zip(names, _types(cursor, query, names), strict=True))
    chosen = ", ".join(f"{_read_as(quoted(name), kind)} AS {quoted(name)}" for name, kind in types.items())
    cursor.execute(f"SELECT {chosen} FROM (\n{query}\n) AS answer")  # noqa: S608 # the user's own query, read only
    return Answer(_frames(cursor, [name for name, kind in types.items() if kind in NUMBERS]))


def _types(cursor: Cursor, query: str, names: list[str]) -> tuple[str, ...]:
    """Return PostgreSQL's own names of the columns' types; the query is planned and not run."""
    asked = ", ".join(f"pg_typeof(answer.{quoted(name)})::text AS type{place}" for place, name in enumerate(names))
    cursor.execute(f"SELECT {asked} FROM (SELECT 1) AS one LEFT JOIN (\n{query}\n) AS answer ON false")  # noqa: S608 # the same
    found: tuple[str, ...] = cursor.fetchall()[0]
    return found


def _read_as(column: str, kind: str) -> str:
    if kind in KEPT:
        return column
    if kind in TIMES:
        # 'infinity' is no day of any calendar: a gap.
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    return NUMBERS.get(kind, "{}::text").format(column)


def _frames(cursor: Cursor, numbers: list[str]) -> Iterator[pl.DataFrame]:
    for batch in cursor.fetch_record_batch():
        frame: Any = pl.from_arrow(batch)
        yield frame.with_columns(pl.col(numbers).cast(pl.Float64))


def _refused(address: Address, error: Exception) -> SourceError:
    told = address.scrubbed(str(error).partition("Failed to connect: ")[2] or str(error)).strip().splitlines()[0]
    hint = next((hint for words, hint in FAILURES.items() if words in told), "is the server running, and in reach?")
    return SourceError(f"{address.name}: no connection: {told}", hint=hint)


def _unanswered(address: Address, error: Exception, hint: str | None, connection: Connection) -> SourceError:
    found = re.search(r"ERROR:\s+(.*)", str(error))
    told = address.scrubbed(found.group(1) if found else str(error).strip().splitlines()[0])
    missing = re.search(r'relation "(.*)" does not exist', told)
    if missing:
        hint = did_you_mean(missing.group(1), _tables(connection)) or hint
    return SourceError(f"{address.name}: PostgreSQL says: {told}", hint=hint)


def _tables(connection: Connection) -> list[str]:
    connection.rollback()
    with closing(connection.cursor()) as cursor:
        cursor.execute(
            "SELECT CASE table_schema WHEN current_schema() THEN '' ELSE table_schema || '.' END || table_name "
            "FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        return [row[0] for row in cursor.fetchall()]
