"""What one pass over batches of rows gathers, in memory that does not grow with the rows.

Exact: counts, gaps, extremes, moments, pairwise-complete cross-products. Sketched: distinct values. Sampled: whole
rows, from which quantiles and ranks are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.task import Floats

SKETCH_SIZE = 2048
SAMPLE_ROWS = 50_000
BLOCK_ROWS = 8192
MOST_LEVELS = 5000


@dataclass
class Numbers:
    """Sums over numeric columns: each column's powers, and the products of every pair where both are known.

    Values are shifted and scaled by those of the first batch, so that sums of powers keep their digits. Powers are
    summed in double; the products of pairs come from single-precision blocks of 8,192 rows, summed in double.
    """

    shift: Floats
    scale: Floats
    n: Floats = field(init=False)
    powers: Floats = field(init=False)
    low: Floats = field(init=False)
    high: Floats = field(init=False)
    zeros: Floats = field(init=False)
    products: Floats = field(init=False)
    sums: Floats = field(init=False)
    squares: Floats = field(init=False)
    pairs: Floats = field(init=False)

    def __post_init__(self) -> None:
        width = len(self.shift)
        self.n, self.zeros = np.zeros(width), np.zeros(width)
        self.powers = np.zeros((4, width))
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self.products, self.sums, self.squares, self.pairs = (np.zeros((width, width)) for _ in range(4))

    @classmethod
    def like(cls, matrix: Floats) -> Numbers:
        """Return empty sums for columns that look like these rows."""
        known = np.where(np.isfinite(matrix), matrix, np.nan)
        counted = np.maximum((~np.isnan(known)).sum(axis=0), 1)
        with np.errstate(over="ignore"):
            shift = np.nansum(known / counted, axis=0)
            spread = np.sqrt(np.nansum(np.square(known - shift), axis=0) / counted)
        return cls(shift, np.where((spread > 0) & np.isfinite(spread), spread, 1.0))

    def add(self, matrix: Floats) -> None:
        """Take rows (rows, width) with NaN for gaps into account."""
        # Numbers near the end of what a double holds make infinite sums, and moments that are not defined.
        with np.errstate(over="ignore", invalid="ignore"):
            self._add(matrix)

    def _add(self, matrix: Floats) -> None:
        known = ~np.isnan(matrix)
        scaled = np.where(known, (matrix - self.shift) / self.scale, 0.0)
        power = np.ones_like(scaled)
        for place in range(4):
            power = power * scaled
            self.powers[place] += power.sum(axis=0)
        self.n += known.sum(axis=0)
        self.zeros += (matrix == 0).sum(axis=0)
        self.low = np.minimum(self.low, np.where(known, matrix, np.inf).min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, np.where(known, matrix, -np.inf).max(axis=0, initial=-np.inf))
        for start in range(0, len(matrix), BLOCK_ROWS):
            self._add_pairs(scaled[start : start + BLOCK_ROWS], known[start : start + BLOCK_ROWS])

    def _add_pairs(self, scaled: Floats, known: npt.NDArray[np.bool_]) -> None:
        values, here = scaled.astype(np.float32), known.astype(np.float32)
        self.products += values.T @ values
        self.sums += values.T @ here
        self.squares += np.square(values).T @ here
        self.pairs += here.T @ here

    def moments(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Return mean, standard deviation (n - 1), skewness and excess kurtosis of each column."""
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = self.powers / self.n
            second = raw[1] - raw[0] ** 2
            third = raw[2] - 3 * raw[0] * raw[1] + 2 * raw[0] ** 3
            fourth = raw[3] - 4 * raw[0] * raw[2] + 6 * raw[0] ** 2 * raw[1] - 3 * raw[0] ** 4
            deviation = np.sqrt(second * self.n / (self.n - 1)) * self.scale
            flat = second <= 1e-18
            skewness = np.where(flat, np.nan, third / second**1.5)
            kurtosis = np.where(flat, np.nan, fourth / second**2 - 3.0)
        return self.shift + self.scale * raw[0], deviation, skewness, kurtosis

    def correlations(self) -> Floats:
        """Return Pearson's correlation of every pair, over the rows where both are known; NaN if undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.sums / self.pairs
            covariance = self.products / self.pairs - mean * mean.T
            variance = self.squares / self.pairs - mean**2
            found = covariance / np.sqrt(variance * variance.T)
        found[(variance <= 1e-9) | (variance.T <= 1e-9)] = np.nan
        np.fill_diagonal(found, 1.0)
        return np.clip(found, -1.0, 1.0)


@dataclass
class Distinct:
    """The k smallest hashes of a column's values (Bar-Yossef et al., 2002): exact up to k, about 2 % off beyond."""

    hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def add(self, series: pl.Series) -> None:
        """Take values into account; gaps are not counted."""
        found = series.drop_nulls().hash(seed=7).to_numpy()
        if len(self.hashes) >= SKETCH_SIZE:
            found = found[found < self.hashes[-1]]
        if len(found):
            self.hashes = np.unique(np.concatenate([self.hashes, found]))[:SKETCH_SIZE]

    @property
    def is_exact(self) -> bool:
        """Whether all distinct values were kept."""
        return len(self.hashes) < SKETCH_SIZE

    @property
    def count(self) -> int:
        """The number of distinct values, or its estimate."""
        if self.is_exact:
            return len(self.hashes)
        return round((SKETCH_SIZE - 1) / (float(self.hashes[-1]) / 2.0**64))


