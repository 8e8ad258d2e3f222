"""The tables of the drift benchmark: reference rows, held-out rows of the same period, and drifted rows.

Real tables, in windows as their publishers cut them: by date, by area or by row. All rules get the same columns:
without ids, the target, columns known only after it, and time, which always moves, so that any rule would detect it.
King County by area is without its location as well. A column without any value in the reference is left out, because
some peers reject it.

King County by date is a quiet table for inputs: they hardly move (no population stability index of its months reaches
0.05), while their relation to the price does. It is listed in UNMOVED, so that its later months count neither as drift
nor, as they are not exchangeable with the reference to the last row, among the false alarms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import selectors

QUIET = "quiet"
MAX_ROWS = 10_000
REFERENCE_FRACTION = 2 / 3
N_DRIFTED = 3
# A window of a thousand rows must fit into every drifted pool.
MIN_ROWS = 1000
STREAM_WINDOWS, QUIET_WINDOWS = 50, 10
# Rows of the first period in their natural order: the reference, of which a stream is cut out.
MAX_NATURAL_ROWS = 60_000
UNMOVED = ("king_county_by_date",)


@dataclass(frozen=True)
class Table:
    """One table, cut into windows in a way that the manifest names.

    `codes` are numbers that only name something; `prepare` cleans the rows as they stand in the files of a folder.
    """

    name: str
    folder: str
    cut: str
    target: str
    dropped: Sequence[str]
    codes: Sequence[str] = ()
    prepare: Callable[[pl.DataFrame, Path], pl.DataFrame] = lambda rows, folder: rows


@dataclass(frozen=True)
class Pool:
    """The rows of one table: `quiet` ones are of the period of the reference, split from it at random.

    `natural` holds the rows of that period in the order of the table, as `drifted` does of later ones.
    """

    name: str
    frame_reference: pl.DataFrame
    target_reference: pl.Series
    quiet: pl.DataFrame
    drifted: Mapping[str, pl.DataFrame]
    natural: pl.DataFrame


@dataclass(frozen=True)
class Stream:
    """Rows in the order in which they come; `change` is how many come before the drifted ones, None if none do."""

    reference: pl.DataFrame
    rows: pl.DataFrame
    change: int | None


def flights_that_arrived(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Leave out flights that never came."""
    return rows.filter(pl.col("arr_late15").is_not_null())


def flats_with_lease(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Read "61 years 04 months" as whole years."""
    return rows.with_columns(pl.col("remaining_lease").str.extract(r"^(\d+)").cast(pl.Float64))


def bookings_with_labels(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Add whether each booking was cancelled."""
    labels = pl.read_csv(folder / "labels.csv.gz", columns=["booking_id", "is_canceled"])
    return rows.join(labels, on="booking_id", maintain_order="left")


HOUSE = ("id", "date")
LOCATION = ("lat", "long", "zipcode")
# The names of a plane, a flight and a block are ids.
FLIGHT_IDS = ("tailnum", "flight")
FLIGHT_TIME = ("year", "month", "day", "time_hour")
AFTER_THE_FLIGHT = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "cancelled")
RIDE_TIME = ("pickup_datetime", "dropoff_datetime")
AFTER_THE_RIDE = ("tip_amount", "tolls_amount", "total_amount")
RIDE_CODES = ("vendor_id", "rate_code_id", "payment_type", "pickup_location_id", "dropoff_location_id")
FLAT_IDS = ("id", "block", "street_name", "postal")
CALL_TIME = ("month", "day_of_week")
ARRIVAL = ("date", "date_year", "date_month", "date_week_number", "date_day_of_month")
BOOKING_TIME = ("booking_date", *(f"arrival_{part}" for part in ARRIVAL))
AFTER_THE_BOOKING = ("assigned_room_type", "booking_changes", "days_in_waiting_list")
TABLES = (
    Table("king_county_by_date", "king_county", "by_date", "price", HOUSE, codes=["zipcode"]),
    Table("king_county_by_area", "king_county", "by_area", "price", [*HOUSE, *LOCATION]),
    Table(
        "nyc_flights", "nyc_flights", "by_month", "arr_late15", [*FLIGHT_IDS, *FLIGHT_TIME, *AFTER_THE_FLIGHT],
        prepare=flights_that_arrived,
    ),
    Table("nyc_taxi", "nyc_taxi", "by_month", "fare_amount", [*RIDE_TIME, *AFTER_THE_RIDE], RIDE_CODES),
    Table("hdb_resale", "hdb_resale", "by_quarter", "resale_price", [*FLAT_IDS, "month"], prepare=flats_with_lease),
    Table("elec2", "elec2", "windows", "price_up", ["step", "timestamp"]),
    Table("bank_marketing", "bank_marketing", "by_row", "y", ["row", "duration", *CALL_TIME]),
    Table(
        "hotel_bookings", "hotel_bookings", "by_booking_month", "is_canceled",
        ["booking_id", *BOOKING_TIME, *AFTER_THE_BOOKING], ["agent", "company"], bookings_with_labels,
    ),
)  # fmt: skip


