"""The tables of the quality benchmark (quality_tables.csv): read by the schema, without leaks, split as they are used.

Rows are held out at random, by time (the latest third) or by group (whole groups), as it would be in use: random splits
of timed or grouped rows rank models by what they remember. By time there is one split, whatever the seed.
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from package_tables import LOADERS, file_name, package_folder, write_package_tables
from processes import CACHE

from estimator.config import resolve
from estimator.data.schema import IGNORED_KINDS, Column
from estimator.data.schema.column import TIME_KINDS
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import infer_schema
from estimator.data.sources.opener import open_source
from estimator.data.splitting import held_out_mask
from estimator.verbs.context import SHELVES

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
PART_COLUMN = "part"
MAX_ROWS, TEST_SIZE, MADE_ROWS = 12_000, 1 / 3, 1_000_000
# Neighbors in time, and rows of a group, are alike: what is uncertain is counted by such blocks.
N_BLOCKS = 20


@dataclass(frozen=True)
class Table:
    """One table and its target.

    `split` is random, time or group, the latter two by `column`. `part` is develop or check: tables to look at while
    changing something, and when done. `dropped` are ids, row weights and columns known only after the target.
    """

    name: str
    source: str
    path: str
    target: str
    task: str
    split: str
    column: str
    part: str
    size: str
    dropped: tuple[str, ...]
    licence: str

    @property
    def is_large(self) -> bool:
        """Whether all rows are used, not at most 12,000, and only on request."""
        return self.size == "large"

    @property
    def definition(self) -> str:
        """A fingerprint of how the rows are read and split; results of another one are of no use."""
        decisive = (self.source, self.path, self.target, self.task, self.split, self.column, self.size, self.dropped)
        return hashlib.sha256(repr((decisive, MAX_ROWS, TEST_SIZE)).encode()).hexdigest()[:12]

    def training(self, seed: int) -> dict[str, Any]:
        """Return the section `training` of the config that holds out the same rows, and validates in the same way."""
        if self.split == "random":
            return {"seed": seed, "split": {"kind": "column", "column": PART_COLUMN, "test": "test"}}
        return {"seed": seed, "test_size": TEST_SIZE, "split": {"kind": self.split, "column": self.column}}


@dataclass(frozen=True)
class SplitTable:
    """A table split by one seed, as a file; `fingerprint` is that of its rows and their split.

    `blocks` numbers the block of each held-out row.
    """

    table: Table
    seed: int
    path: Path
    fingerprint: str
    held_out: Any
    actual: Any
    blocks: Any
    classes: Sequence[str]


def read_tables() -> tuple[Table, ...]:
    """Read the list of tables."""
    with Path(__file__).with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(Table(**row | {"dropped": tuple(filter(None, row["dropped"].split(";")))}) for row in rows)


TABLES = read_tables()


def autos_with_prices(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Remove signs and units from the numbers, and leave out implausible prices."""
    plain = [pl.col(name).str.replace_all(r"[^\d.]", "") for name in ("price", "odometer")]
    return rows.with_columns(plain).filter(pl.col("price").cast(pl.Float64).is_between(100, 150_000))


