"""The tables of the quality benchmark: read by the schema, without columns that leak the target, split by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from estimator.data.schema import IGNORED_KINDS, Column
from estimator.data.schema.column import TIME_KINDS
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import infer_schema
from estimator.data.sources.opener import open_source

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PART_COLUMN = "part"
MAX_ROWS = 12_000
TEST_SIZE = 1 / 3


@dataclass(frozen=True)
class Table:
    """One table and its target.

    `dropped` are ids, row weights and columns known only after the target; `prepare` cleans the rows as they
    stand in the file, which lies in the folder it is given.
    """

    name: str
    path: str
    target: str
    task: str = "regression"
    dropped: Sequence[str] = ()
    prepare: Callable[[pl.DataFrame, Path], pl.DataFrame] = lambda rows, folder: rows
    is_example: bool = False


@dataclass(frozen=True)
class SplitTable:
    """A table split by one seed, as a file; `fingerprint` is that of its rows and their split."""

    table: Table
    seed: int
    path: Path
    fingerprint: str
    held_out: Any
    actual: Any
    classes: Sequence[str]


def autos_with_prices(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Remove signs and units from the numbers, and leave out implausible prices."""
    plain = [pl.col(name).str.replace_all(r"[^\d.]", "") for name in ("price", "odometer")]
    return rows.with_columns(plain).filter(pl.col("price").cast(pl.Float64).is_between(100, 150_000))


def bookings_with_labels(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Add whether each booking was cancelled."""
    labels = read_text(folder / "labels.csv.gz").select("booking_id", "is_canceled")
    return rows.join(labels, on="booking_id")


def flights_that_arrived(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Leave out flights that never came, and write the label as a class."""
    return rows.filter(pl.col("arr_late15").is_not_null()).with_columns(pl.col("arr_late15").cast(pl.Int8))


def wines_of_common_quality(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Leave out the classes with too few rows to be in every split."""
    return rows.filter(pl.col("quality").is_in(["4", "5", "6", "7", "8"]))


AFTER_THE_FLIGHT = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "cancelled")
AFTER_THE_BOOKING = ("assigned_room_type", "booking_changes", "days_in_waiting_list")
CLASSIFICATION = "classification"
TABLES = (
    Table("boston", "boston/boston.csv", "MEDV", is_example=True),
    Table("ames", "ames/ames.csv.gz", "Sale_Price", is_example=True),
    Table("king_county", "king_county/king_county.csv.gz", "price", dropped=["id"]),
    Table("california_housing", "california_housing/housing.csv.gz", "median_house_value"),
    Table("bike_sharing", "bike_sharing/hour.csv.gz", "cnt", dropped=["instant", "casual", "registered"]),
    Table("melbourne", "melbourne/*.csv.gz", "Price"),
    Table("ebay_autos", "ebay_autos_latin1/autos.csv.gz", "price", prepare=autos_with_prices),
    Table("hdb_resale", "hdb_resale/*.parquet", "resale_price", dropped=["id"]),
    Table("wine_quality", "wine_quality/winequality.csv", "quality"),
    Table("wine_levels", "wine_quality/winequality.csv", "quality", CLASSIFICATION, prepare=wines_of_common_quality),
    Table("credit", "credit/credit.csv", "Status", CLASSIFICATION, is_example=True),
    Table("penguins", "penguins/penguins.csv", "species", CLASSIFICATION, is_example=True),
    Table("adult", "adult/adult.csv.gz", "income-per-year", CLASSIFICATION, dropped=["fnlwgt"]),
    Table("telco_churn", "telco_churn/Telco-Customer-Churn.csv.gz", "Churn", CLASSIFICATION, dropped=["customerID"]),
    Table("credit_default", "credit_default/UCI_Credit_Card.csv.gz", "default.payment.next.month", CLASSIFICATION,
        ["ID"]),
    Table("bank_marketing", "bank_marketing/bank-additional-full.csv.gz", "y", CLASSIFICATION, dropped=["duration"]),
    Table(
        "hotel_bookings", "hotel_bookings/bookings.csv.gz", "is_canceled", CLASSIFICATION,
        dropped=["booking_id", *AFTER_THE_BOOKING], prepare=bookings_with_labels,
    ),
    Table("elec2", "elec2/elec2.csv.gz", "price_up", CLASSIFICATION, dropped=["step"]),
    Table("nyc_flights", "nyc_flights/*.parquet", "arr_late15", CLASSIFICATION, AFTER_THE_FLIGHT,
        prepare=flights_that_arrived),
)  # fmt: skip


def location(table: Table, folder: Path) -> Path:
    """Return the path, or the pattern of paths, of a table."""
    return (EXAMPLES if table.is_example else folder) / table.path


def is_available(table: Table, folder: Path) -> bool:
    """Whether the files of a table exist."""
    where = location(table, folder)
    return any(where.parent.glob(where.name))


def read_typed(table: Table, folder: Path) -> pl.DataFrame:
    """Read a whole table by its schema, without duplicate rows, so that no held-out row is also learned from."""
    where = location(table, folder)
    rows = table.prepare(read_text(where), where.parent).drop(table.dropped).unique(maintain_order=True)
    schema = infer_schema(rows, table.target)
    features = [typed(column, rows[column.name]) for column in schema.columns if column.kind != "constant"]
    # Classes keep their spelling, whatever they look like.
    dtype = pl.Float64 if table.task == "regression" else pl.String
    target = rows[table.target].cast(pl.String).str.strip_chars().cast(dtype)
    frame = pl.DataFrame([series for series in features if series.name != table.target]).with_columns(target)
    return frame.filter(pl.col(table.target).is_not_null())


def read_text(path: Path) -> pl.DataFrame:
    """Read the files of a path or pattern; the cells of a csv stay text."""
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
    order = np.random.default_rng([seed, 20]).permutation(frame.height)[:MAX_ROWS]
    n_held_out = round(len(order) * TEST_SIZE)
    held_out = np.arange(len(order)) < n_held_out
    rows = frame[order.tolist()].with_columns(pl.Series(PART_COLUMN, np.where(held_out, "test", "train").tolist()))
    path = folder / f"{table.name}-{seed}.parquet"
    rows.write_parquet(path)
    classes = [] if table.task == "regression" else sorted(rows[table.target].unique().to_list())
    fingerprint = hashlib.sha256(rows.write_csv().encode()).hexdigest()[:12]
    actual = rows[table.target].to_numpy()[held_out]
    return SplitTable(table, seed, path, fingerprint, held_out, actual, classes)
