"""Rows in batches + their schema -> Profile: what each column holds and how columns hang together."""

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

from estimator.core.arrays import Floats
from estimator.data.schema import Column, Schema
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.column_scan import ColumnScan, MapFunction, TableScan, scan_by_schema
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import Batches
from estimator.data.schema.text_parsing import category_names
from estimator.errors import SchemaError
from estimator.exploration.accumulators import Numbers, Repeats, Sample, described
from estimator.exploration.associations import (
    correlation_ratio,
    cramers_v,
    inflation,
    neighbours,
    power_correlations,
    principal_axes,
    spearman,
)

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
TOP_LEVELS = 20
MOST_IN_MATRIX = 300
MOST_LEVELS = 10_000
WORDY = ("text", "identifier")
DAY = 86_400
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What one column holds.

    `numbers` has mean, std, skewness, kurtosis, min, max and zeros; times are in seconds since 1970. `histogram` is
    (edges, counts); `top` lists (level, count, the target's mean there).
    """

    name: str
    kind: str
    count: int
    gaps: int
    distinct: int
    distinct_is_exact: bool
    numbers: Mapping[str, float] = field(default_factory=dict)
    quantiles: Mapping[str, float] = field(default_factory=dict)
    histogram: tuple[Sequence[float], Sequence[int]] | None = None
    top: Sequence[tuple[str, int, float | None]] = ()
    lengths: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """A table in numbers; matrices are in the order of `numeric`, with NaN where they are not defined."""

    rows: int
    sampled_rows: int
    duplicate_rows: int
    duplicates_are_exact: bool
    target: str
    columns: tuple[ColumnProfile, ...]
    numeric: tuple[str, ...]
    pearson: Floats
    spearman: Floats
    inflation: Mapping[str, float]
    powers: Mapping[str, tuple[float, float, float]]
    axes: Sequence[float]
    with_target: Mapping[str, tuple[str, float]]
    places: Floats
    place_colours: Floats
    neighbours: Floats = field(default_factory=lambda: np.empty((0, 2)))

    def column(self, name: str) -> ColumnProfile:
        """Return a column's profile."""
        return next(item for item in self.columns if item.name == name)

    def to_data(self) -> dict[str, Any]:
        """Return the profile as JSON-ready data, with null for what is not defined."""
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
            "inflation": _plain(dict(self.inflation)),
            "powers": _plain(dict(self.powers)),
            "axes": _plain(list(self.axes)),
            "with_target": _plain(dict(self.with_target)),
        }


@dataclass
class Gathered:
    """Everything one pass over the rows gathers; `names` are the columns of `numbers`, in order."""

    survey: TableScan
    repeats: Repeats
    sample: Sample
    names: tuple[str, ...] = ()
    numbers: Numbers | None = None

    def add(self, frame: pl.DataFrame, each: MapFunction) -> dict[str, Floats]:
        """Take a batch into account, but for its numbers, which are returned; see `TableScan.add`."""
        values, hashes = self.survey.add(frame, map_columns=each)
        self.repeats.add(hashes)
        self.sample.add(frame.select(list(self.survey.columns)))
        return values

    def add_numbers(self, values: Mapping[str, Floats]) -> None:
        """Take the numbers of a batch into account."""
        # Once a column has turned out to be something else, all rows will be read again.
        if not values or not self.survey.is_consistent:
            return
        if self.numbers is None:
            self.names, self.numbers = tuple(values), Numbers.like(list(values.values()))
        self.numbers.add([values[name] for name in self.names])


def gather(begun: Iterable[pl.DataFrame], again: Batches, survey: TableScan, *, seed: int = 0) -> Gathered:
    """Read all rows: those that have been begun, and `again` for every time that columns are not what they seemed.

    Raises
    ------
    SchemaError: the table has no rows.
    """
    batches = begun
    while True:
        found = Gathered(survey, Repeats(), Sample(np.random.default_rng([seed, 30])))
        _gather(found, batches)
        if survey.n_rows == 0:
            raise SchemaError("the table has no rows: there is nothing to look at", hint="check data.path")
        if survey.is_consistent:
            return found
        survey, batches = survey.restart(), again()


