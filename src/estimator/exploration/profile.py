"""Batches of rows + their schema -> Profile: distributions, associations and duplicates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from estimator.core.arrays import Floats, nan_to_none
from estimator.core.clock import SECONDS_PER_DAY
from estimator.data.schema import Column, Schema
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.column_scan import ColumnScan, MapFunction, TableScan, scan_by_schema
from estimator.data.schema.dtypes import nested_noun
from estimator.data.schema.frames import read_series, select_columns
from estimator.data.schema.inference import Batches, check_dtypes
from estimator.data.schema.text_parsing import category_names
from estimator.errors import SchemaError
from estimator.exploration.accumulators import Numbers, Repeats, Sample, summarize
from estimator.exploration.associations import (
    correlation_ratio,
    cramers_v,
    magnitudes,
    power_correlations,
    principal_components,
    spearman,
    tsne,
    variance_inflation,
)

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
N_HISTOGRAM_BINS = 40
TOP_CATEGORIES = 20
MAX_MATRIX_COLUMNS = 300
MAX_CATEGORIES = 10_000
TEXT_KINDS = ("text", "identifier")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """The distribution of one column.

    `count` is the number of values that are not missing. `statistics` has mean, std, skewness, kurtosis, min, max and
    zeros; times are in seconds since 1970. `histogram` is (edges, counts); `top_categories` lists (category, count,
    mean of the target in its rows).
    """

    name: str
    kind: str
    count: int
    missing: int
    distinct: int
    distinct_is_exact: bool
    statistics: Mapping[str, float] = field(default_factory=dict)
    quantiles: Mapping[str, float] = field(default_factory=dict)
    histogram: tuple[Sequence[float], Sequence[int]] | None = None
    top_categories: Sequence[tuple[str, int, float | None]] = ()
    lengths: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """A table in numbers. Matrices are in the order of `numeric`, with NaN where undefined.

    `vif` are variance inflation factors. `components` and `tsne` are positions of sampled rows on two axes, whose
    targets are `row_targets`.
    """

    rows: int
    sampled_rows: int
    duplicate_rows: int
    duplicates_are_exact: bool
    target: str
    columns: tuple[ColumnProfile, ...]
    numeric: tuple[str, ...]
    pearson: Floats
    spearman: Floats
    vif: Mapping[str, float]
    power_correlations: Mapping[str, tuple[float, float, float]]
    explained_variance: Sequence[float]
    target_association: Mapping[str, tuple[str, float]]
    components: Floats
    row_targets: Floats
    tsne: Floats = field(default_factory=lambda: np.empty((0, 2)))

    def column(self, name: str) -> ColumnProfile:
        """Return a column's profile."""
        return next(item for item in self.columns if item.name == name)

    def to_data(self) -> dict[str, Any]:
        """Return the profile as JSON-ready data, with null for what is undefined."""
        return {
            "format": FORMAT,
            "rows": self.rows,
            "sampled_rows": self.sampled_rows,
            "duplicate_rows": self.duplicate_rows,
            "duplicates_are_exact": self.duplicates_are_exact,
            "target": self.target,
            "columns": [_plain(asdict(column)) for column in self.columns],
            "numeric": list(self.numeric),
            "pearson": _square(self.pearson),
            "spearman": _square(self.spearman),
            "vif": _plain(dict(self.vif)),
            "power_correlations": _plain(dict(self.power_correlations)),
            "explained_variance": _plain(list(self.explained_variance)),
            "target_association": _plain(dict(self.target_association)),
        }


@dataclass
class Collected:
    """What one pass over the rows collects, batch by batch; `names` are the columns of `numbers`, in order."""

    scan: TableScan
    repeats: Repeats
    sample: Sample
    names: tuple[str, ...] = ()
    numbers: Numbers | None = None

    def add(self, frame: pl.DataFrame, map_columns: MapFunction) -> dict[str, Floats]:
        """Add a batch, and return its numbers, which `add_numbers` takes; see `TableScan.add`."""
        values, hashes = self.scan.add(frame, map_columns=map_columns)
        self.repeats.add(hashes)
        self.sample.add(select_columns(frame, self.scan.columns))
        return values

    def add_numbers(self, values: Mapping[str, Floats]) -> None:
        """Add the numbers of a batch."""
        # A column is of another kind than assumed: all rows will be read again.
        if not values or not self.scan.is_consistent:
            return
        if self.numbers is None:
            self.names, self.numbers = tuple(values), Numbers.like(list(values.values()))
        self.numbers.add([values[name] for name in self.names])


