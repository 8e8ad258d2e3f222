"""E-process (test martingale): evidence against "rows are as in training", valid however often it is read.

1. Each row is ranked among the rows of training and those before it, by the bin of each column. While nothing changes
   these conformal p-values are independent and uniform, whatever the distribution (Vovk, Gammerman and Shafer, 2005).
2. A portfolio of bets on the ranks multiplies its capital row after row. Each bet pays 1 on average under uniform
   ranks, so the capital is an e-value: by Ville's inequality it reaches 1/alpha with a probability of at most alpha,
   at any time (Waudby-Smith and Ramdas, 2024). Capital moves between the bets by fixed shares (Herbster and Warmuth,
   1998).
3. Where neighbors are alike in the natural order of training, a row counts as a part of one: payoffs are raised to the
   power of 1 / design effect. The gains of a bet then vary no more than those on independent rows, up to the
   accuracy of the central limit theorem.
4. A new capital of 1 is added with every period; the sum is an e-detector (Shin, Ramdas and Rinaldo, 2024). While
   nothing changes it takes, on average, at least `threshold` periods to reach `threshold`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.drift.base import SequentialTest
from estimator.drift.reference import BinCodes, ColumnReference

N_CELLS = 20
N_HISTOGRAM_BINS = 10
# Adaptive bets follow a histogram of the ranks, remembered for about this many rows.
MEMORY_ROWS = np.array([100.0, 400.0, 1600.0])
PRIOR_COUNT = 2.0
# Fraction of all capital that is redistributed after each row, and of it the part that does not bet.
REDISTRIBUTED_FRACTION = 0.001
IDLE_FRACTION = 0.3
# Far beyond any threshold, and far below the largest double.
MAX_CAPITAL = 1e200
# Ranks are computed for this many rows at once, as memory grows with the square.
CHUNK_ROWS = 50


def _bets() -> Floats:
    """Return what each fixed bet pays in each cell of the ranks, of shape (cells, bets); each pays 1 on average."""
    centers = (np.arange(N_CELLS) + 0.5) / N_CELLS
    tilts = [1.0 + slope * (2.0 * centers - 1.0) for slope in (-0.9, -0.5, 0.5, 0.9)]
    tails = [
        1.0
        - weight
        + weight * N_CELLS / width * (centers > 1 - width / N_CELLS if upper else centers < width / N_CELLS)
        for upper in (False, True)
        for weight, width in ((0.3, 1), (0.6, 2))
    ]
    ends = (2.0 * centers - 1.0) ** 2
    spreads = [1.0 + size * (ends / ends.mean() - 1.0) for size in (-0.5, 0.45)]
    return np.stack([np.ones(N_CELLS), *tilts, *tails, *spreads], axis=1)


BETS = _bets()


class ConformalRanks:
    """Ranks of rows among the training rows and all rows before them, by bins; ties are broken at random.

    The random numbers come one per row and column, so the ranks do not depend on the size of the batches.
    """

    def __init__(self, columns: Sequence[ColumnReference], *, seed: int) -> None:
        width = max((len(column.counts) for column in columns), default=1)
        self.counts = np.zeros((len(columns), width), np.int64)
        for index, column in enumerate(columns):
            self.counts[index, : len(column.counts)] = column.counts
        self.n_rows = 0
        self._generator = np.random.default_rng([seed, 80])

    def update(self, codes: BinCodes) -> Floats:
        """Add rows of shape (rows, columns); return the rank of each value, from 0 to 1."""
        n_rows, n_columns = codes.shape
        below, ties = np.empty((n_rows, n_columns)), np.empty((n_rows, n_columns))
        is_earlier = np.tril(np.ones((n_rows, n_rows), dtype=bool), -1)
        for index in range(n_columns):
            bins, cumulative = codes[:, index].astype(np.int64), np.cumsum(self.counts[index])
            is_less, is_equal = bins[None, :] < bins[:, None], bins[None, :] == bins[:, None]
            below[:, index] = cumulative[bins] - self.counts[index, bins] + (is_less & is_earlier).sum(axis=1)
            ties[:, index] = self.counts[index, bins] + (is_equal & is_earlier).sum(axis=1)
            self.counts[index] += np.bincount(bins, minlength=self.counts.shape[1])
        n_before = self.counts.sum(axis=1) - n_rows
        self.n_rows += n_rows
        uniform = self._generator.random((n_rows, n_columns))
        ranks: Floats = (below + uniform * (ties + 1.0)) / (n_before + np.arange(1, n_rows + 1)[:, None])
        return ranks

    def skip(self, n_rows: int) -> None:
        """Advance the random numbers by those of earlier rows."""
        self._generator.bit_generator.advance(n_rows * len(self.counts))  # type: ignore[attr-defined] # PCG64 has it
        self.n_rows = n_rows


class BettingPortfolio:
    """Bets on the uniform ranks of several columns; `e_values` sums the capital of each column, of shape (columns,).

    So many rows of a column as its entry of `design_effects`, of shape (columns,), count as one.
    """

    def __init__(self, design_effects: Floats) -> None:
        n_fixed, n_adaptive = BETS.shape[1], len(MEMORY_ROWS)
        self._weights = np.full(n_fixed + n_adaptive, (1.0 - IDLE_FRACTION) / (n_fixed + n_adaptive - 1))
        self._weights[0] = IDLE_FRACTION
        self._parts = 1.0 / design_effects[:, None]
        # Of shape (columns, cells, bets).
        self._payoffs = BETS ** self._parts[:, :, None]
        self.capital = np.zeros((len(design_effects), len(self._weights)))
        self.histogram = np.full((len(design_effects), n_adaptive, N_HISTOGRAM_BINS), PRIOR_COUNT)

    @property
    def design_effects(self) -> Floats:
        """The number of rows of each column that count as one."""
        return 1.0 / self._parts[:, 0]

    @property
    def e_values(self) -> Floats:
        """The capital of each column; on average the number of periods while nothing changes."""
        return np.asarray(self.capital.sum(axis=1))

    def start_period(self) -> None:
        """Add a capital of 1 to every column."""
        self.capital += self._weights

    def update(self, ranks: Floats) -> Floats:
        """Bet on ranks of shape (rows, columns), row after row; return the e-values after each, of the same shape."""
        e_values = np.empty_like(ranks)
        columns, parts = np.arange(ranks.shape[1]), self._parts
        payoffs = self._payoffs[columns, np.minimum((ranks * N_CELLS).astype(np.int64), N_CELLS - 1)]
        bins = np.minimum((ranks * N_HISTOGRAM_BINS).astype(np.int64), N_HISTOGRAM_BINS - 1)
        n_fixed = payoffs.shape[2]
        capital, histogram = self.capital, self.histogram
        decay = (1.0 - parts / MEMORY_ROWS)[:, :, None]
        prior = PRIOR_COUNT * (1.0 - decay)
        total = histogram.sum(axis=2)
        for row in range(len(ranks)):
            # A bet that has lost its capital must be able to win later.
            capital += REDISTRIBUTED_FRACTION * parts * (capital.sum(axis=1, keepdims=True) * self._weights - capital)
            capital[:, :n_fixed] *= payoffs[row]
            capital[:, n_fixed:] *= (N_HISTOGRAM_BINS * histogram[columns, :, bins[row]] / total) ** parts
            histogram *= decay
            histogram += prior
            histogram[columns, :, bins[row]] += parts
            total = total * decay[:, :, 0] + prior[:, :, 0] * N_HISTOGRAM_BINS + parts
            np.minimum(capital, MAX_CAPITAL, out=capital)
            e_values[row] = capital.sum(axis=1)
        return e_values


class EProcess(SequentialTest):
    """Detects a change of any column, or an increase alone, by betting against uniform conformal ranks.

    >>> import numpy as np
    >>> column = ColumnReference("size", np.array([0, 50, 50]), np.array([1.0]))
    >>> test = EProcess.of([column], threshold=1000)
    >>> shifted = np.full((60, 1), 2, np.uint8)
    >>> e_values = test.update(shifted, np.zeros(60, np.int64))
    >>> test.drift_detected, int(np.argmax(e_values[:, 0] >= 1000)) < 60
    (True, True)
    """

    def __init__(self, ranks: ConformalRanks, portfolio: BettingPortfolio, threshold: float) -> None:
        self._ranks, self._portfolio, self.threshold = ranks, portfolio, threshold
        self._period: int | None = None
        self._detected = False

    @classmethod
    def of(cls, columns: Sequence[ColumnReference], *, threshold: float, seed: int = 0) -> Self:
        effects = np.array([column.design_effect for column in columns])
        return cls(ConformalRanks(columns, seed=seed), BettingPortfolio(effects), threshold)

    def update(self, codes: BinCodes, periods: Ints) -> Floats:
        e_values = np.empty(codes.shape)
        before = self._period if self._period is not None else periods[0] - 1 if len(periods) else 0
        starts = np.flatnonzero(np.diff(periods, prepend=before) > 0)
        for first, last in _chunks(starts, len(codes)):
            if periods[first] != self._period:
                self._period = int(periods[first])
                self._portfolio.start_period()
            e_values[first:last] = self._portfolio.update(self._ranks.update(codes[first:last]))
        self._detected = bool(codes.size) and bool((e_values.mean(axis=1) >= self.threshold).any())
        return e_values

    @property
    def e_values(self) -> Floats:
        return self._portfolio.e_values

    @property
    def drift_detected(self) -> bool:
        return self._detected

    def restart(self) -> None:
        self._portfolio = BettingPortfolio(self._portfolio.design_effects)
        self._period, self._detected = None, False

    def to_data(self) -> dict[str, Any]:
        arrays = {
            "counts": self._ranks.counts,
            "capital": self._portfolio.capital,
            "histogram": self._portfolio.histogram,
        }
        return {
            **{name: _packed(array) for name, array in arrays.items()},
            "rows": self._ranks.n_rows,
            "period": self._period,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        self._ranks.counts = _unpacked(data["counts"], np.int64)
        self._ranks.skip(data["rows"])
        self._portfolio.capital = _unpacked(data["capital"], np.float64)
        self._portfolio.histogram = _unpacked(data["histogram"], np.float64)
        self._period = data["period"]


def _chunks(starts: Ints, n_rows: int) -> list[tuple[int, int]]:
    """Return the slices of rows that are processed together: within a period, and not too many."""
    edges = sorted({*starts.tolist(), *range(0, n_rows, CHUNK_ROWS), n_rows})
    return list(pairwise(edges))


def _packed(array: npt.NDArray[Any]) -> list[Any]:
    return [base64.b64encode(array.tobytes()).decode(), *array.shape]


def _unpacked(packed: Sequence[Any], kind: Any) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed[0]), dtype=kind).reshape(packed[1:]).copy()