def listings_with_prices(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Write prices as numbers, and leave out missing and implausible ones."""
    price = pl.col("price").str.replace_all(r"[$,]", "").cast(pl.Float64, strict=False)
    return rows.with_columns(price).filter(pl.col("price").is_between(10, 2_000))


def bookings_with_labels(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Add whether each booking was cancelled."""
    labels = read_text(path.parent / "labels.csv.gz").select("booking_id", "is_canceled")
    return rows.join(labels, on="booking_id")


def flights_that_arrived(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Leave out flights that never came, and write the label as a class."""
    return rows.filter(pl.col("arr_late15").is_not_null()).with_columns(pl.col("arr_late15").cast(pl.Int8))


def rides_with_fares(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Leave out refunds and implausible fares."""
    return rows.filter(pl.col("fare_amount").cast(pl.Float64).is_between(2.5, 200))


def matches_with_results(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Add who won."""
    goals = pl.col("HomeGoals").cast(pl.Int64) - pl.col("AwayGoals").cast(pl.Int64)
    result = pl.when(goals > 0).then(pl.lit("home")).when(goals < 0).then(pl.lit("away")).otherwise(pl.lit("draw"))
    return rows.with_columns(result.alias("result"))


def visits_of_persons(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Number the persons of both centers."""
    return rows.with_columns(pl.concat_str("center", "id", separator="-").alias("person"))


def wines_of_common_quality(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Leave out the classes with too few rows to be in every split."""
    return rows.filter(pl.col("quality").is_in(["4", "5", "6", "7", "8"]))


# These clean the rows as they stand in the file, whose path they are given.
PREPARATIONS: Mapping[str, Callable[[pl.DataFrame, Path], pl.DataFrame]] = {
    "airbnb": listings_with_prices,
    "bundesliga": matches_with_results,
    "ebay_autos": autos_with_prices,
    "hotel_bookings": bookings_with_labels,
    "nyc_flights": flights_that_arrived,
    "nyc_flights_all": flights_that_arrived,
    "nyc_taxi": rides_with_fares,
    "nyc_taxi_all": rides_with_fares,
    "respiratory": visits_of_persons,
    "wine_levels": wines_of_common_quality,
}


def location(table: Table, shared: Path = SHARED, environments: Path = CACHE) -> Path:
    """Return the path, or the pattern of paths, of a table."""
    if table.source in LOADERS:
        return package_folder(environments) / file_name(table.source, table.path)
    if table.source == "made":
        return package_folder(environments) / f"{table.path}.parquet"
    return (EXAMPLES if table.source == "examples" else shared) / table.path


def is_available(table: Table, shared: Path = SHARED, environments: Path = CACHE) -> bool:
    """Whether the files of a table exist."""
    where = location(table, shared, environments)
    return any(where.parent.glob(where.name))


def write_sources(tables: Sequence[Table], shared: Path, environments: Path) -> None:
    """Write the files of tables that packages carry or a script makes, where they are missing."""
    write_package_tables(environments, [(table.source, table.path) for table in tables if table.source in LOADERS])
    script = shared.parent / "make_big.py"
    for table in tables:
        path = location(table, shared, environments)
        if table.source == "made" and script.exists() and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, str(script), "--rows", str(MADE_ROWS), "--out", str(path)], check=True)


def read_typed(table: Table, shared: Path = SHARED, environments: Path = CACHE) -> pl.DataFrame:
    """Read a whole table by its schema, without duplicate rows, so that no held-out row is also learned from."""
    where = location(table, shared, environments)
    rows = PREPARATIONS.get(table.name, lambda rows, path: rows)(read_text(where), where)
    rows = rows.drop(table.dropped).unique(maintain_order=True)
    schema = infer_schema(rows, table.target)
    features = [typed(column, rows[column.name]) for column in schema.columns if column.kind != "constant"]
    # Classes keep their spelling, whatever they look like.
    dtype = pl.Float64 if table.task == "regression" else pl.String
    target = rows[table.target].cast(pl.String).str.strip_chars().replace("", None).cast(dtype)
    frame = pl.DataFrame([series for series in features if series.name != table.target]).with_columns(target)
    return frame.filter(pl.col(table.target).is_not_null())


def read_text(path: Path) -> pl.DataFrame:
    """Read the files of a path or pattern; the cells of a csv stay text."""
    if path.suffix == ".parquet":
        # A column of whole numbers is one of floats in files with missing values.
        return pl.concat(
            [pl.read_parquet(file) for file in sorted(path.parent.glob(path.name))], how="vertical_relaxed"
        )
    with open_source(str(path)) as source:
        return source.frame()


def typed(column: Column, series: pl.Series) -> pl.Series:
    """Return a column with the type that the schema reads it as; ids and free text stay as they are."""
    if column.kind in IGNORED_KINDS:
        return series
    values, faults = read_series(column, series)
    assert not faults, faults[0]
    if column.is_string:
        return pl.Series(column.name, values[:, 0].tolist(), dtype=pl.String).replace("", None)
    numbers = pl.Series(column.name, values[:, 0]).fill_nan(None)
    if column.kind in TIME_KINDS:
        return (numbers * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))
    return numbers.cast({"integer": pl.Int64, "boolean": pl.Boolean}.get(column.kind, pl.Float64))


def write_split(table: Table, frame: pl.DataFrame, seed: int, folder: Path) -> SplitTable:
    """Draw the rows of one seed, mark those held out, and write them as the one file that all competitors read."""
    rows = drawn_rows(table, frame, seed)
    held_out = held_out_rows(table, rows, seed)
    check_split(table, rows, held_out)
    rows = rows.with_columns(pl.Series(PART_COLUMN, np.where(held_out, "test", "train").tolist()))
    path = folder / f"{table.name}-{seed}.parquet"
    rows.write_parquet(path)
    classes = [] if table.task == "regression" else sorted(rows[table.target].unique().to_list())
    fingerprint = hashlib.sha256(rows.write_csv().encode()).hexdigest()[:12]
    test = rows.filter(pl.Series(held_out))
    return SplitTable(
        table, seed, path, fingerprint, held_out, test[table.target].to_numpy(), blocks_of(table, test), classes
    )


def drawn_rows(table: Table, frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the rows of one seed, in random order; by time the same for each seed, and in the order of time."""
    n_rows = frame.height if table.is_large else MAX_ROWS
    if table.split == "time":
        order = np.random.default_rng([0, 20]).permutation(frame.height)[:n_rows]
        return frame[order.tolist()].sort(table.column, maintain_order=True)
    return frame[np.random.default_rng([seed, 20]).permutation(frame.height)[:n_rows].tolist()]


def held_out_rows(table: Table, rows: pl.DataFrame, seed: int) -> Any:
    """Return the mask of the rows held out: of rows in random order the first ones, else as `estimator train` does."""
    if table.split == "random":
        return np.arange(rows.height) < round(rows.height * TEST_SIZE)
    data = {"path": "rows.parquet", "target": table.target}
    return held_out_mask(rows, resolve({"data": data, "training": table.training(seed)}, SHELVES), None)


def check_split(table: Table, rows: pl.DataFrame, held_out: Any) -> None:
    """Stop if held-out rows are among the training rows, by a time or a group too, or have a class that those lack."""
    train, test = rows.filter(pl.Series(~held_out)), rows.filter(pl.Series(held_out))
    faults = []
    if train.is_empty() or test.is_empty() or rows.is_duplicated().any():
        faults.append("a part is empty, or a row is there twice")
    if table.split == "group" and set(train[table.column]) & set(test[table.column]):
        faults.append(f"a group of {table.column!r} is in both parts")
    if table.split == "time" and not train[table.column].max() < test[table.column].min():
        faults.append(f"{table.column!r}: a training row is not older than all held-out rows")
    if table.task != "regression" and set(test[table.target]) - set(train[table.target]):
        faults.append("a class of the held-out rows is not among the training rows")
    if faults:
        raise SystemExit(f"{table.name}: {'; '.join(faults)}")


def blocks_of(table: Table, test: pl.DataFrame) -> Any:
    """Return a block for each held-out row: runs of time, whole groups, or, of rows in random order, any."""
    if table.split == "time":
        return np.arange(test.height) * N_BLOCKS // test.height
    if table.split == "group":
        return (test[table.column].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(int) - 1) % N_BLOCKS
    return np.arange(test.height) % N_BLOCKS
