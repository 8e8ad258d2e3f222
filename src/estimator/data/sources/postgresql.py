"""PostgreSQL through ADBC: rows arrive in Arrow batches, in a read-only transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from estimator.core.text import did_you_mean
from estimator.data.sources.address import Address
from estimator.data.sources.base import QueryConnector, QueryResult
from estimator.data.sources.query import as_select, check_column_names, quoted
from estimator.errors import SourceError, needs_extra

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

CONNECT_TIMEOUT_SECONDS = 10
TYPES_READ_AS_THEY_ARE = ("smallint", "integer", "bigint", "double precision", "boolean", "text", "character varying")
TIME_TYPES = ("date", "timestamp without time zone", "timestamp with time zone")
# Read as decimal text, so that a real 0.1 does not become 0.100000001, then cast to a double.
NUMBER_TYPES = {"real": "{}::text", "numeric": "{}::text", "money": "{}::numeric::text"}
# By SQLSTATE.
HINTS = {
    "42P01": "check the table's name and schema, as \\dt shows them",
    "42703": "check the columns' names, as \\d shows them; a name with capitals stands in double quotes",
    "42601": "data.query must be one SELECT or a table's name",
    "42501": "this user may not read it",
    "25006": "data.query must only read",
}
# By a part of the message when connecting fails.
CONNECTION_HINTS = {
    "password authentication failed": "check the user and the variable that holds the password",
    "no password supplied": "write user:${NAME}@host, and set the environment variable NAME",
    "does not exist": "check the last part of the address",
    "pg_hba.conf": "the server lets this user in from elsewhere or by other means; ?sslmode=require may help",
}


class PostgreSQL(QueryConnector):
    """postgresql://user@host/database."""

    @classmethod
    @contextmanager
    def query(cls, address: Address, query: str, folder: Path) -> Iterator[QueryResult]:
        with connected(address, "reading PostgreSQL") as connection, closing(connection.cursor()) as cursor:
            yield _result(cursor, as_select(query), address.name)


@contextmanager
def connected(address: Address, purpose: str) -> Iterator[Connection]:
    """Yield a connection, in a transaction that is rolled back unless the caller commits it.

    Raises
    ------
    SourceError: the connection or a statement fails; the message never holds a password.
    """
    with needs_extra("sql", purpose):
        from adbc_driver_manager import dbapi as base
        from adbc_driver_postgresql import dbapi
        from pyarrow import ArrowException
    try:
        connection = dbapi.connect(_with_time_limit(address.url))
    except base.Error as error:
        raise _connection_error(address, error) from None
    with closing(connection):
        try:
            yield connection
        except base.Error as error:
            raise _query_error(address, error, HINTS.get(error.sqlstate or ""), connection) from None
        except (ArrowException, OSError) as error:
            # Arrow reads the rows from the driver, so a failure halfway is an error of Arrow.
            raise _query_error(address, error, None, connection) from None


def _with_time_limit(url: str) -> str:
    if "connect_timeout=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={CONNECT_TIMEOUT_SECONDS}"


def _result(cursor: Cursor, query: str, database: str) -> QueryResult:
    cursor.execute("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ")
    # Otherwise a scan of a large table may start in the middle, in step with another reader.
    cursor.execute("SET LOCAL synchronize_seqscans = off")
    names = check_column_names(cursor.adbc_execute_schema(query).names, database)
    types = dict(zip(names, _types(cursor, query, names), strict=True))
    selected = ", ".join(f"{_read_expression(quoted(name), kind)} AS {quoted(name)}" for name, kind in types.items())
    cursor.execute(f"SELECT {selected} FROM (\n{query}\n) AS result")  # noqa: S608 # the user's own query, read only
    return QueryResult(_frames(cursor, [name for name, kind in types.items() if kind in NUMBER_TYPES]))


def _types(cursor: Cursor, query: str, names: list[str]) -> tuple[str, ...]:
    """Return PostgreSQL's names of the columns' types; the query is planned but not run."""
    columns = ", ".join(f"pg_typeof(result.{quoted(name)})::text AS type{i}" for i, name in enumerate(names))
    cursor.execute(f"SELECT {columns} FROM (SELECT 1) AS one LEFT JOIN (\n{query}\n) AS result ON false")  # noqa: S608 # the same
    types: tuple[str, ...] = cursor.fetchall()[0]
    return types


def _read_expression(column: str, kind: str) -> str:
    if kind in TYPES_READ_AS_THEY_ARE:
        return column
    if kind in TIME_TYPES:
        # 'infinity' is not a date of any calendar: a missing value.
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    return NUMBER_TYPES.get(kind, "{}::text").format(column)


def _frames(cursor: Cursor, numbers: list[str]) -> Iterator[pl.DataFrame]:
    for batch in cursor.fetch_record_batch():
        frame: Any = pl.from_arrow(batch)
        yield frame.with_columns(frame[name].cast(pl.Float64) for name in numbers)


def _connection_error(address: Address, error: Exception) -> SourceError:
    text = str(error).partition("Failed to connect: ")[2] or str(error)
    message = address.scrubbed(text).strip().splitlines()[0]
    hints = (hint for fragment, hint in CONNECTION_HINTS.items() if fragment in message)
    hint = next(hints, "is the server running and reachable?")
    return SourceError(f"{address.name}: cannot connect: {message}", hint=hint)


def _query_error(address: Address, error: Exception, hint: str | None, connection: Connection) -> SourceError:
    match = re.search(r"ERROR:\s+(.*)", str(error))
    message = address.scrubbed(match.group(1) if match else str(error).strip().splitlines()[0])
    missing = re.search(r'relation "(.*)" does not exist', message)
    if missing:
        hint = did_you_mean(missing.group(1), _tables(connection)) or hint
    return SourceError(f"{address.name}: PostgreSQL reports: {message}", hint=hint)


def _tables(connection: Connection) -> list[str]:
    connection.rollback()
    with closing(connection.cursor()) as cursor:
        cursor.execute(
            "SELECT CASE table_schema WHEN current_schema() THEN '' ELSE table_schema || '.' END || table_name "
            "FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        return [row[0] for row in cursor.fetchall()]
