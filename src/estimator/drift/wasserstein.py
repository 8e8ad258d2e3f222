"""How far values have to be moved on average to turn one sample into the other (Wasserstein, 1969)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.text import format_number
from estimator.drift.base import ColumnTest, Moved
from estimator.drift.reference import ColumnReference, Counts

DRAWS = 400


class Wasserstein(ColumnTest):
    """For numbers, in usual distances from the median; what lies beyond the last edge counts as lying on it.

    The p-value is told by drawing samples of both sizes from both together.
    """

    measure: ClassVar[str] = "distance in usual distances"

    def suits(self, column: ColumnReference) -> bool:
        return not column.is_text and column.unit > 0 and len(column.edges) > 1

    def moved(self, column: ColumnReference, counts: Counts, *, seed: int = 0) -> Moved | None:
        before, now = column.counts[1:], counts[1:]
        n, m = int(before.sum()), int(now.sum())
        if min(n, m) < 2:
            return None
        steps = np.diff(column.edges) / column.unit
        distance = float(_distances(before[None, :], now[None, :], steps)[0])
        generator, together = np.random.default_rng([seed, 71]), (before + now) / (n + m)
        drawn = _distances(generator.multinomial(n, together, DRAWS), generator.multinomial(m, together, DRAWS), steps)
        p_value = (1 + int((drawn >= distance).sum())) / (1 + DRAWS)
        return Moved(distance, p_value, f"by {format_number(distance * column.unit)} on average")


def _distances(first: Counts, second: Counts, steps: Floats) -> Floats:
    """Return the area between the distribution functions of counts of shape (draws, bins)."""
    apart = first.cumsum(axis=1) / first.sum(axis=1, keepdims=True) - second.cumsum(axis=1) / second.sum(
        axis=1, keepdims=True
    )
    found: Floats = np.abs(apart[:, : len(steps)]) @ steps
    return found