def _gather(found: Gathered, batches: Iterable[pl.DataFrame]) -> None:
    """Read, survey and sum up side by side: three batches at a time, each stage in the order of the table."""
    reader, adder, lookers = ThreadPoolExecutor(1), ThreadPoolExecutor(1), ThreadPoolExecutor(os.cpu_count())
    with reader, adder, lookers, threadpool_limits(1, user_api="blas"):
        waiting = iter(batches)
        coming, adding = reader.submit(next, waiting, None), adder.submit(lambda: None)
        while (frame := coming.result()) is not None:
            coming = reader.submit(next, waiting, None)
            values = found.add(frame, lookers.map)
            adding.result()
            adding = adder.submit(found.add_numbers, values)
        adding.result()


def profile_table(schema: Schema, batches: Iterable[pl.DataFrame], *, seed: int = 0) -> Profile:
    """Return the profile of a table, read once in batches.

    Counts, extremes, moments and correlations are of all rows; distinct values beyond 4,095 are estimated within
    about 1.6 %; quantiles, histograms and ranks beyond 50,000 rows come from a random sample. Columns of the schema
    that the table does not have are left out.

    Raises
    ------
    SchemaError: the table has no rows.
    """
    waiting = iter(batches)
    first = next(waiting, pl.DataFrame())
    survey = survey_of(schema, first)
    return profiled(gather(chain([first], waiting), lambda: (), survey, seed=seed), schema)


def survey_of(schema: Schema, first: pl.DataFrame) -> TableScan:
    """Return a survey that reads a table, which begins with these rows, by its contract."""
    columns = [column for column in (*schema.columns, schema.target) if column.name in first.columns]
    return scan_by_schema(columns, schema.target.name, max_categories=MOST_LEVELS)


def _is_numeric(column: Column) -> bool:
    return column.kind in NUMERIC_KINDS or column.kind == "boolean" or column.kind in TIME_KINDS


def profiled(found: Gathered, schema: Schema, *, tsne_seed: int | None = None) -> Profile:
    """Return the profile of rows that have been gathered, under their contract; with a seed, t-SNE is worked out."""
    rows = found.sample.rows()
    columns = [column for column in (*schema.columns, schema.target) if column.name in found.survey.columns]
    names = tuple(column.name for column in columns if _is_numeric(column) and column.name in found.names)
    places = [found.names.index(name) for name in names]
    table = _sample_table(schema, rows, names)
    pearson = found.numbers.correlations()[np.ix_(places, places)] if found.numbers is not None else np.empty((0, 0))
    target = schema.target.name
    features = [place for place, name in enumerate(names) if name != target]
    numbers = _described(found, table, names)
    numbers |= {
        column.name: _word_lengths(found.survey.columns[column.name]) for column in columns if column.kind in WORDY
    }
    axes, spots = principal_axes(pearson, table, features)
    goal = table[:, names.index(target)] if target in names else None
    words = {column.name: category_names(column, rows[column.name]) for column in columns if column.name not in names}
    return Profile(
        rows=found.survey.n_rows,
        sampled_rows=rows.height,
        duplicate_rows=found.repeats.count,
        duplicates_are_exact=found.repeats.is_exact,
        target=target,
        columns=tuple(_column_profile(column, found.survey, numbers.get(column.name, {})) for column in columns),
        numeric=names,
        pearson=pearson,
        spearman=spearman(table),
        inflation={names[place]: value for place, value in zip(features, inflation(pearson, features), strict=True)},
        powers={} if goal is None else {names[p]: power_correlations(table[:, p], goal) for p in features},
        axes=axes,
        with_target=_with_target(schema, names, pearson, table, words, goal),
        places=spots,
        place_colours=goal if goal is not None else _level_codes(words.get(target), found.survey.columns[target]),
        neighbours=neighbours(table, features, seed=tsne_seed) if tsne_seed is not None else np.empty((0, 2)),
    )


def _level_codes(words: pl.Series | None, survey: ColumnScan) -> Floats:
    """Return each row's level as its place among the commonest ones, NaN for the others."""
    if words is None:
        return np.empty(0)
    places = {level: float(place) for place, (level, _, _) in enumerate(survey.texts.categories.top(TOP_LEVELS))}
    return np.array([places.get(word, np.nan) for word in words.to_list()])


