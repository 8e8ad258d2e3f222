"""What one pass over batches of rows gathers beside the survey, in memory that does not grow with the rows.

Exact: moments and pairwise-complete cross-products. Sampled: whole rows, from which quantiles and ranks are read, and
beyond some millions of rows the count of repeated ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Indices

SAMPLE_ROWS = 50_000
BLOCK_ROWS = 4096
MOST_HASHES = 2_000_000
WHOLE_RANGE = 2.0**64


@dataclass
class Numbers:
    """Sums over numeric columns: each column's powers, and the products of every pair where both are known.

    Values are shifted and scaled by those of the first batch, so that sums of powers keep their digits. Powers are
    summed in double; the products of pairs come from single-precision blocks of 4,096 rows, summed in double.
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
        """Return empty sums for columns that look like these, each of shape (rows,) with NaN for gaps."""
        solid = [column[np.isfinite(column)] for column in columns]
        with np.errstate(over="ignore"):
            shift = np.array([values.mean() if len(values) else 0.0 for values in solid])
            spread = np.array([values.std() if len(values) else 0.0 for values in solid])
        return cls(np.where(np.isfinite(shift), shift, 0.0), np.where((spread > 0) & np.isfinite(spread), spread, 1.0))

    def add(self, columns: Sequence[Floats]) -> None:
        """Take rows into account: an array of shape (rows,) per column, with NaN for gaps."""
        # Numbers near the end of what a double holds make infinite sums, and moments that are not defined.
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(columns[0]), BLOCK_ROWS):
                self._add_block(np.stack([column[start : start + BLOCK_ROWS] for column in columns]))

    def _add_block(self, block: Floats) -> None:
        """Take values of shape (columns, rows) into account."""
        block -= self.shift[:, None]
        block *= 1.0 / self.scale[:, None]
        # A sum with a gap in it is a gap.
        gapped = np.flatnonzero(np.isnan(block.sum(axis=1)))
        known = ~np.isnan(block[gapped])
        block[gapped] = np.where(known, block[gapped], 0.0)
        squared = block * block
        first, second = block.sum(axis=1), squared.sum(axis=1)
        third, fourth = np.einsum("ij,ij->i", squared, block), np.einsum("ij,ij->i", squared, squared)
        self.powers += [first, second, third, fourth]
        counts = np.full(len(block), float(block.shape[1]))
        counts[gapped] = known.sum(axis=1)
        self.n += counts
        self._add_pairs(block.astype(np.float32), known.astype(np.float32), gapped, (counts, first, second))

    def _add_pairs(
        self,
        values: npt.NDArray[np.float32],
        known: npt.NDArray[np.float32],
        gapped: Indices,
        totals: tuple[Floats, Floats, Floats],
    ) -> None:
        """Add what pairs have in common; where the other column has no gap, a column's own totals say it."""
        self.products += values @ values.T
        counts, sums, squares = (np.repeat(total[:, None], len(values), axis=1) for total in totals)
        if len(gapped):
            sums[:, gapped] = values @ known.T
            squares[:, gapped] = np.square(values) @ known.T
            counts[:, gapped] = totals[0][gapped]
            counts[gapped] = totals[0][gapped][:, None]
            counts[np.ix_(gapped, gapped)] = known @ known.T
        self.sums += sums
        self.squares += squares
        self.pairs += counts

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
class Repeats:
    """How many rows were there before: exact for two million rows, beyond them estimated.

    Rows are told apart by their hash. When there are too many, only those with small hashes are kept, which keeps all
    copies of a row or none.
    """

    kept: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    share: float = 1.0

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Take rows into account by their hashes."""
        self.kept.append(self._small(hashes))
        while sum(map(len, self.kept)) > MOST_HASHES:
            self.share /= 2
            self.kept = [np.concatenate([self._small(part) for part in self.kept])]

    def _small(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return hashes if self.share == 1.0 else hashes[hashes < np.uint64(WHOLE_RANGE * self.share)]

    @property
    def is_exact(self) -> bool:
        """Whether all rows were compared."""
        return self.share == 1.0

    @property
    def count(self) -> int:
        """The number of rows that repeat an earlier one, or its estimate."""
        together = np.sort(np.concatenate([np.empty(0, np.uint64), *self.kept]))
        return round(np.count_nonzero(together[1:] == together[:-1]) / self.share)


@dataclass
class Sample:
    """Rows drawn without regard to their values, each with the same chance, as they were read."""

    generator: np.random.Generator
    frames: list[pl.DataFrame] = field(default_factory=list)
    keys: list[Floats] = field(default_factory=list)
    limit: float = 1.0

    def add(self, frame: pl.DataFrame) -> None:
        """Give every row a random key and keep the rows with the smallest ones (Efraimidis and Spirakis, 2006)."""
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


def described(solid: Floats, quantiles: Sequence[float], bins: int) -> tuple[dict[str, float], Any]:
    """Return quantiles by name, and (edges, counts) of a histogram, of values without gaps."""
    if len(solid) == 0:
        return {}, None
    ordered = np.sort(solid)
    found = dict(zip(map(str, quantiles), np.quantile(ordered, quantiles).tolist(), strict=True))
    n_unique = 1 + int(np.count_nonzero(np.diff(ordered)))
    counts, edges = np.histogram(ordered, bins=min(bins, n_unique))
    return found, (edges.tolist(), counts.tolist())