def collect(batches: Iterable[pl.DataFrame], again: Batches, scan: TableScan, *, seed: int = 0) -> Collected:
    """Read all rows; `again` reads them once more each time a column turns out to be of another kind than assumed.

    Raises
    ------
    SchemaError: the table has no rows.
    """
    while True:
        collected = Collected(scan, Repeats(), Sample(np.random.default_rng([seed, 30])))
        _collect(collected, batches)
        if scan.n_rows == 0:
            raise SchemaError("the table has no rows", hint="check data.path")
        if scan.is_consistent:
            return collected
        scan, batches = scan.restart(), again()


def _collect(collected: Collected, batches: Iterable[pl.DataFrame]) -> None:
    """Read, scan and add up in a pipeline of three batches; each stage keeps the order of the table."""
    reader, adder, scanners = ThreadPoolExecutor(1), ThreadPoolExecutor(1), ThreadPoolExecutor(os.cpu_count())
    with reader, adder, scanners, threadpool_limits(1, user_api="blas"):
        stream = iter(batches)
        upcoming, adding = reader.submit(next, stream, None), adder.submit(lambda: None)
        while (frame := upcoming.result()) is not None:
            upcoming = reader.submit(next, stream, None)
            values = collected.add(frame, scanners.map)
            adding.result()
            adding = adder.submit(collected.add_numbers, values)
        adding.result()


def profile_table(schema: Schema, batches: Iterable[pl.DataFrame], *, seed: int = 0) -> Profile:
    """Return the profile of a table, read once in batches.

    Counts, extremes, moments and correlations are exact; more than 4,095 distinct values are estimated to within about
    1.6%; quantiles, histograms and ranks of more than 50,000 rows come from a random sample. Columns of the schema that
    are not in the table are left out.

    Raises
    ------
    SchemaError: the table has no rows.
    """
    stream = iter(batches)
    first = next(stream, pl.DataFrame())
    scan = start_schema_scan(schema, first)
    return make_profile(collect(chain([first], stream), lambda: (), scan, seed=seed), schema)


def start_schema_scan(schema: Schema, first: pl.DataFrame) -> TableScan:
    """Return a scan that reads a table by its schema; `first` are its first rows.

    Raises
    ------
    SchemaError: no kind can hold the values of a feature.
    """
    columns = [column for column in (*schema.columns, schema.target) if column.name in first.columns]
    check_dtypes(select_columns(first, [column.name for column in columns if column.used]), ())
    nested = tuple(column.name for column in columns if nested_noun(first[column.name].dtype) is not None)
    columns = [column for column in columns if column.name not in nested]
    return scan_by_schema(columns, schema.target.name, max_categories=MAX_CATEGORIES, nested=nested)


def _is_numeric(column: Column) -> bool:
    return column.kind in NUMERIC_KINDS or column.kind == "boolean" or column.kind in TIME_KINDS


def make_profile(collected: Collected, schema: Schema, *, tsne_seed: int | None = None) -> Profile:
    """Return the profile of what was collected from the rows; t-SNE is computed only with a seed."""
    rows, scans = collected.sample.rows(), collected.scan.columns
    columns = [column for column in (*schema.columns, schema.target) if column.name in scans]
    names = tuple(column.name for column in columns if _is_numeric(column) and column.name in collected.names)
    table, pearson = _sample_table(schema, rows, names), _correlations(collected, names)
    target = schema.target.name
    features = [index for index, name in enumerate(names) if name != target]
    summaries = _summaries(collected, table, names)
    summaries |= {column.name: _text_lengths(scans[column.name]) for column in columns if column.kind in TEXT_KINDS}
    row_targets = table[:, names.index(target)] if target in names else None
    table = table / magnitudes(table)
    explained_variance, components = principal_components(pearson, table, features)
    targets = table[:, names.index(target)] if target in names else None
    texts = {column.name: category_names(column, rows[column.name]) for column in columns if column.name not in names}
    vifs = variance_inflation(pearson, features)
    return Profile(
        rows=collected.scan.n_rows,
        sampled_rows=rows.height,
        duplicate_rows=collected.repeats.count,
        duplicates_are_exact=collected.repeats.is_exact,
        target=target,
        columns=tuple(_column_profile(column, collected.scan, summaries.get(column.name, {})) for column in columns),
        numeric=names,
        pearson=pearson,
        spearman=spearman(table),
        vif={names[index]: vif for index, vif in zip(features, vifs, strict=True)},
        power_correlations={}
        if targets is None
        else {names[index]: power_correlations(table[:, index], targets) for index in features},
        explained_variance=explained_variance,
        target_association=_target_association(schema, names, pearson, table, texts, targets),
        components=components,
        row_targets=row_targets if row_targets is not None else _category_codes(texts.get(target), scans[target]),
        tsne=tsne(table, features, seed=tsne_seed) if tsne_seed is not None else np.empty((0, 2)),
    )


def _correlations(collected: Collected, names: Sequence[str]) -> Floats:
    if collected.numbers is None:
        return np.empty((0, 0))
    indices = [collected.names.index(name) for name in names]
    return collected.numbers.correlations()[np.ix_(indices, indices)]