def _sample_table(schema: Schema, rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Return the sample's numbers, times and truth values, of shape (rows, columns)."""
    table = np.empty((rows.height, len(names)))
    for place, name in enumerate(names):
        column = replace(schema.by_name[name], nullable=True, range=None)
        table[:, place] = read_series(column, rows[name])[0][:, 0]
    return table


def _described(found: Gathered, table: Floats, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return moments, extremes, quantiles and histogram of every numeric column."""
    if found.numbers is None:
        return {}
    moments = dict(zip(found.names, zip(*found.numbers.moments(), strict=True), strict=True))
    result = {}
    for place, name in enumerate(names):
        survey = found.survey.columns[name]
        mean, deviation, skewness, kurtosis = moments[name]
        numbers = {"mean": mean, "std": deviation, "skewness": skewness, "kurtosis": kurtosis}
        numbers |= {"min": survey.low, "max": survey.high, "zeros": float(survey.n_zeros)}
        quantiles, histogram = described(table[:, place][~np.isnan(table[:, place])], QUANTILES, BINS)
        result[name] = {"numbers": numbers, "quantiles": quantiles, "histogram": histogram}
        if survey.reading.kind in TIME_KINDS and survey.n_values:
            solid = table[:, place][~np.isnan(table[:, place])]
            result[name]["times"] = _span(survey, solid, is_whole=len(table) == found.survey.n_rows)
    return result


def _column_profile(column: Column, survey: TableScan, numbers: Mapping[str, Any]) -> ColumnProfile:
    seen = survey.columns[column.name]
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        count=seen.n_values,
        gaps=seen.n_missing,
        distinct=min(seen.n_distinct, seen.n_values),
        distinct_is_exact=seen.distinct_is_exact,
        top=tuple(seen.texts.categories.top(TOP_LEVELS)) if not seen.texts.overflowed else (),
        **numbers,
    )


def _word_lengths(survey: ColumnScan) -> dict[str, Any]:
    lengths = survey.texts.lengths
    found = {"min": float(lengths.shortest), "mean": lengths.mean, "max": float(lengths.longest)}
    return {"lengths": found if lengths.n_texts else {}}


def _span(survey: ColumnScan, seconds: Floats, *, is_whole: bool) -> dict[str, Any]:
    """Return first and last moment and the longest time without a row; of a sample that time is an upper bound."""
    days = np.unique(np.floor(seconds / DAY))
    gap = float(np.diff(np.unique(seconds)).max() / DAY) if len(days) > 1 else 0.0
    times = {"first": _iso(survey.low), "last": _iso(survey.high), "longest_gap_days": gap}
    share = 1.0 - len(days) / (days[-1] - days[0] + 1) if len(days) else 0.0
    return times | ({"empty_days_share": float(share)} if is_whole else {})


def _iso(seconds: float) -> str:
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds") if seconds % DAY else moment.date().isoformat()


def _with_target(
    schema: Schema,
    names: Sequence[str],
    pearson: Floats,
    table: Floats,
    words: Mapping[str, pl.Series],
    goal: Floats | None,
) -> dict[str, tuple[str, float]]:
    """Return, per column, how it hangs together with the target: the measure's name and its value."""
    found: dict[str, tuple[str, float]] = {}
    target = schema.target.name
    # Of texts nearly every one is there once: as levels they would seem to tell all.
    for column in (column for column in schema.features if column.kind != "text"):
        if goal is not None and column.name in names:
            found[column.name] = ("pearson", float(pearson[names.index(column.name), names.index(target)]))
        elif goal is not None and column.name in words:
            found[column.name] = ("correlation ratio", correlation_ratio(words[column.name], goal))
        elif target in words and column.name in names:
            found[column.name] = (
                "correlation ratio",
                correlation_ratio(words[target], table[:, names.index(column.name)]),
            )
        elif target in words and column.name in words:
            found[column.name] = ("Cramer's V", cramers_v(words[column.name], words[target]))
    return found


def _square(values: Floats) -> Any:
    """Return a matrix as nested lists; that of a very wide table would outweigh all else and is left out."""
    return None if len(values) > MOST_IN_MATRIX else _plain(np.round(values, 6).tolist())


def _plain(value: Any) -> Any:
    """Return numbers without NaN and infinities, which JSON cannot hold."""
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
