"""The distance of Jensen and Shannon (Lin, 1991): how far two distributions are from their mean, from 0 to 1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.drift.base import ColumnTest, Moved, rows_beside, tenths
from estimator.drift.chi_square import most_moved
from estimator.drift.reference import ColumnReference, Counts
from estimator.errors import needs_extra


class JensenShannon(ColumnTest):
    """The root of the divergence in bits; eight times that in nats is nearly chi-square, which gives the p-value."""

    measure: ClassVar[str] = "distance"

    def suits(self, column: ColumnReference) -> bool:
        return True

    def moved(self, column: ColumnReference, counts: Counts, *, seed: int = 0) -> Moved | None:
        with needs_extra("monitor", "testing for drift"):
            from scipy.special import chdtrc
        before, now = tenths(column, counts)
        rows = rows_beside(column, counts)
        if len(before) < 2 or rows < 1:
            return None
        nats = max(0.0, (_beside(before, (before + now) / 2) + _beside(now, (before + now) / 2)) / 2)
        p_value = float(chdtrc(len(before) - 1, 8.0 * nats * rows))
        return Moved(float(np.sqrt(nats / np.log(2.0))), p_value, most_moved(column, counts))


def _beside(shares: Floats, middle: Floats) -> float:
    """Return the divergence of Kullback and Leibler, in nats."""
    there = shares > 0
    return float((shares[there] * np.log(shares[there] / middle[there])).sum())
