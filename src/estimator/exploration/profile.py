"""Rows in batches + their schema -> Profile: what each column holds and how columns hang together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from estimator.errors import SchemaError
from estimator.exploration.accumulators import Distinct, Levels, Numbers, Sample, matrix_of
from estimator.exploration.associations import (
    correlation_ratio,
    cramers_v,
    inflation,
    power_correlations,
    principal_axes,
    spearman,
)
from estimator.schema import Column, Schema
from estimator.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.schema.frames import read_series
from estimator.task import Floats

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
TOP_LEVELS = 20
MOST_IN_MATRIX = 300
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
class _Gathered:
    """Everything one pass gathers."""

    numbers: Numbers | None
    gaps: dict[str, int]
    distinct: dict[str, Distinct]
    levels: dict[str, Levels]
    sample: Sample
    hashes: list[Any]
    rows: int = 0


def profile_table(schema: Schema, batches: Iterable[pl.DataFrame], *, seed: int = 0) -> Profile:
    """Return the profile of a table, read once in batches.

    Counts, extremes, moments and correlations are of all rows; distinct values beyond 2,047 are estimated within
    about 2 %; quantiles, histograms and ranks beyond 50,000 rows come from a random sample. Columns of the schema
    that the table does not have are left out.

    Raises
    ------
    SchemaError: the table has no rows.
    """
    waiting = iter(batches)
    first = next(waiting, None)
    if first is None or first.height == 0:
        raise SchemaError("the table has no rows: there is nothing to look at", hint="check data.path")
    columns = tuple(column for column in (*schema.columns, schema.target) if column.name in first.columns)
    numeric = [column for column in columns if _is_numeric(column)]
    found = _Gathered(
        None,
        {column.name: 0 for column in columns},
        {column.name: Distinct() for column in columns},
        {column.name: Levels() for column in columns if column.is_text or column.kind == "boolean"},
        Sample(np.random.default_rng([seed, 30])),
        [],
    )
    for frame in chain([first], waiting):
        _gather(found, frame, columns, numeric, schema.target)
    return _finished(found, schema, columns, numeric)


def _is_numeric(column: Column) -> bool:
    return column.kind in NUMERIC_KINDS or column.kind == "boolean" or column.kind in TIME_KINDS


def _gather(
    found: _Gathered, frame: pl.DataFrame, columns: Sequence[Column], numeric: Sequence[Column], target: Column
) -> None:
    values = {column.name: _values(column, frame[column.name]) for column in numeric}
    found.rows += frame.height
    for column in columns:
        series = frame[column.name]
        gaps = int(np.isnan(values[column.name]).sum()) if column.name in values else _gap_count(column, series)
        found.gaps[column.name] += gaps
        found.distinct[column.name].add(
            pl.Series(values[column.name]).fill_nan(None) if column.name in values else series
        )
    goal = pl.Series(values[target.name]).fill_nan(None) if target.name in values else None
    for name, levels in found.levels.items():
        column = next(item for item in columns if item.name == name)
        levels.add(_level_names(column, frame[name]), goal)
    matrix = matrix_of(list(values.values()))
    if values:
        found.numbers = found.numbers or Numbers.like(matrix)
        found.numbers.add(matrix)
    typed = {name: pl.Series(name, array) for name, array in values.items()}
    words = {
        column.name: _level_names(column, frame[column.name])
        for column in columns
        if column.name not in values or column.kind == "boolean"
    }
    found.sample.add(pl.DataFrame({**typed, **{f"{name}\x00": series for name, series in words.items()}}))
    found.hashes.append(frame.select(column.name for column in columns).hash_rows(seed=11).to_numpy())


def _values(column: Column, series: pl.Series) -> Floats:
    """Return a numeric column as doubles with NaN for gaps; what breaks the contract counts as a gap here."""
    from dataclasses import replace

    open_column = replace(column, gaps=("", *column.gaps), limits=None)
    found: Floats = read_series(open_column, series)[0][:, 0]
    return found


def _gap_count(column: Column, series: pl.Series) -> int:
    return int(_level_names(column, series).null_count())


def _level_names(column: Column, series: pl.Series) -> pl.Series:
    words = series.cast(pl.String, strict=False)
    spelled = words.str.strip_chars().is_in(list({"", *column.gaps}))
    return words.set(spelled.fill_null(False), None)


def _finished(found: _Gathered, schema: Schema, columns: Sequence[Column], numeric: Sequence[Column]) -> Profile:
    sample = found.sample.rows()
    names = tuple(column.name for column in numeric)
    table = sample.select(names).to_numpy() if names else np.empty((sample.height, 0))
    pearson = found.numbers.correlations() if found.numbers is not None else np.empty((0, 0))
    target = schema.target.name
    features = [place for place, name in enumerate(names) if name != target]
    described = dict(zip(names, _described(found, table, names), strict=True))
    profiles = tuple(_column_profile(column, found, described.get(column.name)) for column in columns)
    axes, places = principal_axes(pearson, table, features)
    goal = table[:, names.index(target)] if target in names else None
    words = {name.removesuffix("\x00"): sample[name] for name in sample.columns if name.endswith("\x00")}
    hashes = np.concatenate(found.hashes) if found.hashes else np.empty(0)
    return Profile(
        rows=found.rows,
        sampled_rows=sample.height,
        duplicate_rows=len(hashes) - len(np.unique(hashes)),
        target=target,
        columns=profiles,
        numeric=names,
        pearson=pearson,
        spearman=spearman(table),
        inflation={names[place]: value for place, value in zip(features, inflation(pearson, features), strict=True)},
        powers={} if goal is None else {names[p]: power_correlations(table[:, p], goal) for p in features},
        axes=axes,
        with_target=_with_target(schema, names, pearson, table, words, goal),
        places=places,
        place_colours=goal if goal is not None else np.zeros(len(places)),
    )


def _described(found: _Gathered, table: Floats, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return moments, extremes, quantiles and histogram of every numeric column."""
    if found.numbers is None:
        return []
    mean, deviation, skewness, kurtosis = found.numbers.moments()
    described = []
    for place in range(len(names)):
        solid = table[:, place][~np.isnan(table[:, place])]
        numbers = {
            "mean": mean[place],
            "std": deviation[place],
            "skewness": skewness[place],
            "kurtosis": kurtosis[place],
            "min": found.numbers.low[place],
            "max": found.numbers.high[place],
            "zeros": found.numbers.zeros[place],
        }
        quantiles = (
            dict(zip(map(str, QUANTILES), np.quantile(solid, QUANTILES).tolist(), strict=True)) if len(solid) else {}
        )
        described.append({"numbers": numbers, "quantiles": quantiles, "histogram": _histogram(solid)})
    return described


def _histogram(solid: Floats) -> tuple[list[float], list[int]] | None:
    if len(solid) == 0:
        return None
    unique = np.unique(solid)
    bins: Any = BINS if len(unique) > BINS else max(1, len(unique))
    counts, edges = np.histogram(solid, bins=bins)
    return edges.tolist(), counts.tolist()


def _column_profile(column: Column, found: _Gathered, described: Mapping[str, Any] | None) -> ColumnProfile:
    levels = found.levels.get(column.name)
    distinct = found.distinct[column.name]
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        count=found.rows - found.gaps[column.name],
        gaps=found.gaps[column.name],
        distinct=distinct.count,
        distinct_is_exact=distinct.is_exact,
        top=tuple(levels.top(TOP_LEVELS)) if levels is not None else (),
        **({key: described[key] for key in ("numbers", "quantiles", "histogram")} if described else {}),
    )


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
    for column in schema.features:
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