def pools(folder: Path, seed: int = 0, *, kept: Collection[str] = ()) -> Iterator[Pool]:
    """Yield the pools of every table, its rows split by the seed; `kept` are columns that are not left out.

    Of many drifted windows three are taken, the last among them, at even distances.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    cuts = {item["name"]: item.get("windows", {}) for item in manifest["datasets"]}
    for table in TABLES:
        first, *later = cuts[table.folder][table.cut]
        large = [window for window in later if window["rows"] >= MIN_ROWS]
        selected = [large[round(len(large) * (index + 1) / N_DRIFTED) - 1] for index in range(N_DRIFTED)]
        table = replace(table, dropped=[name for name in table.dropped if name not in kept])
        drifted = {window["window"]: read_window(table, window, folder) for window in selected}
        yield split_pool(table, read_window(table, first, folder), drifted, seed)


def read_window(table: Table, window: Mapping[str, Any], folder: Path) -> pl.DataFrame:
    """Read the rows of one window, the target among them: numbers as Float64, all else as String."""
    if "file" in window:
        rows = pl.read_parquet(folder / window["file"])
    else:
        whole = pl.read_csv(folder / table.folder / "bookings.csv.gz", null_values=["NULL", "NA"])
        bounds = window["first_booking_id"], window["last_booking_id"]
        rows = whole.filter(pl.col("booking_id").is_between(*bounds))
    rows = table.prepare(rows, folder / table.folder).drop(table.dropped)
    rows = rows.with_columns(pl.col(table.codes).cast(pl.String)) if table.codes else rows
    numbers = selectors.numeric() | selectors.boolean()
    return rows.with_columns(numbers.cast(pl.Float64), (~numbers).cast(pl.String))


def split_pool(table: Table, rows: pl.DataFrame, drifted: Mapping[str, pl.DataFrame], seed: int) -> Pool:
    """Split the rows of the first period into the reference and the quiet rows."""
    in_order, rows = rows, shuffled(rows, [seed, 1])
    n_reference = min(MAX_ROWS, int(rows.height * REFERENCE_FRACTION))
    reference = rows.head(n_reference)
    inputs = [column.name for column in reference.drop(table.target) if column.null_count() < reference.height]
    moved = {name: frame.select(inputs) for name, frame in drifted.items()}
    quiet = rows.slice(n_reference).select(inputs)
    natural = in_order.head(MAX_NATURAL_ROWS).select(inputs)
    return Pool(table.name, reference.select(inputs), reference[table.target], quiet, moved, natural)


def window(pool: Pool, kind: str, n: int, seed: int) -> pl.DataFrame:
    """Draw a window of n rows, none of them twice, from the quiet rows or from the drifted ones of that name."""
    return shuffled(pool.quiet if kind == QUIET else pool.drifted[kind], [seed, 2, n]).head(n)


def stream(pool: Pool, seed: int, changes: bool, window: int = 50) -> Stream:
    """Draw a stream of 50 windows.

    A quiet one and its reference are drawn from the rows of all periods, so they are exchangeable by construction. A
    changing one is quiet for 10 windows and then drifts for good; it is shorter where the drifted rows run out.
    """
    if changes:
        quiet = shuffled(pool.quiet, [seed, 3]).head(QUIET_WINDOWS * window)
        moved = shuffled(list(pool.drifted.values())[-1], [seed, 4])
        n_windows = min(moved.height // window, STREAM_WINDOWS - QUIET_WINDOWS)
        return Stream(pool.frame_reference, pl.concat([quiet, moved.head(n_windows * window)]), quiet.height)
    rows = shuffled(pl.concat([pool.frame_reference, pool.quiet, *pool.drifted.values()]), [seed, 5])
    n_rows = STREAM_WINDOWS * window
    return Stream(rows.slice(n_rows, MAX_ROWS), rows.head(n_rows), None)


def natural_stream(pool: Pool, seed: int, changes: bool, window: int = 50) -> Stream:
    """Draw a stream of 50 windows of rows that follow each other, cut out of the middle half of the first period.

    The reference is what is left before and after it, so that a quiet stream is no trend, only rows that share their
    hour, batch or season. A changing one goes on with the rows of the last drifted window after 10 windows.
    """
    n_rows = min(STREAM_WINDOWS * window, pool.natural.height // 4 // window * window)
    start = int(
        np.random.default_rng([seed, 6]).integers(pool.natural.height // 4, pool.natural.height * 3 // 4 - n_rows)
    )
    quiet = pool.natural.slice(start, n_rows)
    reference = pl.concat([pool.natural.head(start), pool.natural.slice(start + n_rows)])
    if not changes:
        return Stream(reference, quiet, None)
    moved = list(pool.drifted.values())[-1]
    n_windows = min(moved.height // window, STREAM_WINDOWS - QUIET_WINDOWS)
    before = quiet.head(QUIET_WINDOWS * window)
    return Stream(reference, pl.concat([before, moved.head(n_windows * window)]), before.height)


def shuffled(rows: pl.DataFrame, seed: Sequence[int]) -> pl.DataFrame:
    """Return the rows in an order drawn by the seed."""
    order: list[int] = np.random.default_rng(seed).permutation(rows.height).tolist()
    return rows[order]
