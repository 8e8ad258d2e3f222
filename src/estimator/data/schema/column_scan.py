"""One pass over batches of rows -> statistics of every column, each read by the first candidate that fits all rows.

A candidate is a column of a schema, so what is tried during inference is what will be enforced later.
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
from estimator.data.schema.sketches import HASH_SEED, SKETCH_SIZE, DistinctCount, Hashes, TargetValues
from estimator.data.schema.text_parsing import as_text, normalize_series, strip_blanks
from estimator.data.schema.text_stats import TextStats
from estimator.errors import Fault

N_PROBED = 100
MAX_FAULTS = 5
MapFunction = Callable[[Callable[[str], Any], Iterable[str]], Iterable[Any]]
ROW_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class ColumnScan:
    """Statistics of one column so far, read by the first of its candidates; the last candidate reads anything.

    `low` and `high` are the extremes, `is_whole` means that no number had a fraction, `counts_up` that every number was
    one more than the last. `failed_late` means that a candidate failed after it had read a batch: the statistics are
    then a mixture, and the rows must be read again.
    """

    name: str
    candidates: list[Column]
    max_categories: int
    n_rows: int = 0
    n_values: int = 0
    na_seen: set[str] = field(default_factory=set)
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
        first_row = self.n_rows + 1
        while len(self.candidates) > 1:
            values = _fitting_values(self.reading, series)
            if values is not None:
                return self._add_numbers(series, values, target)
            self.candidates.pop(0)
            self.failed_late = self.failed_late or self.n_rows > 0
        if self.is_text:
            return None, self._add_texts(series, target)
        cells, faults = read_series(self.reading, series, first_row=first_row)
        self.faults += faults[: MAX_FAULTS - len(self.faults)]
        self.n_faults += len(faults)
        return self._add_numbers(series, cells[:, 0], target)

    def _add_numbers(self, series: pl.Series, values: Floats, target: TargetValues | None) -> tuple[Floats, Hashes]:
        is_missing = np.isnan(values)
        n_values = len(values) - int(np.count_nonzero(is_missing))
        if n_values < len(values) and series.dtype == pl.String:
            self.na_seen |= set(strip_blanks(series.filter(pl.Series(is_missing)).drop_nulls()).unique())
        self.n_rows += len(values)
        self.n_values += n_values
        # Adding zero makes minus zero and zero one value.
        hashes = pl.Series(values + 0.0).hash(seed=HASH_SEED).to_numpy()
        self.distinct.add(hashes)
        if self.reading.kind == "boolean":
            self.texts.categories.add_booleans(values, target)
        if n_values:
            self._add_extremes(values, n_values, series)
        return values, hashes

    def _add_extremes(self, values: Floats, n_values: int, series: pl.Series) -> None:
        self.low = min(self.low, float(np.fmin.reduce(values)))
        self.high = max(self.high, float(np.fmax.reduce(values)))
        self.n_zeros += len(values) - int(np.count_nonzero(values))
        self.is_whole = self.is_whole and int(np.count_nonzero(values == np.floor(values))) == n_values
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
        self.texts.add(texts, hashes, target)
        self.n_rows += len(series)
        self.n_values = self.texts.n_values
        return hashes

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
        return not self.failed_late and not self._is_half_boolean

    @property
    def _is_half_boolean(self) -> bool:
        """Whether only one of the two booleans occurs, next to missing values: then it is an ordinary category."""
        is_boolean = self.reading.kind == "boolean" and len(self.candidates) > 1
        return is_boolean and self.n_missing > 0 and self.low == self.high

    def restart(self) -> ColumnScan:
        """Return an empty scan that starts with the candidate that fitted last."""
        skips_boolean = self._is_half_boolean
        candidates = [column for column in self.candidates if not (skips_boolean and column.kind == "boolean")]
        return ColumnScan(self.name, candidates, self.max_categories)


@dataclass
class TableScan:
    """All columns of a table scanned together; `target` is the column whose mean is taken per category."""

    columns: Mapping[str, ColumnScan]
    target: str | None = None
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
        return TableScan({name: column.restart() for name, column in self.columns.items()}, self.target)


def scan_by_schema(columns: Iterable[Column], target: str | None, *, max_categories: int) -> TableScan:
    """Return an empty scan of columns whose schema is known; values that break it count as missing."""
    nullable = [replace(column, nullable=True, range=None) for column in columns]
    return TableScan({column.name: ColumnScan(column.name, [column], max_categories) for column in nullable}, target)


def _fitting_values(candidate: Column, series: pl.Series) -> Floats | None:
    """Return the values of a column if the candidate reads all of them; the first few are probed before the rest."""
    for rows in (series.head(N_PROBED), series):
        values, faults = read_series(candidate, rows)
        if faults or _has_codes(candidate, rows, values):
            return None
    return values[:, 0]


def _has_codes(candidate: Column, series: pl.Series, values: Floats) -> bool:
    """Whether a column of numbers holds a code such as 00501, whose leading zeros mean something."""
    if candidate.kind not in NUMERIC_KINDS or series.dtype != pl.String:
        return False
    has_zero = series.str.starts_with("0") & (pl.Series(values[:, 0] >= 1) | series.str.starts_with("00"))
    return bool(has_zero.fill_null(False).any())