def _category_codes(names: pl.Series | None, scan: ColumnScan) -> Floats:
    """Return each row's category as its rank by frequency, NaN for rare ones."""
    if names is None:
        return np.empty(0)
    codes = {name: float(code) for code, (name, _, _) in enumerate(scan.texts.categories.top(TOP_CATEGORIES))}
    return np.array([codes.get(name, np.nan) for name in names.to_list()])


def _sample_table(schema: Schema, rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Return the sample's numeric, time and boolean columns, of shape (rows, columns)."""
    table = np.empty((rows.height, len(names)))
    for position, name in enumerate(names):
        column = replace(schema.by_name[name], nullable=True, range=None)
        table[:, position] = read_series(column, rows[name])[0][:, 0]
    return table


def _summaries(collected: Collected, table: Floats, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return statistics, quantiles and histogram of every numeric column."""
    if collected.numbers is None:
        return {}
    moments = dict(zip(collected.names, zip(*collected.numbers.moments(), strict=True), strict=True))
    result = {}
    for position, name in enumerate(names):
        scan = collected.scan.columns[name]
        mean, deviation, skewness, kurtosis = moments[name]
        statistics = {"mean": mean, "std": deviation, "skewness": skewness, "kurtosis": kurtosis}
        statistics |= {"min": scan.low, "max": scan.high, "zeros": float(scan.n_zeros)}
        quantiles, histogram = summarize(table[:, position][~np.isnan(table[:, position])], QUANTILES, N_HISTOGRAM_BINS)
        result[name] = {"statistics": statistics, "quantiles": quantiles, "histogram": histogram}
        if scan.reading.kind in TIME_KINDS and scan.n_values:
            seconds = table[:, position][~np.isnan(table[:, position])]
            result[name]["times"] = _span(scan, seconds, is_complete=len(table) == collected.scan.n_rows)
    return result


def _column_profile(column: Column, scan: TableScan, summary: Mapping[str, Any]) -> ColumnProfile:
    column_scan = scan.columns[column.name]
    texts = column_scan.texts
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        count=column_scan.n_values,
        missing=column_scan.n_missing,
        distinct=min(column_scan.n_distinct, column_scan.n_values),
        distinct_is_exact=column_scan.distinct_is_exact,
        top_categories=() if texts.overflowed else tuple(texts.categories.top(TOP_CATEGORIES)),
        **summary,
    )


def _text_lengths(scan: ColumnScan) -> dict[str, Any]:
    lengths = scan.texts.lengths
    summary = {"min": float(lengths.shortest), "mean": lengths.mean, "max": float(lengths.longest)}
    return {"lengths": summary if lengths.n_texts else {}}


def _span(scan: ColumnScan, seconds: Floats, *, is_complete: bool) -> dict[str, Any]:
    """Return the first and last time and the longest time without a row; in a sample the latter is an upper bound."""
    days = np.unique(np.floor(seconds / SECONDS_PER_DAY))
    gap = float(np.diff(np.unique(seconds)).max() / SECONDS_PER_DAY) if len(days) > 1 else 0.0
    times = {"first": _iso(scan.low), "last": _iso(scan.high), "longest_gap_days": gap}
    empty = 1.0 - len(days) / (days[-1] - days[0] + 1) if len(days) else 0.0
    return times | ({"empty_days_fraction": float(empty)} if is_complete else {})


def _iso(seconds: float) -> str:
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds") if seconds % SECONDS_PER_DAY else moment.date().isoformat()


def _target_association(
    schema: Schema,
    names: Sequence[str],
    pearson: Floats,
    table: Floats,
    texts: Mapping[str, pl.Series],
    targets: Floats | None,
) -> dict[str, tuple[str, float]]:
    """Return each column's association with the target: the measure and its value."""
    associations: dict[str, tuple[str, float]] = {}
    target = schema.target.name
    # Nearly every text is unique: as categories, texts would seem to determine the target.
    for name in (column.name for column in schema.features if column.kind != "text"):
        if targets is not None and name in names:
            associations[name] = ("pearson", float(pearson[names.index(name), names.index(target)]))
        elif targets is not None and name in texts:
            associations[name] = ("correlation ratio", correlation_ratio(texts[name], targets))
        elif target in texts and name in names:
            associations[name] = ("correlation ratio", correlation_ratio(texts[target], table[:, names.index(name)]))
        elif target in texts and name in texts:
            associations[name] = ("Cramer's V", cramers_v(texts[name], texts[target]))
    return associations


def _square(values: Floats) -> Any:
    """Return a matrix as nested lists, or None for a very wide table, whose file would be too large."""
    return None if len(values) > MAX_MATRIX_COLUMNS else _plain(np.round(values, 6).tolist())


def _plain(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None."""
    if isinstance(value, float | np.floating):
        return nan_to_none(float(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
