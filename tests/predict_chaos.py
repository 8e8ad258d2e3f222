"""A process that resumes the predictions which the one before it left, and is killed in the next; see test_chaos.py.

    python -m tests.predict_chaos MODEL INPUT OUTPUT IF_EXISTS CALL SECONDS

polars cannot be used in a forked process, so each kill takes a process that imports everything.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

from estimator import verbs
from estimator.data.sinks import FileSink, sink_for
from estimator.data.sources.address import locate
from estimator.data.sources.opener import open_source
from estimator.store.batch_prediction import predict_source
from tests.chaos import n_calls_until_killed

# What is in the table before, where rows are appended or replaced.
OLD_ROWS = [(-1, 1.0), (-2, 2.0), (-3, 3.0)]
COLUMNS = "row BIGINT, prediction DOUBLE PRECISION, prediction_low DOUBLE PRECISION, prediction_high DOUBLE PRECISION"
SQLITE = "sqlite:///"
UNFINISHED = Path("unfinished")


def main(model: str, table: str, output: str, if_exists: str, call: int, seconds: float) -> None:
    """Finish and check the run that was killed, then begin a new one, to be killed before a call or after a time."""
    mode: Any = None if if_exists == "none" else if_exists
    predictor = verbs.Context().version(model).predictor

    def predict(sink: Any) -> int:
        with open_source(table) as source:
            return predict_source(predictor, source, sink).rows

    whole = Path("whole.parquet")
    if not whole.exists():
        predict(FileSink(whole))
        prepare(output, mode)
    run = partial(predict, sink_for(output, os.environ, table=mode and "answers", if_exists=mode))
    expected = [*reversed([value for _, value in OLD_ROWS])] if mode == "append" else []
    expected += pl.read_parquet(whole)["prediction"].to_list()
    if UNFINISHED.exists():
        finish(run, output, expected, mode)
    prepare(output, mode)
    UNFINISHED.touch()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    print(finish(run, output, expected, mode, call))


def finish(run: Callable[[], int], output: str, expected: list[Any], mode: str | None, call: int = 0) -> int:
    """Run to the end, unless that is killed before a call, check what came, and return the number of calls."""
    n_rows = []
    n_calls = n_calls_until_killed(lambda: n_rows.append(run()), call)
    # From here on the user knows that it is done.
    signal.setitimer(signal.ITIMER_REAL, 0)
    UNFINISHED.unlink()
    check(n_rows[0], output, expected, mode)
    return n_calls


def check(n_rows: int, output: str, expected: list[Any], mode: str | None) -> None:
    """Check that all rows are there once, that their number was printed, and that nothing else was left."""
    assert read(output) == expected, (len(read(output)), len(expected))
    assert n_rows == len(expected) - (len(OLD_ROWS) if mode == "append" else 0), n_rows
    hidden = [path.name for path in Path().iterdir() if path.name.startswith(".")]
    assert hidden == [], hidden


def read(output: str) -> list[Any]:
    """Return the predictions that were written, in the order of their rows."""
    query = "SELECT prediction FROM answers ORDER BY row, prediction"
    if output.startswith(SQLITE):
        with sqlite3.connect(output.removeprefix(SQLITE)) as connection:
            return [row[0] for row in connection.execute(query)]
    if output.startswith("postgresql"):
        with psycopg.connect(locate(output, os.environ).url) as server:
            return [row[0] for row in server.execute(query)]
    frame = pl.read_csv(output) if output.endswith(".csv") else pl.read_parquet(output)
    return frame["prediction"].to_list()


def prepare(output: str, mode: str | None) -> None:
    """Restore what was there before: nothing, or a table with some rows."""
    inserts = [f"INSERT INTO answers (row, prediction) VALUES ({row}, {value})" for row, value in OLD_ROWS]
    statements = [f"CREATE TABLE answers ({COLUMNS})", *inserts] if mode in ("append", "replace") else []
    if output.startswith("postgresql"):
        with psycopg.connect(locate(output, os.environ).url) as server:
            for statement in ("DROP TABLE IF EXISTS answers", *statements):
                server.execute(statement.encode())
        return
    Path(output.removeprefix(SQLITE)).unlink(missing_ok=True)
    if statements:
        with sqlite3.connect(output.removeprefix(SQLITE)) as connection:
            connection.executescript("; ".join(statements))


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6]))
