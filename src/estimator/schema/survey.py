"""Batches of rows -> what every column has shown, each read in the first way that has held for all of its values.

A way to read a column is a trial: a column of the contract. So what is tried here is what will be enforced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from estimator.errors import Fault
from estimator.schema.column import NUMERIC_KINDS, TIME_KINDS, Column
from estimator.schema.counting import SKETCH_SIZE, Distinct, Floats, Goal, Hashes
from estimator.schema.frames import read_series
from estimator.schema.words import Words

FEW = 100
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
        self.words = Words(self.trials[-1].gaps, self.max_levels)

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
        solid = values[~unknown] if unknown.any() else values
        if len(solid) < len(values) and series.dtype == pl.String:
            self.spelled |= set(series.filter(pl.Series(unknown)).drop_nulls().str.strip_chars().unique())
        self.rows += len(values)
        self.known += len(solid)
        # Zero and minus zero are one value.
        hashes = pl.Series(values + 0.0).hash(seed=7).to_numpy()
        self.distinct.add(hashes if len(solid) == len(values) else hashes[~unknown])
        if self.reading.kind == "boolean":
            self.words.add(_truths(values), hashes, goal)
        if len(solid):
            self._extremes(solid, series)
        return values, hashes

    def _extremes(self, solid: Floats, series: pl.Series) -> None:
        self.low, self.high = min(self.low, float(solid.min())), max(self.high, float(solid.max()))
        self.zeros += len(solid) - int(np.count_nonzero(solid))
        self.whole = self.whole and bool((solid == np.floor(solid)).all())
        if self.counts_up:
            before = solid[:1] - 1 if self.last is None else [self.last]
            self.counts_up = bool((np.diff(solid, prepend=before) == 1).all())
        self.last = float(solid[-1])
        if self.example is None:
            self.example = self._middle(solid, series)

    def _middle(self, solid: Floats, series: pl.Series) -> Any:
        """Return a value that really occurs, near the middle of the first batch; times as they are written."""
        middle = np.partition(solid, len(solid) // 2)[len(solid) // 2]
        if self.reading.kind not in TIME_KINDS:
            return float(middle)
        values, _ = read_series(self.reading, series)
        return series[int(np.flatnonzero(values[:, 0] == middle)[0])]

    def _words(self, series: pl.Series, goal: Goal | None) -> Hashes:
        words = series if series.dtype in (pl.Categorical, pl.Enum) else as_words(series)
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

    def add(self, frame: pl.DataFrame) -> tuple[dict[str, Floats], Hashes]:
        """Take a batch into account; return the columns that read as numbers, and a hash per row."""
        self.rows += frame.height
        numbers: dict[str, Floats] = {}
        together = np.zeros(frame.height, dtype=np.uint64)
        goal: Goal | None = None
        for name in self._goal_first():
            values, hashes = self.columns[name].add(frame[name], goal)
            if values is not None:
                numbers[name] = values
                goal = Goal.of(values) if name == self.goal else goal
            together *= EMPTY_HASH
            together += hashes
        return numbers, together

    def _goal_first(self) -> list[str]:
        return sorted(self.columns, key=lambda name: name != self.goal)

    @property
    def holds(self) -> bool:
        """Whether all rows have been read in one way; else they must be read again."""
        return all(column.holds for column in self.columns.values())

    def again(self) -> Survey:
        """Return an empty survey that starts with what has held so far."""
        return Survey({name: column.again() for name, column in self.columns.items()}, self.goal)


def by_contract(columns: Iterable[Column], goal: str | None, *, max_levels: int) -> Survey:
    """Return a survey of columns whose contract is known: what breaks it counts as a gap."""
    opened = [replace(column, gaps=("", *column.gaps), limits=None) for column in columns]
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


def _truths(values: Floats) -> pl.Series:
    """Return truth values as such, and gaps as null."""
    return pl.Series(values == 1).set(pl.Series(np.isnan(values)), None)


def as_words(series: pl.Series) -> pl.Series:
    """Return any column as text."""
    if series.dtype == pl.String:
        return series
    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        return whole.cast(pl.String).zip_with(series == whole, series.cast(pl.String))
    return series.cast(pl.String, strict=False)
