"""Where predictions are written: a file or a database table, each of them atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from estimator.core.text import join_names
from estimator.data.sinks.base import IfExists, Sink, SinkPlan, TableSink
from estimator.data.sinks.file import ENDINGS, FileSink, is_csv
from estimator.data.sinks.postgresql import PostgreSQLSink
from estimator.data.sinks.sqlite import SQLiteSink
from estimator.data.sources.address import TABLE_NAME, locate
from estimator.errors import SourceError

__all__ = ["FileSink", "IfExists", "PostgreSQLSink", "SQLiteSink", "Sink", "SinkPlan", "is_csv", "sink_for"]

TABLE_SINKS: Mapping[str, type[TableSink]] = {
    "sqlite": SQLiteSink,
    "postgresql": PostgreSQLSink,
    "postgres": PostgreSQLSink,
}


def sink_for(
    output: str,
    environment: Mapping[str, str],
    *,
    table: str | None = None,
    if_exists: IfExists | None = None,
    quote_formulas: bool = False,
) -> Sink:
    """Return the sink for a path, or for a table at an address such as postgresql://me:${PGPASSWORD}@host/db.

    An existing file is replaced; `if_exists` decides about an existing table, by default "fail". `quote_formulas` is
    for CSV files, which spreadsheets open.

    Raises
    ------
    SourceError: `output` is not a file or database that can be written.
    """
    address = locate(output, environment)
    if quote_formulas and (address.scheme or not is_csv(Path(output))):
        raise SourceError(f"{address.name}: --quote-formulas is for a .csv file: no other output is read as formulas")
    if not address.scheme:
        if table is not None or if_exists is not None:
            raise SourceError(f"{output}: is a file, but --table and --if-exists are for databases")
        return FileSink(Path(output), quote_formulas)
    if address.scheme not in TABLE_SINKS:
        raise SourceError(
            f"{address.name}: predictions cannot be written to {address.scheme}://",
            hint=f"use a {join_names(ENDINGS)} file, or {join_names(f'{scheme}://' for scheme in TABLE_SINKS)}",
        )
    if table is None or TABLE_NAME.fullmatch(table) is None:
        raise SourceError(
            f"{address.name}: expected the name of a table for the predictions, got {table!r}",
            hint="letters, digits and _, optionally after a schema and a dot; on the command line --table",
        )
    return TABLE_SINKS[address.scheme](address, table, if_exists or "fail")
