"""Cases of the drift benchmark that random windows with strong changes leave out.

Rows that follow each other in more tables, rows in clusters, rows sent twice, small effects, and a shift in a column
that hardly any prediction depends on. All but the small effects and the last one are quiet: every alarm is false.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from drift_tables import QUIET, UNMOVED, Pool, natural_stream, shuffled, stream, window
from package_tables import file_name, write_package_tables
from polars import selectors

SIZES = (50, 200, 1000)
STREAM_ROWS, MAX_PARTS = 2500, 5
SMALL, CLUSTERS, ORDERED, UNUSED = "small effects", "clusters", "in natural order, more tables", "unused column"
QUIET_TWICE, QUIET_CLUSTERS = "quiet stream, every row sent twice", "quiet stream of clusters"
QUIET_ORDERED = "quiet stream in natural order, more tables"
DRIFTED_TWICE = "drifted, sent twice"
SHIFT = "a number shifted by {:g} of its interquartile range"
MOVED, MISSING = "a category loses 5 % of all rows to another", "5 % of a number missing"
EVERY_SHIFT = "every number shifted by 0.1 of its interquartile range"
CLUSTERED, CLUSTERED_SHIFT = "whole clusters", "whole clusters, a number shifted by 1 interquartile range"
UNRELATED_SHIFT, RELATED_SHIFT = "unrelated column shifted", "most important number shifted"
SHIFTS = (0.1, 0.25, 0.5)
# A number of fewer values cannot be shifted by a little.
MIN_VALUES = 50
# Of a number that is often the same, such as zero, every shift moves all of that.
MAX_MOVED = 0.12
UNRELATED = "unrelated"
Order = Literal["time", "file"]


@dataclass(frozen=True)
class Task:
    """Windows to be compared with a reference; in a stream they follow each other.

    `labels` says what each window is, and `change` how many rows of a stream come before those that drifted. `order` is
    what the rows of the reference are ordered by, None for at random; with a `target`, a model is trained on them.
    """

    pool: str
    seed: int
    kind: str
    reference: pl.DataFrame
    windows: Sequence[pl.DataFrame]
    labels: Sequence[str] = ()
    change: int | None = None
    order: Order | None = None
    target: pl.Series | None = None

    @property
    def n_rows(self) -> int:
        """The rows of a window."""
        return self.windows[0].height

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The rows of all windows."""
        return pl.concat(self.windows)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the rows."""
        text = self.reference.write_csv() + self.rows.write_csv()
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class OrderedTable:
    """A table whose file has an order; with a `cluster`, the column that says which rows belong together."""

    name: str
    file: str
    dropped: Sequence[str]
    order: Order = "file"
    cluster: str | None = None


# Ids, targets, times and texts are left out, and of clustered tables what is one value per cluster.
LISTING = (
    "id", "last_scraped", "source", "name", "description", "neighborhood_overview", "host_since", "host_location",
    "host_neighbourhood", "host_verifications", "neighbourhood", "amenities", "bathrooms_text", "calendar_updated",
    "calendar_last_scraped", "first_review", "last_review", "license", "neighbourhood_cleansed", "property_type",
)  # fmt: skip
RIDES = ("instant", "dteday", "yr", "mnth", "casual", "registered", "cnt")
SUBURB = ("Postcode", "CouncilArea", "Lattitude", "Longtitude", "Regionname", "Propertycount", "Distance")
HOUSE = ("Suburb", "Address", "SellerG", "Date", "Price", *SUBURB)
ORDERED_TABLES = (
    OrderedTable("bike_sharing", "bike_sharing/hour.csv.gz", RIDES, "time"),
    OrderedTable("california_housing", "california_housing/housing.csv.gz", ["median_house_value"]),
    OrderedTable("melbourne", "melbourne/melb_data.csv.gz", HOUSE),
    OrderedTable("airbnb_munich", "airbnb_munich/listings.csv.gz", LISTING),
    OrderedTable("wine_quality", "wine_quality/winequality.csv", ["quality"]),
    OrderedTable("adult", "adult/adult.csv.gz", ["income-per-year"]),
    OrderedTable("telco_churn", "telco_churn/Telco-Customer-Churn.csv.gz", ["customerID", "TotalCharges", "Churn"]),
)
# Young men over eight years, and workers over ten, come from the package pydataset.
PERSONS = (
    OrderedTable("men", "Ecdat/Males", ["year", "wage"], cluster="nr"),
    OrderedTable("workers", "Ecdat/LaborSupply", ["year", "lnwg"], cluster="id"),
)
CLUSTERED_TABLES = (
    OrderedTable("houses_by_suburb", "melbourne/melb_data.csv.gz", HOUSE[1:], cluster="Suburb"),
    OrderedTable(
        "houses_by_zipcode", "king_county/king_county.csv.gz", ["id", "date", "price", "lat", "long"], cluster="zipcode"
    ),
)


def small_tasks(pool: Pool, seed: int, n_windows: int) -> Iterator[Task]:
    """Yield quiet windows in which one column, or every number, changed a little."""
    for n_rows in SIZES:
        windows, labels = list[pl.DataFrame](), list[str]()
        for index in range(n_windows):
            number = index + seed * n_windows
            rows, generator = window(pool, QUIET, n_rows, number), np.random.default_rng([number, n_rows, 7])
            for label, changed in _small_changes(pool.frame_reference, rows, generator):
                windows.append(changed)
                labels.append(label)
        yield Task(pool.name, seed, SMALL, pool.frame_reference, windows, labels)


def _small_changes(
    reference: pl.DataFrame, rows: pl.DataFrame, generator: np.random.Generator
) -> Iterator[tuple[str, pl.DataFrame]]:
    yield QUIET, rows
    numbers = [name for name in _varied_numbers(reference) if _moved_by(reference, name, SHIFTS[0]) <= MAX_MOVED]
    if numbers:
        name = str(generator.choice(numbers))
        for size in SHIFTS:
            yield SHIFT.format(size), rows.with_columns(_shifted(reference, name, size))
        yield EVERY_SHIFT, rows.with_columns(_shifted(reference, each, SHIFTS[0]) for each in numbers)
        lost = pl.Series(generator.random(rows.height) < 0.05)
        yield MISSING, rows.with_columns(pl.when(lost).then(None).otherwise(pl.col(name)).alias(name))
    names = [name for name in rows.select(selectors.string()).columns if _common(reference, name) is not None]
    if names:
        name = str(generator.choice(names))
        first, second = _common(reference, name) or ("", "")
        # Of rows with the most common category, so many change that they are 5 % of all.
        chance = 0.05 / float((reference[name] == first).mean() or 1.0)
        moves = (rows[name] == first).fill_null(value=False) & pl.Series(generator.random(rows.height) < chance)
        yield MOVED, rows.with_columns(pl.when(moves).then(pl.lit(second)).otherwise(pl.col(name)).alias(name))


def _varied_numbers(rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.select(selectors.numeric()).columns if rows[name].n_unique() >= MIN_VALUES]


def _moved_by(reference: pl.DataFrame, name: str, size: float) -> float:
    """Return the largest distance between the distributions of a number and of the same number, shifted."""
    values = np.sort(reference[name].drop_nulls().to_numpy())
    moved = np.sort(reference.select(_shifted(reference, name, size))[name].drop_nulls().to_numpy())
    below = (np.searchsorted(rows, np.concatenate([values, moved]), "right") / len(rows) for rows in (values, moved))
    return float(np.abs(np.subtract(*below)).max())


def _common(reference: pl.DataFrame, name: str) -> tuple[str, str] | None:
    """Return a column's two most common categories, of which the first has more than 5 % of the rows."""
    counts = reference[name].drop_nulls().value_counts(sort=True)
    if counts.height < 2 or counts["count"][0] <= 0.05 * reference.height:
        return None
    return counts[name][0], counts[name][1]


