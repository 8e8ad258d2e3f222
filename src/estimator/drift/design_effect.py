"""The design effect: how many rows count as one, as rows that follow each other may be alike.

In the order of a log, neighbors share an hour, a batch or a household. The sum over a run of such rows varies more than
over rows drawn at random; the ratio of both variances is the design effect (Kish, 1965, "Survey Sampling"), here the
largest over runs of all lengths. Evidence that takes the rows as independent is too strong by this factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints

N_CELLS = 20
# A ratio of variances of runs is known to a few percent of itself where there are so many of them.
MIN_RUNS = 16
# Standard errors above 1 from which a ratio is no chance, over all cells, lengths and columns.
MIN_STANDARD_ERRORS = 6.0
# Rows times columns; of larger tables the last rows are measured.
MAX_CELLS = 1_000_000
MAX_SPAN_CELLS = 10_000_000
# Columns whose neighbors are less alike cannot show soon that others are not; rows before they do, and how surely.
MIN_CORRELATION, MIN_COMPARED_ROWS, COMPARED_STANDARD_ERRORS = 0.2, 50, 3.0


@dataclass(frozen=True, slots=True)
class RowOrder:
    """The natural order of rows: their indices in it, and the place in it of each row that was predicted.

    In an order by time, rows share what lasts for a while, in whatever order they are sent within it.
    """

    rows: Ints
    predicted: Ints
    is_by_time: bool = False


def design_effect(features: Floats, places: Ints) -> float:
    """Return the design effect of sums of features, of shape (rows, features): the largest, and at least 1.

    It is 1 where order makes no difference that is beyond chance. `places` are those of the rows in the natural order,
    of shape (rows,). Where rows are left out between them, as held-out rows are drawn, the effect is that of all rows.

    >>> days = np.repeat(np.arange(50), 20) % 7 == 3
    >>> shuffled = np.random.default_rng(0).permutation(1000)
    >>> design_effect(days[:, None], np.arange(1000)) > 5, design_effect(days[:, None], shuffled)
    (True, 1.0)
    """
    # Of a longer order the end is measured, so that memory does not grow with it.
    is_latest = places > places.max(initial=0) - MAX_SPAN_CELLS // max(features.shape[1], 1)
    features, places = features[is_latest], places[is_latest]
    if len(features) < 2 * MIN_RUNS:
        return 1.0
    order = np.argsort(places, kind="stable")
    span = int(places.max() - places.min()) + 1
    density, centered = len(features) / span, np.zeros((span, features.shape[1]))
    centered[places[order] - places.min()] = features[order] - features.mean(axis=0)
    variance = (centered**2).sum(axis=0) / span
    sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(centered, axis=0)])
    effect, standard_errors, length = 1.0, 0.0, 2
    while length <= span // MIN_RUNS:
        ratios = ((sums[length:] - sums[:-length]) ** 2).mean(axis=0) / (length * np.maximum(variance, 1e-12))
        excess = float(ratios.max()) - 1.0
        # Runs that overlap know the variance as well as 1.5 times as many that do not.
        standard_errors = max(standard_errors, excess / float(np.sqrt(2.0 * length / (1.5 * span))))
        effect = max(effect, 1.0 + excess / density)
        length *= 2
    return effect if standard_errors >= MIN_STANDARD_ERRORS else 1.0


def rank_features(codes: npt.NDArray[np.integer], *, seed: int) -> Floats:
    """Return features of the ranks of bins: the cell of each rank, the rank, and how far it is from the middle.

    Of shape (rows, features); ties are broken at random.
    """
    counts = np.bincount(codes)
    below = np.cumsum(counts) - counts
    uniform = np.random.default_rng([seed, 81]).random(len(codes))
    ranks = (below[codes] + uniform * counts[codes]) / max(len(codes), 1)
    cells = np.minimum((ranks * N_CELLS).astype(np.int64), N_CELLS - 1)
    return np.column_stack([np.eye(N_CELLS)[cells], ranks, (2.0 * ranks - 1.0) ** 2])


class NeighborCorrelation:
    """How alike neighbors are in a stream of rows: the correlation of ranks at lag 1, where it was large in training.

    `usual` is that of training in its natural order, of shape (columns,); columns below 0.2 are left out. Mutable.
    """

    def __init__(self, usual: Floats) -> None:
        self._used = np.flatnonzero(usual >= MIN_CORRELATION)
        self._usual = float(usual[self._used].mean()) if len(self._used) else 0.0
        self.n_rows = 0
        # Sums of ranks, their squares, and their products with the rank before; and the last ranks.
        self.sums = np.zeros((4, len(self._used)))

    def update(self, ranks: Floats) -> None:
        """Add rows as ranks from 0 to 1, of shape (rows, columns)."""
        if not len(self._used) or not len(ranks):
            return
        used = ranks[:, self._used]
        before = np.concatenate([self.sums[3:] if self.n_rows else used[:1], used[:-1]])
        self.sums[0] += used.sum(axis=0)
        self.sums[1] += (used**2).sum(axis=0)
        self.sums[2] += (used * before).sum(axis=0)
        self.sums[3] = used[-1]
        self.n_rows += len(used)

    @property
    def shows_random_order(self) -> bool:
        """Whether neighbors are clearly less alike than in training: at most a tenth as much, and surely not half."""
        if self.n_rows < MIN_COMPARED_ROWS or not len(self._used):
            return False
        mean, squares, products = self.sums[:3] / self.n_rows
        variance = np.maximum(squares - mean**2, 1e-12)
        correlation = float(((products - mean**2) / variance).mean())
        highest = correlation + COMPARED_STANDARD_ERRORS / float(np.sqrt(self.n_rows))
        return correlation <= self._usual / 10.0 and highest <= self._usual / 2.0
