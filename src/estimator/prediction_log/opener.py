"""A path or a database address -> the prediction log there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from estimator.data.sources.address import SQLITE_FILE, locate
from estimator.errors import SourceError
from estimator.prediction_log.databases import PostgreSQLLog, SQLiteLog
from estimator.prediction_log.log import PredictionLog


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