def _shifted(reference: pl.DataFrame, name: str, size: float) -> pl.Expr:
    """Return a number shifted by a fraction of its interquartile range, or of its deviation if that is zero.

    Whole numbers stay whole.
    """
    values = reference[name].drop_nulls()
    spread = float(values.quantile(0.75) or 0.0) - float(values.quantile(0.25) or 0.0) or float(values.std() or 1.0)
    is_whole = bool((values % 1 == 0).all())
    return pl.col(name) + (max(1.0, round(size * spread)) if is_whole else size * spread)


def twice_tasks(pool: Pool, seed: int, n_windows: int) -> Iterator[Task]:
    """Yield drifted windows of rows that are sent twice, and a quiet stream in which each row follows itself."""
    for n_rows in () if pool.name in UNMOVED else SIZES:
        last = list(pool.drifted)[-1]
        halves = [window(pool, last, n_rows // 2, index + seed * n_windows) for index in range(n_windows)]
        windows = [pl.concat([half, half]) for half in halves]
        yield Task(pool.name, seed, DRIFTED_TWICE, pool.frame_reference, windows, [DRIFTED_TWICE] * n_windows)
    drawn = stream(pool, seed, changes=False)
    half = drawn.rows.head(STREAM_ROWS // 2)
    rows = half[np.repeat(np.arange(half.height), 2).tolist()]
    yield Task(pool.name, seed, QUIET_TWICE, drawn.reference, list(rows.iter_slices(SIZES[0])))


def unused_tasks(pool: Pool, seed: int, n_windows: int) -> Iterator[Task]:
    """Yield quiet windows in which a column that has nothing to do with the target moved, or the one that has most.

    The unrelated column holds the values of a real one in random order, in the reference as in the windows.
    """
    reference, target = pool.frame_reference, pool.target_reference
    numbers = [
        name for name in reference.select(selectors.numeric()).columns if reference[name].n_unique() >= MIN_VALUES
    ]
    if not numbers:
        return
    codes = target if target.dtype.is_numeric() else target.cast(pl.Categorical).to_physical()
    related = max(numbers, key=lambda name: abs(_rank_correlation(reference[name], codes)))
    values = reference[numbers[seed % len(numbers)]].drop_nulls()
    generator = np.random.default_rng([seed, 8])

    def with_unrelated(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.Series(UNRELATED, generator.choice(values.to_numpy(), rows.height)))

    reference = with_unrelated(reference)
    for n_rows in SIZES[1:]:
        windows, labels = list[pl.DataFrame](), list[str]()
        for index in range(n_windows):
            rows = with_unrelated(window(pool, QUIET, n_rows, index + seed * n_windows))
            windows += [rows, *(rows.with_columns(_shifted(reference, name, 1.0)) for name in (UNRELATED, related))]
            labels += [QUIET, UNRELATED_SHIFT, RELATED_SHIFT]
        yield Task(pool.name, seed, UNUSED, reference, windows, labels, target=target)


def _rank_correlation(first: pl.Series, second: pl.Series) -> float:
    pairs = pl.DataFrame({"first": first, "second": second}).drop_nulls()
    value = pairs.select(pl.corr("first", "second", method="spearman")).item()
    return 0.0 if value is None or np.isnan(value) else float(value)


def ordered_tasks(folder: Path, seed: int) -> Iterator[list[Task]]:
    """Yield, for each further table, quiet rows that follow each other in it: a stream, and its windows."""
    for table in ORDERED_TABLES:
        rows = _inputs(pl.read_csv(folder / table.file, infer_schema_length=None, null_values=["NA", "N/A"]), table)
        drawn = natural_stream(Pool(table.name, rows, rows[rows.columns[0]], rows, {}, rows), seed, changes=False)
        yield _in_order(table, seed, drawn.reference, drawn.rows, ORDERED, QUIET_ORDERED, ORDERED)


def cluster_tasks(folder: Path, environments: Path, seed: int) -> Iterator[list[Task]]:
    """Yield, for each table of clusters, whole clusters in random order; the reference holds the other clusters."""
    persons = write_package_tables(environments, [("pydataset", table.file) for table in PERSONS])
    paths = {table.name: persons / file_name("pydataset", table.file) for table in PERSONS}
    for table in (*PERSONS, *CLUSTERED_TABLES):
        assert table.cluster is not None
        rows = pl.read_csv(paths.get(table.name, folder / table.file), infer_schema_length=None)
        groups = shuffled(rows.select(table.cluster).unique(maintain_order=True), [seed, 9])[table.cluster]
        by_cluster = rows.partition_by(table.cluster, as_dict=True)
        rows = _inputs(pl.concat([by_cluster[(name,)] for name in groups]), table)
        n_rows = min(STREAM_ROWS, rows.height // 3 // SIZES[0] * SIZES[0])
        tasks = _in_order(table, seed, rows.slice(n_rows), rows.head(n_rows), CLUSTERS, QUIET_CLUSTERS, CLUSTERED)
        yield [*tasks, *(_with_a_shift(task, seed) for task in tasks if task.kind == CLUSTERS)]


def _in_order(
    table: OrderedTable, seed: int, reference: pl.DataFrame, rows: pl.DataFrame, kind: str, stream_kind: str, label: str
) -> list[Task]:
    """Return quiet rows in their order as a stream, and its parts as windows."""
    sections = [part for part in rows.iter_slices(SIZES[0]) if part.height == SIZES[0]]
    tasks = [Task(table.name, seed, stream_kind, reference, sections, order=table.order)]
    for n_rows in SIZES:
        parts = [part for part in rows.iter_slices(n_rows) if part.height == n_rows][:MAX_PARTS]
        if parts:
            tasks.append(Task(table.name, seed, kind, reference, parts, [label] * len(parts), order=table.order))
    return tasks


def _with_a_shift(task: Task, seed: int) -> Task:
    """Return the same windows, each with one number shifted."""
    numbers = task.reference.select(selectors.numeric()).columns
    generator = np.random.default_rng([seed, task.n_rows, 10])
    windows = [
        part.with_columns(_shifted(task.reference, str(generator.choice(numbers)), 1.0)) for part in task.windows
    ]
    labels = [CLUSTERED_SHIFT] * len(windows)
    return Task(task.pool, seed, CLUSTERED_SHIFT, task.reference, windows, labels, order=task.order)


def _inputs(rows: pl.DataFrame, table: OrderedTable) -> pl.DataFrame:
    """Return the columns that are compared: numbers as Float64, all else as String."""
    left_out = [*table.dropped, *([table.cluster] if table.cluster else [])]
    rows = rows.drop(left_out, strict=False)
    rows = rows.select(column for column in rows if column.null_count() < column.len())
    numbers = selectors.numeric() | selectors.boolean()
    return rows.with_columns(numbers.cast(pl.Float64), (~numbers).cast(pl.String))
