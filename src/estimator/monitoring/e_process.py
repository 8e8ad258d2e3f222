"""Evidence against "rows come as they came in training", gathered row after row, that may be looked at all the time.

Each row is ranked among those of training and those before it (a conformal p-value, Vovk, Gammerman and Shafer,
2005): while nothing moves, ranks are uniform and independent whatever the distribution. A bank of bets on them (fixed
shares, Herbster and Warmuth, 1998) neither gains nor loses on average then, and grows when ranks stop being uniform. A
new bet of 1 begins with every block of time; the sum of all is an e-detector (Shin, Ramdas and Rinaldo, 2024): on
average it takes at least as many blocks as its threshold says until it alarms falsely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator.core.arrays import Floats
from estimator.drift.reference import Codes, ColumnReference

CELLS = 20
PARTS = 10
# Adaptive bets remember about so many rows, and begin as if each part of the ranks had been seen so often.
MEMORIES = np.array([100.0, 400.0, 1600.0])
BEGIN = 2.0
# How much of all bets is dealt anew after each row, and how much of that, as of every new stake, bets on nothing.
SHARED = 0.001
IDLE = 0.3
LARGEST = 1e200


def _bets() -> Floats:
    """Return what each fixed bet pays where a rank falls, of shape (cells, bets); each pays 1 on average."""
    middles = (np.arange(CELLS) + 0.5) / CELLS
    tilts = [1.0 + slope * (2.0 * middles - 1.0) for slope in (-0.9, -0.5, 0.5, 0.9)]
    tails = [
        1.0 - share + share * CELLS / width * (middles > 1 - width / CELLS if upper else middles < width / CELLS)
        for upper in (False, True)
        for share, width in ((0.3, 1), (0.6, 2))
    ]
    ends = (2.0 * middles - 1.0) ** 2
    shapes = [1.0 + size * (ends / ends.mean() - 1.0) for size in (-0.5, 0.45)]
    return np.stack([np.ones(CELLS), *tilts, *tails, *shapes], axis=1)


BETS = _bets()
# Bets that win when ranks are high, for what is bad only when it is large.
HIGH = BETS[:, [0, 3, 4, 7, 8]]


class Ranks:
    """Ranks of rows among all before them, by the bins of their columns; ties are parted by chance.

    `counts` begins as that of training. Chance comes from a stream of its own, one number a row and column, so that the
    ranks do not hang on how rows are portioned.
    """

    def __init__(self, columns: Sequence[ColumnReference], *, seed: int) -> None:
        width = max((len(column.counts) for column in columns), default=1)
        self.counts = np.zeros((len(columns), width), np.int64)
        for place, column in enumerate(columns):
            self.counts[place, : len(column.counts)] = column.counts
        self.rows = 0
        self._generator = np.random.default_rng([seed, 80])

    def take(self, codes: Codes) -> Floats:
        """Return the rank of each value of shape (rows, columns), from 0 to 1."""
        n_rows, n_columns = codes.shape
        below, ties = np.empty((n_rows, n_columns)), np.empty((n_rows, n_columns))
        earlier = np.tril(np.ones((n_rows, n_rows), dtype=bool), -1)
        for place in range(n_columns):
            bins, before = codes[:, place].astype(np.int64), np.cumsum(self.counts[place])
            less, same = bins[None, :] < bins[:, None], bins[None, :] == bins[:, None]
            below[:, place] = before[bins] - self.counts[place, bins] + (less & earlier).sum(axis=1)
            ties[:, place] = self.counts[place, bins] + (same & earlier).sum(axis=1)
            self.counts[place] += np.bincount(bins, minlength=self.counts.shape[1])
        start = self.counts.sum(axis=1) - n_rows
        self.rows += n_rows
        chance = self._generator.random((n_rows, n_columns))
        ranks: Floats = (below + chance * (ties + 1.0)) / (start + np.arange(1, n_rows + 1)[:, None])
        return ranks

    def skip(self, rows: int) -> None:
        """Pass over the chance that earlier rows have taken."""
        self._generator.bit_generator.advance(rows * len(self.counts))  # type: ignore[attr-defined] # PCG64 has it
        self.rows = rows


class Evidence:
    """Bets on the ranks of several columns; `wealth` sums those on each, of shape (columns,)."""

    def __init__(self, n_columns: int, *, only_high: bool = False) -> None:
        self.only_high, self._bets = only_high, HIGH if only_high else BETS
        n_fixed, n_adaptive = self._bets.shape[1], 0 if only_high else len(MEMORIES)
        self._deal = np.full(n_fixed + n_adaptive, (1.0 - IDLE) / (n_fixed + n_adaptive - 1))
        self._deal[0] = IDLE
        self.stakes = np.zeros((n_columns, len(self._deal)))
        self.seen = np.full((n_columns, n_adaptive, PARTS), BEGIN)

    @property
    def wealth(self) -> Floats:
        """What the bets on each column have come to; on average the number of blocks while nothing moves."""
        found: Floats = self.stakes.sum(axis=1)
        return found

    def begin(self) -> None:
        """Begin a block: put a stake of 1 on every column."""
        self.stakes += self._deal

    def take(self, ranks: Floats) -> Floats:
        """Bet on ranks of shape (rows, columns), row after row; return the wealth after each, of the same shape."""
        found = np.empty_like(ranks)
        fixed = self._bets[np.minimum((ranks * CELLS).astype(np.int64), CELLS - 1)]
        parts = np.minimum((ranks * PARTS).astype(np.int64), PARTS - 1)
        n_fixed, n_adaptive = fixed.shape[2], self.seen.shape[1]
        stakes, seen, columns = self.stakes, self.seen, np.arange(ranks.shape[1])
        kept, added = (1.0 - 1.0 / MEMORIES[:n_adaptive])[None, :, None], (BEGIN / MEMORIES[:n_adaptive])[None, :, None]
        size = seen.sum(axis=2)
        for row in range(len(ranks)):
            # What has been lent out comes back by shares: a bet that lost may win later.
            stakes += SHARED * (stakes.sum(axis=1, keepdims=True) * self._deal - stakes)
            stakes[:, :n_fixed] *= fixed[row]
            if n_adaptive:
                stakes[:, n_fixed:] *= PARTS * seen[columns, :, parts[row]] / size
                seen *= kept
                seen += added
                seen[columns, :, parts[row]] += 1.0
                size = size * kept[:, :, 0] + added[:, :, 0] * PARTS + 1.0
            # What is proven a thousand times over need not grow beyond what a double holds.
            np.minimum(stakes, LARGEST, out=stakes)
            found[row] = stakes.sum(axis=1)
        return found
