"""One pass over batches of rows -> statistics of every column, each read by the first candidate that fits all rows.

A candidate is a column of a schema, so what is tried during inference is what will be enforced later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, Indices
from estimator.data.schema.cells import CellError, infinity_of, read_cell
from estimator.data.schema.column import FALSE_WORDS, NUMERIC_KINDS, TIME_KINDS, TRUE_WORDS, Column
from estimator.data.schema.date_inference import Dates, fit_times
from estimator.data.schema.dtypes import plain_series
from estimator.data.schema.frames import read_series
from estimator.data.schema.occurrences import Occurrences, occurrences_at
from estimator.data.schema.points import Points
from estimator.data.schema.sketches import HASH_SEED, SKETCH_SIZE, DistinctCount, Hashes, TargetValues
from estimator.data.schema.text_parsing import as_text, normalize_series, strip_blanks
from estimator.data.schema.text_stats import TextStats
from estimator.errors import Fault

N_PROBED = 100
MAX_FAULTS = 5
# A column is one of numbers with a few odd words if at least so many values, and this fraction of them, are numbers of
# at least so many sizes, and no more than so many different words are none.
MIN_NUMBERS, MIN_NUMBER_FRACTION, MIN_DISTINCT_NUMBERS, MAX_ODD_WORDS = 9, 0.9, 3, 20
MAX_SPELLINGS, N_SAMPLED = 1000, 200
BOOLEAN_WORDS = (TRUE_WORDS, FALSE_WORDS)
# Doubles do not hold every larger integer.
LARGE_INTEGER = 2**53
CODE = re.compile(r"[A-Za-z]{1,3}[-. ]?\d[\w.-]*|\d+[-. ]?[A-Za-z]")
MapFunction = Callable[[Callable[[str], Any], Iterable[str]], Iterable[Any]]
ROW_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class ColumnScan:
    """Statistics of one column so far, read by the first of its candidates; the last candidate reads anything.

    `low` and `high` are the extremes, `is_whole` means that no number had a fraction, `counts_up` that every number was
    one more than the last, `is_measured` that a large number was written with a point or an exponent. `failed_late`
    means that a candidate failed after it had read a batch: the statistics are then a mixture, and the rows must be
    read again.

    The `lenient` candidates also read a column of numbers or dates with a few odd words, which then count as missing.
    `spellings` has every text that was read as missing, and `first_faults` the first cells that are not numbers;
    `points` is kept unless a person has said what a point in a number means.
    """

    name: str
    candidates: list[Column]
    max_categories: int
    lenient: tuple[Column, ...] = ()
    is_target: bool = False
    points: Points | None = None
    n_rows: int = 0
    n_values: int = 0
    spellings: dict[str, Occurrences] = field(default_factory=dict)
    boolean_words: set[str] = field(default_factory=set)
    first_faults: list[Fault] = field(default_factory=list)
    is_measured: bool = False
    has_large_integers: bool = False
    distinct: DistinctCount = field(default_factory=DistinctCount)
    texts: TextStats = field(init=False)
    low: float = np.inf
    high: float = -np.inf
    n_zeros: int = 0
    is_whole: bool = True
    counts_up: bool = True
    last: float | None = None
    example: Any = None
    faults: list[Fault] = field(default_factory=list)
    n_faults: int = 0
    failed_late: bool = False
    dates: Dates = field(default_factory=Dates)

    def __post_init__(self) -> None:
        self.texts = TextStats(self.candidates[-1].na_values, self.max_categories)

    @property
    def reading(self) -> Column:
        """The candidate that has fitted all rows so far."""
        return self.candidates[0]

    @property
    def n_missing(self) -> int:
        """The number of missing values, empty or spelled."""
        return self.n_rows - self.n_values

    @property
    def is_number(self) -> bool:
        """Whether the column is read as numbers."""
        return self.reading.kind in NUMERIC_KINDS

    @property
    def is_text(self) -> bool:
        """Whether the column is read as text: not as numbers, times or booleans."""
        return not self.is_number and self.reading.kind not in (*TIME_KINDS, "boolean")

    def add(self, series: pl.Series, target: TargetValues | None) -> tuple[Floats | None, Hashes]:
        """Add a batch; return its numbers (None for text) and a hash per row."""
        series, first_row = plain_series(series), self.n_rows + 1
        while len(self.candidates) > 1:
            values = self._fitting_values(series)
            if values is not None:
                return self._add_numbers(series, values, target)
            self.candidates.pop(0)
            self.failed_late = self.failed_late or self.n_rows > 0
        if self.is_text:
            return None, self._add_texts(series, target)
        cells, faults = read_series(self.reading, series, first_row=first_row)
        if not self._is_lenient(self.reading):
            self.faults += faults[: MAX_FAULTS - len(self.faults)]
            self.n_faults += len(faults)
        return self._add_numbers(series, cells[:, 0], target)

    def _fitting_values(self, series: pl.Series) -> Floats | None:
        """Return the values of a batch if the candidate reads all of them; the first few are probed before the rest."""
        candidate, is_lenient = self.reading, self._is_lenient(self.reading)
        if is_lenient and self.n_rows == 0:
            sample = series.gather_every(max(1, len(series) // N_SAMPLED))
            if 2 * len(read_series(candidate, sample)[1]) > len(sample):
                return None
        if candidate.kind in TIME_KINDS and series.dtype == pl.String:
            return self._fitting_times(series, max_odd_words=MAX_ODD_WORDS if is_lenient else 0)
        for rows in (series.head(N_PROBED), series):
            values, faults = read_series(candidate, rows, first_row=self.n_rows + 1)
            if is_lenient and len({repr(fault.value) for fault in faults}) > MAX_ODD_WORDS:
                return None
            if faults and candidate.kind in NUMERIC_KINDS:
                self.first_faults = faults[:MAX_FAULTS]
            if (faults and not is_lenient) or _has_codes(candidate, rows, values):
                return None
        return values[:, 0]

    def _fitting_times(self, series: pl.Series, *, max_odd_words: int) -> Floats | None:
        """Return the times of a batch of texts if the candidate, with the formats that occur, reads all of them."""
        values: Floats | None = None
        for rows in (series.head(N_PROBED), series):
            before = self.reading
            fit = fit_times(before, rows, max_odd_words=max_odd_words)
            if fit is None:
                return None
            values, self.candidates[0] = fit
            self.lenient = tuple(self.reading if column is before else column for column in self.lenient)
        if values is not None:
            self.dates.add(series, values, self.candidates, max_odd_words=max_odd_words)
        return values

    def _add_numbers(self, series: pl.Series, values: Floats, target: TargetValues | None) -> tuple[Floats, Hashes]:
        is_missing = np.isnan(values)
        n_values = len(values) - int(np.count_nonzero(is_missing))
        if n_values < len(values):
            self._add_spellings(series, np.flatnonzero(is_missing))
        self.n_rows += len(values)
        self.n_values += n_values
        # Adding zero makes minus zero and zero one value.
        hashes = pl.Series(values + 0.0).hash(seed=HASH_SEED).to_numpy()
        self.distinct.add(hashes)
        if self.points is not None and self.is_number:
            self.points.add(series, values)
        if self.reading.kind == "boolean":
            self.texts.categories.add_booleans(values, target)
            if series.dtype == pl.String:
                self.boolean_words |= set(strip_blanks(series).str.to_lowercase().unique().drop_nulls())
        if n_values:
            self._add_extremes(values, n_values, series)
        return values, hashes

    def _add_extremes(self, values: Floats, n_values: int, series: pl.Series) -> None:
        self.low = min(self.low, float(np.fmin.reduce(values)))
        self.high = max(self.high, float(np.fmax.reduce(values)))
        self.n_zeros += len(values) - int(np.count_nonzero(values))
        self.is_whole = self.is_whole and int(np.count_nonzero(values == np.floor(values))) == n_values
        if self.is_whole and not self.is_measured and max(-self.low, self.high) >= LARGE_INTEGER:
            self.is_measured = bool(_is_measured(series))
        if self.counts_up:
            present = values[~np.isnan(values)]
            before = present[:1] - 1 if self.last is None else [self.last]
            # The difference of the largest doubles is infinite, and not 1.
            with np.errstate(over="ignore"):
                self.counts_up = bool((np.diff(present, prepend=before) == 1).all())
            self.last = float(present[-1])
        if self.example is None:
            # The median of the first values is a typical one.
            rows = np.flatnonzero(~np.isnan(values))[:N_PROBED]
            median_row = int(rows[np.argsort(values[rows])[len(rows) // 2]])
            self.example = series[median_row] if self.reading.kind in TIME_KINDS else float(values[median_row])

    def _add_texts(self, series: pl.Series, target: TargetValues | None) -> Hashes:
        texts = series if series.dtype in (pl.Categorical, pl.Enum) else as_text(series)
        texts = normalize_series(self.reading, texts)
        hashes = texts.hash(seed=HASH_SEED).to_numpy()
        self._add_spellings(texts, self.texts.add(texts, hashes, target))
        self.n_rows += len(series)
        self.n_values = self.texts.n_values
        return hashes

    def _add_spellings(self, series: pl.Series, positions: Indices) -> None:
        """Note the texts, and the numbers such as infinities, that were read as missing, with their rows."""
        for text, found in occurrences_at(series, positions, first_row=self.n_rows + 1).items():
            if text in self.spellings or len(self.spellings) < MAX_SPELLINGS:
                self.spellings[text] = self.spellings.get(text, Occurrences()).plus(found)

    def _is_lenient(self, candidate: Column) -> bool:
        # A strict candidate may be equal to a lenient one.
        return any(candidate is lenient for lenient in self.lenient)

    @property
    def odd_words(self) -> dict[str, Occurrences]:
        """The texts that a column of numbers or dates holds and that are no known spelling of a missing value."""
        if not self._is_lenient(self.reading):
            return {}
        return {text: occurrences for text, occurrences in self.spellings.items() if _is_odd(self.reading, text)}

    @property
    def n_distinct(self) -> int:
        """The number of distinct values, or its estimate."""
        return self.texts.n_distinct if self.is_text else self.distinct.count

    @property
    def distinct_is_exact(self) -> bool:
        """Whether `n_distinct` is exact."""
        return not self.texts.overflowed if self.is_text else self.distinct.is_exact

    def is_unique(self, *, fraction: float) -> bool:
        """Whether at least this fraction of the values is distinct, within the error of an estimate."""
        # An estimate may be four standard errors too low.
        slack = 0.0 if self.distinct_is_exact else 4.0 / SKETCH_SIZE**0.5
        return self.n_distinct >= (fraction - slack) * self.n_values

    @property
    def is_consistent(self) -> bool:
        """Whether one candidate has read all rows, so the statistics hold."""
        return not self.failed_late and not self._rejects(self.reading) and not self._better_readings

    @property
    def _better_readings(self) -> list[Column]:
        """The readings of dates that are likelier than the first one."""
        return self.dates.better(self.reading, (self.low, self.high))

    @property
    def decided_reading(self) -> Column:
        """The candidate that has fitted all rows, with the formats of those that may be meant as well."""
        undecided = self.dates.undecided(self.reading, (self.low, self.high))
        formats = [date_format for rival in undecided for date_format in rival.column.date_formats]
        return replace(self.reading, date_formats=(*self.reading.date_formats, *formats))

    def _rejects(self, candidate: Column) -> bool:
        """Whether all rows together show that this candidate, or a later one, is not how the column is to be read."""
        if len(self.candidates) < 2 or candidate is self.candidates[-1]:
            return False
        if self._is_lenient(candidate) and self._has_too_many_words:
            return True
        if candidate.kind == "boolean":
            return self._is_half_boolean or self.merges_booleans
        return candidate.kind in NUMERIC_KINDS and self._is_large_integer

    @property
    def _is_half_boolean(self) -> bool:
        """Whether only one of the two booleans occurs, next to missing values: then it is an ordinary category."""
        return self.reading.kind == "boolean" and self.n_missing > 0 and self.low == self.high

    @property
    def merges_booleans(self) -> bool:
        """Whether two different words, such as "yes" and "1", would become the same boolean."""
        return any(len({word.removesuffix(".0") for word in self.boolean_words & known}) > 1 for known in BOOLEAN_WORDS)

    @property
    def _is_large_integer(self) -> bool:
        is_large = self.is_number and self.is_whole and max(-self.low, self.high) >= LARGE_INTEGER
        return is_large and not self.is_measured and not self.is_target

    @property
    def _has_too_many_words(self) -> bool:
        # An infinity is a number that only a person can read as something else.
        words = {text: found for text, found in self.odd_words.items() if infinity_of(text) is None}
        n_odd = sum(occurrences.count for occurrences in words.values())
        is_rare = self.n_values >= max(MIN_NUMBERS, MIN_NUMBER_FRACTION * (self.n_values + n_odd))
        n_codes = sum(CODE.fullmatch(word) is not None for word in words)
        has_numbers = is_rare and self.distinct.count >= MIN_DISTINCT_NUMBERS
        return bool(words) and not (has_numbers and len(words) <= MAX_ODD_WORDS and n_codes < 2)

    def restart(self) -> ColumnScan:
        """Return an empty scan that starts with the candidate that fitted last."""
        candidates = [column for column in self.candidates if not self._rejects(column)]
        if better := self._better_readings:
            candidates = [*better, *(column for column in candidates if column.kind not in TIME_KINDS)]
        return ColumnScan(
            self.name,
            candidates,
            self.max_categories,
            lenient=self.lenient,
            is_target=self.is_target,
            points=self.points and Points(self.points.has_comma),
            first_faults=self.first_faults,
            has_large_integers=self.has_large_integers or self._is_large_integer,
        )


@dataclass
class TableScan:
    """All columns of a table scanned together; `target` is the column whose mean is taken per category.

    `nested` are columns that a schema cannot hold and a person leaves out; `conversions` says of a column how it was
    turned into numbers.
    """

    columns: Mapping[str, ColumnScan]
    target: str | None = None
    nested: tuple[str, ...] = ()
    conversions: Mapping[str, str] = field(default_factory=dict)
    n_rows: int = 0

    def add(self, frame: pl.DataFrame, *, map_columns: MapFunction = map) -> tuple[dict[str, Floats], Hashes]:
        """Add a batch; return the columns that read as numbers, and a hash per row.

        `map_columns` calls a function on every column name, as `map` does; an executor's map scans columns in parallel.
        """
        self.n_rows += frame.height
        target: TargetValues | None = None

        def add_column(name: str) -> tuple[Floats | None, Hashes]:
            return self.columns[name].add(frame[name], target)

        # The target comes first, because the other columns need its values.
        names = sorted(self.columns, key=lambda name: name != self.target)
        results = [add_column(name) for name in names if name == self.target]
        target = TargetValues.of(results[0][0]) if results and results[0][0] is not None else None
        results += map_columns(add_column, names[len(results) :])
        row_hashes = np.zeros(frame.height, dtype=np.uint64)
        for _, hashes in results:
            row_hashes *= ROW_HASH_FACTOR
            row_hashes += hashes
        numbers = {name: values for name, (values, _) in zip(names, results, strict=True) if values is not None}
        return numbers, row_hashes

    @property
    def is_consistent(self) -> bool:
        """Whether one candidate per column has read all rows; if not, the rows must be read again."""
        return all(column.is_consistent for column in self.columns.values())

    def restart(self) -> TableScan:
        """Return an empty scan whose columns start with the candidates that fitted last."""
        columns = {name: column.restart() for name, column in self.columns.items()}
        return TableScan(columns, self.target, self.nested, self.conversions)


def scan_by_schema(
    columns: Iterable[Column], target: str | None, *, max_categories: int, nested: tuple[str, ...] = ()
) -> TableScan:
    """Return an empty scan of columns whose schema is known; values that break it count as missing."""
    nullable = [replace(column, nullable=True, range=None) for column in columns]
    scans = {column.name: ColumnScan(column.name, [column], max_categories) for column in nullable}
    return TableScan(scans, target, nested)


def _is_odd(candidate: Column, text: str) -> bool:
    """Whether a column that may hold missing values rejects a text."""
    try:
        read_cell(replace(candidate, nullable=True), text)
    except CellError:
        return True
    return False


def _is_measured(series: pl.Series) -> bool | None:
    """Whether a number is written with a point or an exponent, or comes as a double, so that it is not a code."""
    return series.str.contains("[.eE]").any() if series.dtype == pl.String else series.dtype.is_float()


def _has_codes(candidate: Column, series: pl.Series, values: Floats) -> bool:
    """Whether a column of numbers holds a code such as 00501, whose leading zeros mean something."""
    if candidate.kind not in NUMERIC_KINDS or series.dtype != pl.String:
        return False
    has_zero = series.str.starts_with("0").fill_null(False)
    if not has_zero.any():
        return False
    is_code = (values[has_zero.to_numpy(), 0] >= 1) | series.filter(has_zero).str.starts_with("00").to_numpy()
    return bool(is_code.any())
