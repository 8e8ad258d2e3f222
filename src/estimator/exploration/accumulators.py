"""Statistics of one pass over batches of rows, in bounded memory.

Exact: moments and pairwise-complete cross products. From a random sample of rows: quantiles and ranks. Duplicate rows
are counted up to two million rows and estimated beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Indices, equal_width_bins

SAMPLE_ROWS = 50_000
BLOCK_ROWS = 4096
MAX_HASHES = 2_000_000
HASH_RANGE = 2.0**64


@dataclass
class Numbers:
    """Sums of powers of numeric columns, and of products of pairs in rows where both are known. Mutable.

    Values are shifted and scaled by the first batch's mean and deviation, so that sums of powers keep their digits.
    Powers are summed in double precision; products in single-precision blocks of 4,096 rows, summed in double.
    """

    shift: Floats
    scale: Floats
    n: Floats = field(init=False)
    powers: Floats = field(init=False)
    products: Floats = field(init=False)
    sums: Floats = field(init=False)
    squares: Floats = field(init=False)
    pairs: Floats = field(init=False)

    def __post_init__(self) -> None:
        width = len(self.shift)
        self.n, self.powers = np.zeros(width), np.zeros((4, width))
        self.products, self.sums, self.squares, self.pairs = (np.zeros((width, width)) for _ in range(4))

    @classmethod
    def like(cls, columns: Sequence[Floats]) -> Numbers:
        """Return empty sums scaled for columns like these, each of shape (rows,) with NaN where missing."""
        means, deviations = zip(*(_location(column[np.isfinite(column)]) for column in columns), strict=True)
        return cls(np.array(means), np.where(np.array(deviations) > 0, deviations, 1.0))

    def add(self, columns: Sequence[Floats]) -> None:
        """Add rows: an array of shape (rows,) per column, with NaN where missing."""
        # Numbers near the largest double make infinite sums and undefined moments.
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(columns[0]), BLOCK_ROWS):
                self._add_block(np.stack([column[start : start + BLOCK_ROWS] for column in columns]))

    def _add_block(self, block: Floats) -> None:
        """Add values of shape (columns, rows)."""
        block -= self.shift[:, None]
        block *= 1.0 / self.scale[:, None]
        # A sum is NaN if any value is missing.
        incomplete = np.flatnonzero(np.isnan(block.sum(axis=1)))
        present = ~np.isnan(block[incomplete])
        block[incomplete] = np.where(present, block[incomplete], 0.0)
        squared = block * block
        first, second = block.sum(axis=1), squared.sum(axis=1)
        third, fourth = np.einsum("ij,ij->i", squared, block), np.einsum("ij,ij->i", squared, squared)
        self.powers += [first, second, third, fourth]
        counts = np.full(len(block), float(block.shape[1]))
        counts[incomplete] = present.sum(axis=1)
        self.n += counts
        self._add_pairs(block.astype(np.float32), present.astype(np.float32), incomplete, (counts, first, second))

    def _add_pairs(
        self,
        values: npt.NDArray[np.float32],
        present: npt.NDArray[np.float32],
        incomplete: Indices,
        totals: tuple[Floats, Floats, Floats],
    ) -> None:
        """Add sums over rows where both columns are known; if the other is complete, they are the column's totals."""
        self.products += values @ values.T
        counts, sums, squares = (np.repeat(total[:, None], len(values), axis=1) for total in totals)
        if len(incomplete):
            sums[:, incomplete] = values @ present.T
            squares[:, incomplete] = np.square(values) @ present.T
            counts[:, incomplete] = totals[0][incomplete]
            counts[incomplete] = totals[0][incomplete][:, None]
            counts[np.ix_(incomplete, incomplete)] = present @ present.T
        self.sums += sums
        self.squares += squares
        self.pairs += counts

    def moments(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Return mean, standard deviation (n - 1), skewness and excess kurtosis of each column."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
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
        """Return Pearson's correlation of every pair, over rows where both are known; NaN if undefined."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            mean = self.sums / self.pairs
            covariance = self.products / self.pairs - mean * mean.T
            variance = self.squares / self.pairs - mean**2
            correlations = covariance / np.sqrt(variance * variance.T)
        correlations[(variance <= 1e-9) | (variance.T <= 1e-9)] = np.nan
        np.fill_diagonal(correlations, 1.0)
        return np.clip(correlations, -1.0, 1.0)


def _location(values: Floats) -> tuple[float, float]:
    """Return mean and standard deviation, also of values whose squares or sum are no doubles."""
    largest = float(np.abs(values).max(initial=0.0))
    unit = 1.0 if 1e-150 < largest < 1e150 else largest or 1.0
    scaled = values if unit == 1.0 else values / unit
    return (float(scaled.mean()) * unit, float(scaled.std()) * unit) if len(values) else (0.0, 0.0)


@dataclass
class Repeats:
    """The number of duplicate rows: exact up to two million rows, estimated beyond. Mutable.

    Rows are compared by their hashes. When there are too many, only small hashes are kept: all copies of a row or none.
    """

    hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    fraction: float = 1.0

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add rows by their hashes."""
        self.hashes.append(self._small(hashes))
        while sum(map(len, self.hashes)) > MAX_HASHES:
            self.fraction /= 2
            self.hashes = [np.concatenate([self._small(chunk) for chunk in self.hashes])]

    def _small(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return hashes if self.fraction == 1.0 else hashes[hashes < np.uint64(HASH_RANGE * self.fraction)]

    @property
    def is_exact(self) -> bool:
        """Whether all rows are compared."""
        return self.fraction == 1.0

    @property
    def count(self) -> int:
        """The number of rows that repeat an earlier one, or an estimate of it."""
        ordered = np.sort(np.concatenate([np.empty(0, np.uint64), *self.hashes]))
        return round(np.count_nonzero(ordered[1:] == ordered[:-1]) / self.fraction)


@dataclass
class Sample:
    """A uniform random sample of raw rows. Mutable."""

    generator: np.random.Generator
    frames: list[pl.DataFrame] = field(default_factory=list)
    keys: list[Floats] = field(default_factory=list)
    limit: float = 1.0

    def add(self, frame: pl.DataFrame) -> None:
        """Give each row a random key and keep the rows with the smallest keys (Efraimidis and Spirakis, 2006)."""
        keys = self.generator.random(frame.height)
        picked = np.flatnonzero(keys < self.limit)
        self.frames.append(frame[picked])
        self.keys.append(keys[picked])
        if sum(map(len, self.keys)) > 2 * SAMPLE_ROWS:
            self._shrink()

    def _shrink(self) -> None:
        keys, frame = np.concatenate(self.keys), pl.concat(self.frames)
        order = np.sort(np.argpartition(keys, SAMPLE_ROWS)[:SAMPLE_ROWS])
        self.frames, self.keys, self.limit = [frame[order]], [keys[order]], float(keys[order].max())

    def rows(self) -> pl.DataFrame:
        """Return the sample, in the order of the table."""
        if sum(map(len, self.keys)) > SAMPLE_ROWS:
            self._shrink()
        return pl.concat(self.frames)


def summarize(values: Floats, quantiles: Sequence[float], bins: int) -> tuple[dict[str, float], Any]:
    """Return quantiles by name, and (edges, counts) of a histogram, of values that are all known."""
    if len(values) == 0:
        return {}, None
    ordered = np.sort(values)
    # Between two quantiles numpy takes differences, which overflow near the largest doubles.
    scale = 0.25 if max(-ordered[0], ordered[-1]) > 1e307 else 1.0
    levels = np.quantile(ordered * scale, quantiles) / scale
    by_name = dict(zip(map(str, quantiles), levels.tolist(), strict=True))
    n_unique = 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
    counts, edges = equal_width_bins(ordered, min(bins, n_unique))
    return by_name, (edges.tolist(), counts.tolist())
