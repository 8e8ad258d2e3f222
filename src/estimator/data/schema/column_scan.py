"""Batches of rows -> what every column has shown, each read in the first way that has held for all of its values.

A way to read a column is a trial: a column of the contract. So what is tried here is what will be enforced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS, Column
from estimator.data.schema.frames import read_series
from estimator.data.schema.sketches import SKETCH_SIZE, Distinct, Goal, Hashes
from estimator.data.schema.text_parsing import as_text, normalize_series, strip_blanks
from estimator.data.schema.text_stats import Words
from estimator.errors import Fault

FEW = 100
Each = Callable[[Callable[[str], Any], Iterable[str]], Iterable[Any]]
EMPTY_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class ColumnSurvey:
    """What one column has shown so far, under the first of its trials; the last trial holds whatever comes.

    `low` and `high` are the extremes, `whole` says that there was no fraction, `counts_up` that every value was one
    more than the last. `surprised` means that a trial failed after it had held for a batch: then the counts are of a
    mixture, and the rows must be read again.
    """

    name: str
    trials: list[Column]
    max_levels: int
    rows: int = 0
    known: int = 0
    spelled: set[str] = field(default_factory=set)
    distinct: Distinct = field(default_factory=Distinct)
    words: Words = field(init=False)
    low: float = np.inf
    high: float = -np.inf
    zeros: int = 0
    whole: bool = True
    counts_up: bool = True
    last: float | None = None
    example: Any = None
    faults: list[Fault] = field(default_factory=list)
    n_faults: int = 0
    surprised: bool = False

    def __post_init__(self) -> None:
        self.words = Words(self.trials[-1].na_values, self.max_levels)

    @property
    def reading(self) -> Column:
        """The trial that has held so far."""
        return self.trials[0]

    @property
    def gaps(self) -> int:
        """The number of gaps, empty or spelled."""
        return self.rows - self.known

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, as opposed to words, times and truth values."""
        return self.reading.kind in NUMERIC_KINDS

    @property
    def is_words(self) -> bool:
        """Whether its values are taken for words."""
        return not self.is_number and self.reading.kind not in (*TIME_KINDS, "boolean")

    def add(self, series: pl.Series, goal: Goal | None) -> tuple[Floats | None, Hashes]:
        """Take a batch into account; return its numbers (None for words) and a hash per row."""
        first_row = self.rows + 1
        while len(self.trials) > 1:
            values = _tried(self.reading, series)
            if values is not None:
                return self._numbers(series, values, goal)
            self.trials.pop(0)
            self.surprised = self.surprised or self.rows > 0
        if self.is_words:
            return None, self._words(series, goal)
        values, faults = read_series(self.reading, series, first_row=first_row)
        self.faults += faults[: 5 - len(self.faults)]
        self.n_faults += len(faults)
        return self._numbers(series, values[:, 0], goal)

    def _numbers(self, series: pl.Series, values: Floats, goal: Goal | None) -> tuple[Floats, Hashes]:
        unknown = np.isnan(values)
        n_known = len(values) - int(np.count_nonzero(unknown))
        if n_known < len(values) and series.dtype == pl.String:
            self.spelled |= set(strip_blanks(series.filter(pl.Series(unknown)).drop_nulls()).unique())
        self.rows += len(values)
        self.known += n_known
        # Zero and minus zero are one value.
        hashes = pl.Series(values + 0.0).hash(seed=7).to_numpy()
        self.distinct.add(hashes)
        if self.reading.kind == "boolean":
            self.words.levels.add_truths(values, goal)
        if n_known:
            self._extremes(values, n_known, series)
        return values, hashes

    def _extremes(self, values: Floats, n_known: int, series: pl.Series) -> None:
        self.low = min(self.low, float(np.fmin.reduce(values)))
        self.high = max(self.high, float(np.fmax.reduce(values)))
        self.zeros += len(values) - int(np.count_nonzero(values))
        self.whole = self.whole and int(np.count_nonzero(values == np.floor(values))) == n_known
        if self.counts_up:
            solid = values[~np.isnan(values)]
            before = solid[:1] - 1 if self.last is None else [self.last]
            self.counts_up = bool((np.diff(solid, prepend=before) == 1).all())
            self.last = float(solid[-1])
        if self.example is None:
            some = np.flatnonzero(~np.isnan(values))[:FEW]
            middle = int(some[np.argsort(values[some])[len(some) // 2]])
            self.example = series[middle] if self.reading.kind in TIME_KINDS else float(values[middle])

    def _words(self, series: pl.Series, goal: Goal | None) -> Hashes:
        words = series if series.dtype in (pl.Categorical, pl.Enum) else as_text(series)
        words = normalize_series(self.reading, words)
        hashes = words.hash(seed=7).to_numpy()
        self.words.add(words, hashes, goal)
        self.rows += len(series)
        self.known = self.words.known
        return hashes

    @property
    def n_distinct(self) -> int:
        """The number of distinct values, or its estimate."""
        return self.words.n_distinct if self.is_words else self.distinct.count

    @property
    def distinct_is_exact(self) -> bool:
        """Whether that number is exact."""
        return not self.words.given_up if self.is_words else self.distinct.is_exact

    def is_unique(self, *, share: float) -> bool:
        """Whether at least this share of the values are distinct, as far as an estimate can tell."""
        # Four standard errors below the share are no proof against it.
        slack = 0.0 if self.distinct_is_exact else 4.0 / SKETCH_SIZE**0.5
        return self.n_distinct >= (share - slack) * self.known

    @property
    def holds(self) -> bool:
        """Whether all rows have been read in one way.

        Of the two words of a truth value, one alone is a level like any other.
        """
        return not self.surprised and not self._is_half_true

    @property
    def _is_half_true(self) -> bool:
        return self.reading.kind == "boolean" and len(self.trials) > 1 and self.gaps > 0 and self.low == self.high

    def again(self) -> ColumnSurvey:
        """Return an empty survey that starts with what has held so far."""
        trials = [trial for trial in self.trials if not (self._is_half_true and trial.kind == "boolean")]
        return ColumnSurvey(self.name, trials, self.max_levels)


@dataclass
class Survey:
    """All columns of a table, surveyed together; `goal` names the column whose mean is taken by level."""

    columns: Mapping[str, ColumnSurvey]
    goal: str | None = None
    rows: int = 0

    def add(self, frame: pl.DataFrame, *, each: Each = map) -> tuple[dict[str, Floats], Hashes]:
        """Take a batch into account; return the columns that read as numbers, and a hash per row.

        `each` calls a function on every item, as map does; that of an executor looks at columns side by side.
        """
        self.rows += frame.height
        goal: Goal | None = None

        def look(name: str) -> tuple[Floats | None, Hashes]:
            return self.columns[name].add(frame[name], goal)

        names = sorted(self.columns, key=lambda name: name != self.goal)
        seen = [look(name) for name in names if name == self.goal]
        goal = Goal.of(seen[0][0]) if seen and seen[0][0] is not None else None
        seen += each(look, names[len(seen) :])
        together = np.zeros(frame.height, dtype=np.uint64)
        for _, hashes in seen:
            together *= EMPTY_HASH
            together += hashes
        return {name: values for name, (values, _) in zip(names, seen, strict=True) if values is not None}, together

    @property
    def holds(self) -> bool:
        """Whether all rows have been read in one way; else they must be read again."""
        return all(column.holds for column in self.columns.values())

    def again(self) -> Survey:
        """Return an empty survey that starts with what has held so far."""
        return Survey({name: column.again() for name, column in self.columns.items()}, self.goal)


def by_contract(columns: Iterable[Column], goal: str | None, *, max_levels: int) -> Survey:
    """Return a survey of columns whose contract is known: what breaks it counts as a gap."""
    opened = [replace(column, nullable=True, range=None) for column in columns]
    return Survey({column.name: ColumnSurvey(column.name, [column], max_levels) for column in opened}, goal)


def _tried(trial: Column, series: pl.Series) -> Floats | None:
    """Return the values of a column if the trial holds for all of them; a few are looked at first."""
    for part in (series.head(FEW), series):
        values, faults = read_series(trial, part)
        if faults or _has_codes(trial, part, values):
            return None
    return values[:, 0]


def _has_codes(trial: Column, series: pl.Series, values: Floats) -> bool:
    """Whether a column of numbers holds a code such as 00501, whose zeros mean something."""
    if trial.kind not in NUMERIC_KINDS or series.dtype != pl.String:
        return False
    led = series.str.starts_with("0") & (pl.Series(values[:, 0] >= 1) | series.str.starts_with("00"))
    return bool(led.fill_null(False).any())
