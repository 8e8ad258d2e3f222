"""Which planted leaks `explore` finds, and which good columns it calls leaks, on public tables.

Every table is explored as it is, and once with each kind of leak planted in it. A leak is found if a finding of high or
medium severity names its column; a false alarm is such a finding that names neither it nor a true leak of the table.
Tables marked `check` were looked at only when the rules were done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from leaks_tables import SOURCES
from package_tables import file_name, write_package_tables
from processes import CACHE, machine_line

from estimator.data.schema.inference import infer_schema
from estimator.data.sources.opener import open_source
from estimator.exploration import profile_table
from estimator.exploration.findings import Finding, run_rules

RULES = ("leakage", "future information", "grouped rows")
MAX_ROWS = 5000
PLANTED = "planted column"
FAST = 12

# Development tables, by their path in the folder: the target, and columns that are true leaks of it.
FOLDER: dict[str, tuple[str, tuple[str, ...]]] = {
    "adult/adult.csv.gz": ("income-per-year", ()),
    "airbnb_munich/listings.csv.gz": ("review_scores_rating", ("review_scores_value",)),
    "ames_full/ames_full.csv.gz": ("price", ()),
    "bank_marketing/bank-additional-full.csv.gz": ("y", ("duration",)),
    "bengaluru_raw/Bengaluru_House_Data.csv.gz": ("price", ()),
    "bike_sharing/hour.csv.gz": ("cnt", ("casual", "registered")),
    "california_housing/housing.csv.gz": ("median_house_value", ()),
    "credit_default/UCI_Credit_Card.csv.gz": ("default.payment.next.month", ()),
    "ebay_autos_latin1/autos.csv.gz": ("powerPS", ("lastSeen",)),
    "elec2/elec2.csv.gz": ("price_up", ()),
    "hdb_resale/reference_2017_2018.parquet": ("resale_price", ()),
    "hotel_bookings/bookings.csv.gz": ("adr", ("assigned_room_type",)),
    "king_county/king_county.csv.gz": ("price", ()),
    "melbourne/melb_data.csv.gz": ("Price", ()),
    "messy_sales/truth.parquet": ("price", ()),
    "nyc_flights/reference_2013-01_03.parquet": ("arr_late15", ("arr_delay", "dep_delay", "arr_time", "air_time")),
    "nyc_taxi/reference_2018.parquet": (
        "fare_amount",
        ("total_amount", "tip_amount", "tolls_amount", "dropoff_datetime"),
    ),
    "telco_churn/Telco-Customer-Churn.csv.gz": ("Churn", ()),
    "wine_quality/winequality.csv": ("quality", ()),
}


@dataclass(frozen=True)
class Table:
    """Rows, their target, and the columns that leak it as they are."""

    name: str
    rows: pl.DataFrame
    target: str
    leaks: tuple[str, ...]
    is_check: bool

    @property
    def is_numeric(self) -> bool:
        """Whether the target is a number of more than a few values."""
        return self.rows[self.target].dtype.is_numeric() and self.rows[self.target].n_unique() > FAST

    def outcome(self) -> np.ndarray:
        """Return the target as numbers; classes are numbered in their order."""
        series = self.rows[self.target]
        return (series if self.is_numeric else series.cast(pl.String).rank("dense")).cast(pl.Float64).to_numpy()


def noisy_proxy(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """The target with noise of 15% of its deviation."""
    y = table.outcome()
    return with_column(table, y + 0.15 * y.std() * draw.standard_normal(len(y)))


def exact_copy(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """The target once more, in another unit; classes with other names."""
    y = table.outcome()
    return with_column(table, 2.54 * y + 7 if table.is_numeric else [f"group {value:.0f}" for value in y])


def rounded_copy(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """The target rounded to some fifteen values."""
    y = table.outcome()
    return with_column(table, np.round(y / y.std() * 4) if table.is_numeric else y)


def sum_of_parts(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """Two columns that add up to the target, with an error of 1%."""
    if not table.is_numeric:
        return None
    y = table.outcome()
    part = y * draw.uniform(0.1, 0.9, len(y))
    rest = y - part + 0.01 * y.std() * draw.standard_normal(len(y))
    return with_column(table, part).with_columns(pl.Series("other part", rest))


def later_column(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """Two times of each row, of which the later one comes sooner or later depending on the target."""
    y = table.outcome()
    opened = np.datetime64("2020-01-01") + draw.integers(0, 900, len(y)).astype("timedelta64[D]")
    days = 1 + np.round(40 * np.argsort(np.argsort(y)) / len(y) * draw.uniform(0.7, 1.3, len(y))).astype(int)
    return with_column(table, opened + days.astype("timedelta64[D]")).with_columns(pl.Series("opened", opened))


def sorted_identifier(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """Numbers that were given to the rows in the order of the target."""
    order = np.lexsort((draw.random(table.rows.height), table.outcome()))
    numbers = np.empty(len(order), np.int64)
    numbers[order] = 100_000 + np.arange(len(order))
    return with_column(table, numbers)


def group_leak(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """Every row three times with slightly other numbers, and a column that says which belong together."""
    n = table.rows.height
    rows = np.concatenate([np.arange(n)] * 3)[: max(n, 300)] if n < 300 else np.repeat(np.arange(n // 3), 3)
    frame = table.rows[rows]
    jittered = [
        pl.Series(name, frame[name].to_numpy() + 0.01 * np.nanstd(frame[name]) * draw.standard_normal(len(rows)))
        for name in frame.columns
        if name != table.target and frame[name].dtype.is_float()
    ]
    keys = draw.permutation(n + 1000)[rows]
    frame = frame.with_columns(*jittered, pl.Series(PLANTED, keys))
    return frame.sample(fraction=1.0, shuffle=True, seed=1)


def recoded_categories(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """A letter for each class, or for each of eight ranges of a number."""
    y = table.outcome()
    if table.is_numeric:
        y = np.searchsorted(np.unique(np.quantile(y, np.linspace(0, 1, 9)[1:-1])), y, side="right")
    letters = np.array(list("qwertyuiopasdfghjklzxcvbnm"))
    return with_column(table, letters[y.astype(int) % len(letters)])


def missing_by_target(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """Numbers at random that are missing where the target is large, or of its most frequent class; 1% are not."""
    y = table.outcome()
    values, counts = np.unique(y, return_counts=True)
    missing = y > np.quantile(y, 0.7) if table.is_numeric else y == values[counts.argmax()]
    missing ^= draw.random(len(y)) < 0.01
    return with_column(table, pl.Series(np.where(missing, np.nan, draw.standard_normal(len(y)))).fill_nan(None))


def target_means(table: Table, draw: np.random.Generator) -> pl.DataFrame | None:
    """The mean of the target over groups of some fifteen rows, each row's own target included."""
    y = table.outcome()
    y = y if table.is_numeric else (y == np.unique(y)[-1]).astype(float)
    groups = draw.integers(0, max(len(y) // 15, 2), len(y))
    means = np.bincount(groups, y) / np.maximum(np.bincount(groups), 1)
    return with_column(table, means[groups])


Plant = Callable[[Table, np.random.Generator], pl.DataFrame | None]
PLANTS: Sequence[Plant] = (
    noisy_proxy, exact_copy, rounded_copy, sum_of_parts, later_column, sorted_identifier, group_leak,
    recoded_categories, missing_by_target, target_means,
)  # fmt: skip


def with_column(table: Table, values: object) -> pl.DataFrame:
    """Return the rows with the planted column before the others."""
    return table.rows.select(pl.Series(PLANTED, values), pl.all())  # type: ignore[arg-type] # arrays, lists, series


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """Yield the tables of the packages and of the folder; every second one is for the check."""
    folder = write_package_tables(options.environments, [(source, key) for source, key, *_ in SOURCES.values()])
    known = [
        (name, folder / file_name(source, key), target, (), dropped)
        for name, (source, key, target, dropped) in SOURCES.items()
    ]
    if options.tables:
        known += [(path.split("/")[0], options.tables / path, *rest, ()) for path, rest in FOLDER.items()]
    for index, (name, path, target, leaks, dropped) in enumerate(sorted(known)):
        is_check = index % 2 == 1
        if (options.half in ("all", "check" if is_check else "open")) and (not options.only or name in options.only):
            with open_source(str(path)) as source:
                rows = source.frame().drop(dropped, strict=False).filter(pl.col(target).is_not_null())
            yield Table(name, typed(rows), target, tuple(leaks), is_check)


def typed(rows: pl.DataFrame) -> pl.DataFrame:
    """Return at most 5,000 rows at random; columns whose texts are all numbers as numbers."""
    rows = rows.sample(min(rows.height, MAX_ROWS), seed=0)
    columns = []
    for series in rows.iter_columns():
        texts = series.cast(pl.String).replace(["NA", "", "?"], [None] * 3) if series.dtype == pl.String else series
        numbers = texts.cast(pl.Float64, strict=False) if texts.dtype == pl.String else texts
        columns.append(numbers if numbers.null_count() == texts.null_count() else series)
    return pl.DataFrame(columns)


def findings_of(rows: pl.DataFrame, target: str) -> list[Finding]:
    """Return what explore finds about leaks in rows, written as text as a file would have them."""
    schema = infer_schema(rows, target)
    found = run_rules(schema, profile_table(schema, [rows]), rows)
    return [item for item in found if item.rule in RULES and item.severity in ("high", "medium")]


@dataclass
class Score:
    """Counts over tables. Mutable."""

    planted: int = 0
    found: int = 0
    tables: int = 0
    high: int = 0
    medium: int = 0

    def __str__(self) -> str:
        recall = self.found / max(self.planted, 1)
        per_ten = 10 * self.high / max(self.tables, 1), 10 * self.medium / max(self.tables, 1)
        return (
            f"recall {self.found} of {self.planted} = {recall:.3f}; in ten tables {per_ten[0]:.1f} false alarms of "
            f"high severity and {per_ten[1]:.1f} of medium"
        )


def measure(table: Table, score: Score, by_plant: dict[str, Score]) -> str:
    """Explore a table as it is and with each leak, add to the scores, and return its row of the printed table."""
    before = findings_of(table.rows, table.target)
    false = [item for item in before if item.rule == "leakage" and not set(item.columns) & set(table.leaks)]
    high = [item for item in false if item.severity == "high"]
    score.tables += 1
    score.high += len(high)
    score.medium += len(false) - len(high)
    missed = []
    draw = np.random.default_rng(7)
    for plant in PLANTS:
        rows = plant(table, draw)
        if rows is None:
            continue
        hit = any(PLANTED in item.columns for item in findings_of(rows, table.target))
        for one in (score, by_plant.setdefault(plant.__name__, Score())):
            one.planted += 1
            one.found += hit
        missed += [] if hit else [plant.__name__]
    alarms = "; ".join(f"{item.severity}: {', '.join(item.columns)}" for item in false)
    kind = "number" if table.is_numeric else "classes"
    half = "check" if table.is_check else "open"
    return f"| {table.name:<18} | {half:<5} | {kind:<7} | {table.rows.height:>5} | {', '.join(missed)} | {alarms} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, metavar="DIR", help="also the development tables there")
    parser.add_argument("--half", choices=("all", "open", "check"), default="all", help="which tables; %(default)s")
    parser.add_argument("--only", action="append", metavar="NAME", help="only these tables")
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="DIR", help="where packages are installed")
    options = parser.parse_args()
    print(machine_line(("polars", "numpy"), {}), "", sep="\n")
    print("| table | half | target | rows | missed | false alarms |\n|---|---|---|---|---|---|", flush=True)
    halves, by_plant = {"open": Score(), "check": Score()}, {}
    for table in tables(options):
        half = halves["check" if table.is_check else "open"]
        print(measure(table, half, by_plant), flush=True)
    print()
    for name, score in halves.items():
        print(f"- {name}: {score}")
    for name, score in by_plant.items():
        print(f"- {name}: {score.found} of {score.planted}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
