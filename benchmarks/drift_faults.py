"""How often a diagnosis calls a real change a data fault, and a fault by its name, on the tables of `drift_tables`.

Real changes are the later windows of each table, at random and in the order in which their rows stand in the file.
Faults are injected into held-out rows of the period of the reference, column by column. Units are not rounded, and
values that the schema does not accept are read as missing, as a monitor does. Times an hour later should not be
named, as summer time is no fault.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import drift_tables
import numpy as np
import polars as pl
from drift import DATA
from drift_ours import reference_of
from drift_tables import QUIET, Pool, pools, window

from estimator.core.task import Predictions
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.drift import CurrentRows, DriftReference
from estimator.monitoring.diagnosis import diagnose_rows

SIZES, N_WINDOWS, N_CHANGES, N_PAIRS = (50, 200, 1000), 4, 6, 6
# A column of fewer values has no unit that could be seen.
MIN_VALUES, MISSING_FRACTION = 12, 0.4
# Columns of times, which the drift benchmark leaves out; hours by which they move.
TIMES, HOURS = ("pickup_datetime", "dropoff_datetime", "time_hour", "timestamp"), (5, -8, 1)
UNITS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "0.3048": lambda values: values * 0.3048,
    "1000": lambda values: values * 1000.0,
    "0.01": lambda values: values / 100.0,
    "10.76": lambda values: values * 10.7639104,
}


@dataclass(frozen=True)
class Injected:
    """Rows with a fault in some columns, and words of its name."""

    kind: str
    columns: tuple[str, ...]
    rows: pl.DataFrame
    words: tuple[str, ...]


def faults_of(schema: Schema, reference: DriftReference, rows: pl.DataFrame) -> dict[str, str]:
    """Return the likely fault of each column that a diagnosis shows."""
    batch = read_frame(schema, rows, drop_faulty=True)
    current = CurrentRows.of(reference, batch, Predictions(np.zeros(batch.n_rows)))
    e_values = dict.fromkeys(reference.by_name, 1.0)
    diagnosis = diagnose_rows(reference, current, e_values, lambda index: {})
    return {moved.column: moved.data_fault for moved in diagnosis.columns if moved.data_fault is not None}


def lenient(schema: Schema) -> Schema:
    """Return a schema that accepts any number where whole ones are usual, and missing values."""
    kinds = {"integer": "number"}
    columns = (replace(column, kind=kinds.get(column.kind, column.kind), nullable=True) for column in schema.columns)
    return replace(schema, columns=tuple(columns))


def injected(schema: Schema, rows: pl.DataFrame, generator: np.random.Generator) -> Iterator[Injected]:
    """Yield every fault in every column that can have it, and some pairs of exchanged columns."""
    numbers = [
        column.name
        for column in schema.features
        if column.kind in ("number", "integer") and rows[column.name].n_unique() >= MIN_VALUES
    ]
    texts = [
        column.name for column in schema.features if column.kind == "category" and rows[column.name].n_unique() > 1
    ]
    for name in numbers:
        values = rows[name].cast(pl.Float64)
        for factor, convert in UNITS.items():
            if values.median():
                yield Injected(f"x {factor}", (name,), rows.with_columns(convert(values)), ("another unit", factor))
        constant = pl.lit(values.median()).alias(name)
        yield Injected("constant", (name,), rows.with_columns(constant), ("is constant",))
    for name in (name for name in ("temp", "dewp") if name in numbers):
        converted = rows.with_columns((pl.col(name) - 32.0) / 1.8)
        yield Injected("F to C", (name,), converted, ("another unit", "Celsius"))
    for name in (*numbers, *texts):
        if rows[name].null_count() < rows.height / 2:
            is_kept = pl.Series(generator.random(rows.height) >= MISSING_FRACTION)
            yield Injected("missing", (name,), rows.with_columns(pl.when(is_kept).then(pl.col(name))), ("is missing",))
    for name in texts:
        upper = rows[name].str.to_uppercase()
        respelled = rows[name].str.to_lowercase() if upper.equals(rows[name]) else upper
        yield Injected("other case", (name,), rows.with_columns(respelled), ("another spelling",))
        codes = {value: f"K{index}" for index, value in enumerate(rows[name].drop_nulls().unique(maintain_order=True))}
        yield Injected("new codes", (name,), rows.with_columns(rows[name].replace(codes)), ("unknown categories",))
    for column in (column for column in schema.features if column.kind == "datetime"):
        times = rows[column.name].str.to_datetime(strict=False)
        for hours in HOURS:
            moved = (times + timedelta(hours=hours)).dt.strftime("%Y-%m-%d %H:%M:%S")
            words = f"{abs(hours)} hours {'later' if hours > 0 else 'earlier'}"
            yield Injected(f"times {hours:+} h", (column.name,), rows.with_columns(moved), (words,))
        lost = times.dt.strftime("%Y-%m-%d 00:00:00")
        yield Injected("times lost", (column.name,), rows.with_columns(lost), ("lost its times",))
    pairs = list(combinations(numbers, 2))
    for index in generator.permutation(len(pairs))[:N_PAIRS]:
        first, second = pairs[index]
        exchanged = rows.with_columns(pl.col(first).alias(second), pl.col(second).alias(first))
        yield Injected("exchanged", (first, second), exchanged, ("exchanged",))


def changes(pool: Pool, n_rows: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield windows of rows that really changed, at random and in their order."""
    for kind, rows in pool.drifted.items():
        for index in range(N_WINDOWS):
            yield "at random", window(pool, kind, n_rows, index)
            yield "in their order", rows.slice((rows.height - n_rows) * index // (N_WINDOWS - 1), n_rows)


def main() -> None:
    """Measure and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where the tables are; %(default)s")
    drift_tables.N_DRIFTED = N_CHANGES
    called, named, total = Counter[str](), Counter[str](), Counter[str]()
    for pool in pools(parser.parse_args().data, kept=TIMES):
        schema, reference = reference_of(pool.frame_reference)
        schema = lenient(schema)
        for n_rows in SIZES:
            windows = [
                *changes(pool, n_rows),
                *((QUIET, window(pool, QUIET, n_rows, index)) for index in range(N_WINDOWS)),
            ]
            for kind, rows in windows:
                total[kind] += 1
                called[kind] += bool(faults_of(schema, reference, rows))
            quiet = window(pool, QUIET, n_rows, N_WINDOWS)
            for case in injected(schema, quiet, np.random.default_rng(n_rows)):
                faults = faults_of(schema, reference, case.rows)
                total[f"{case.kind}, {n_rows} rows"] += 1
                named[f"{case.kind}, {n_rows} rows"] += any(
                    all(words in faults.get(column, "") for words in case.words) for column in case.columns
                )
    for kind, count in total.items():
        print(
            f"{kind}: {called[kind]} of {count} called a fault"
            if kind in called
            else f"{kind}: {named[kind]} of {count} named"
        )


if __name__ == "__main__":
    main()