@dataclass
class Levels:
    """How often each level occurs and the target's mean there; given up when there are too many."""

    frame: pl.DataFrame | None = None
    given_up: bool = False

    def add(self, levels: pl.Series, target: pl.Series | None) -> None:
        """Take a batch of levels, and the target's numbers beside them, into account."""
        if self.given_up:
            return
        beside = target if target is not None else pl.Series([None] * len(levels), dtype=pl.Float64)
        batch = pl.DataFrame({"level": levels, "target": beside}).drop_nulls("level").group_by("level")
        counts = batch.agg(
            pl.len().alias("count"), pl.col("target").sum().alias("sum"), pl.col("target").count().alias("known")
        )
        both = counts if self.frame is None else pl.concat([self.frame, counts])
        self.frame = both.group_by("level").agg(pl.col("count", "sum", "known").sum())
        if self.frame.height > MOST_LEVELS:
            self.frame, self.given_up = None, True

    def top(self, most: int) -> list[tuple[str, int, float | None]]:
        """Return (level, count, target's mean) of the commonest levels."""
        if self.frame is None:
            return []
        rows = self.frame.sort(["count", "level"], descending=[True, False]).head(most).iter_rows()
        return [(level, count, total / known if known else None) for level, count, total, known in rows]


@dataclass
class Sample:
    """Rows drawn without regard to their values: each batch keeps its share of a fixed number of rows."""

    generator: np.random.Generator
    frames: list[pl.DataFrame] = field(default_factory=list)
    keys: list[Floats] = field(default_factory=list)

    def add(self, frame: pl.DataFrame) -> None:
        """Give every row a random key and keep the rows with the smallest ones (Efraimidis and Spirakis, 2006)."""
        keys = self.generator.random(frame.height)
        limit = self._limit()
        picked = np.flatnonzero(keys < limit)
        self.frames.append(frame[picked])
        self.keys.append(keys[picked])
        if sum(len(item) for item in self.keys) > 2 * SAMPLE_ROWS:
            self._shrink()

    def _limit(self) -> float:
        kept = sum(len(item) for item in self.keys)
        return float(np.max(self.keys[0])) if len(self.keys) == 1 and kept == SAMPLE_ROWS else 1.0

    def _shrink(self) -> None:
        keys = np.concatenate(self.keys)
        frame = pl.concat(self.frames)
        order = np.sort(np.argpartition(keys, SAMPLE_ROWS)[:SAMPLE_ROWS])
        self.frames, self.keys = [frame[order]], [keys[order]]

    def rows(self) -> pl.DataFrame:
        """Return the sample, in the order of the table."""
        if sum(len(item) for item in self.keys) > SAMPLE_ROWS:
            self._shrink()
        return pl.concat(self.frames)


def matrix_of(columns: Sequence[npt.NDArray[np.float64]]) -> Floats:
    """Return columns (rows,) side by side as (rows, width)."""
    return np.column_stack(columns) if columns else np.empty((0, 0))
