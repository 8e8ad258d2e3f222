"""Predictions in a table of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from estimator.data.sinks.base import RUNS_TABLE, SinkPlan, TableSink
from estimator.data.sources.postgresql import connected
from estimator.data.sources.query import quoted_table
from estimator.errors import SourceError

# Two processes must not create the table of attempts at once; any number that is the same in all of them.
ADVISORY_LOCK = 717172
# Of a table and its schema, "" for the current one.
MAY_CREATE = "SELECT has_schema_privilege(coalesce(nullif($1, ''), current_schema()), 'CREATE')"
IS_TABLE = "SELECT relkind IN ('r', 'p', 'f') FROM pg_class WHERE oid = to_regclass($1)"
IS_OWNER = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)"
MAY_INSERT = "SELECT has_table_privilege(to_regclass($1), 'INSERT')"
COLUMNS = (
    "SELECT attname::text, format_type(atttypid, NULL), attnotnull AND NOT atthasdef AND attidentity = '' "
    "FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
)
# The names of the types that ADBC gives the columns of a new table; others are text.
TYPES: Mapping[type[pl.DataType], str] = {
    pl.Boolean: "boolean",
    **dict.fromkeys((pl.Int8, pl.UInt8, pl.Int16), "smallint"),
    **dict.fromkeys((pl.UInt16, pl.Int32), "integer"),
    **dict.fromkeys((pl.UInt32, pl.Int64, pl.UInt64), "bigint"),
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.Decimal: "numeric",
    pl.Date: "date",
    pl.Time: "time without time zone",
}
TEXT_TYPES = {"text", "character varying", "character"}


class PostgreSQLSink(TableSink):
    """A PostgreSQL table, filled by COPY."""

    def check(self) -> None:
        with self._connected():
            pass

    def check_existing(self) -> None:
        with self._connected() as connection:
            self.reject_existing(self._exists(connection, quoted_table(self.table)))

    def plan(self, schema: pl.Schema) -> SinkPlan:
        with self._connected() as connection, closing(connection.cursor()) as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            exists = self._exists(connection, quoted_table(self.table))
            self.reject_existing(exists)
            if exists:
                cursor.execute(IS_TABLE, (quoted_table(self.table),))
                self.reject_view(cursor.fetchall() == [(True,)])
            plan = SinkPlan(self.action(exists), {name: _type_name(dtype) for name, dtype in schema.items()})
            self._check_rights(cursor, plan.action)
            self._check_runs(cursor, has_runs=self._exists(connection, self._runs))
            if plan.action == "append":
                self._check_columns(cursor, plan.types)
        return plan

    def _check_rights(self, cursor: Any, action: str) -> None:
        table, schema = quoted_table(self.table), self.table.rpartition(".")[0]
        rights = {
            "create": {MAY_CREATE: schema},
            "replace": {IS_OWNER: table, MAY_CREATE: schema},
            "append": {MAY_INSERT: table},
        }
        for statement, name in rights[action].items():
            cursor.execute(statement, (name,))
            if cursor.fetchall() == [(False,)]:
                verb = "append to" if action == "append" else action
                raise SourceError(f"{self.name}: this user may not {verb} it", hint="ask its owner for the right")

    def _check_columns(self, cursor: Any, types: Mapping[str, str]) -> None:
        """Reject rows whose columns or types are not those of the table that they are appended to."""
        cursor.execute(COLUMNS, (quoted_table(self.table),))
        existing = {name: (kind, needs_value) for name, kind, needs_value in cursor.fetchall()}
        self.reject_clash(types, {name: needs_value for name, (_, needs_value) in existing.items()})
        for name, kind in types.items():
            if (stored := existing[name][0]) != kind and {stored, kind} - TEXT_TYPES:
                raise SourceError(
                    f"{self.name}: expected column {name!r} of type {kind}, got {stored}",
                    hint="ALTER TABLE ... ALTER COLUMN ... TYPE, or --if-exists replace",
                )

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
            self._check_runs(cursor, has_runs=False)
            cursor.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._runs} (attempt TEXT PRIMARY KEY)")
        # Others need not wait for the rows.
        connection.commit()

    def _check_runs(self, cursor: Any, *, has_runs: bool) -> None:
        schema = self.table.rpartition(".")[0]
        cursor.execute(MAY_INSERT if has_runs else MAY_CREATE, (self._runs if has_runs else schema,))
        if cursor.fetchall() == [(False,)]:
            raise SourceError(
                f"{self.name}: needs a table {RUNS_TABLE} next to it, which this user may not "
                f"{'write' if has_runs else 'create'}",
                hint=f"let its owner run: CREATE TABLE IF NOT EXISTS {self._runs} (attempt TEXT PRIMARY KEY); "
                f"GRANT SELECT, INSERT, DELETE ON {self._runs} TO ...",
            )

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with connected(self.address, "writing PostgreSQL") as connection:
            yield connection

    def _exists(self, connection: Any, table: str) -> bool:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT to_regclass($1) IS NOT NULL", (table,))
            return bool(cursor.fetchall()[0][0])


def _type_name(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f"timestamp {'with' if dtype.time_zone else 'without'} time zone"
    return TYPES.get(dtype.base_type(), "text")
