"""Kolmogorov-Smirnov test (1933, 1939): the largest distance between two distribution functions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Ints
from estimator.drift.base import ColumnTest, DriftResult
from estimator.drift.reference import ColumnReference
from estimator.errors import needs_extra


class KolmogorovSmirnov(ColumnTest):
    """For numbers that are not missing. Values are compared by bins, so p-values are slightly too large."""

    measure: ClassVar[str] = "largest distance of distribution functions"

    def suits(self, column: ColumnReference) -> bool:
        return not column.is_text

    def compare_column(self, column: ColumnReference, counts: Ints, *, seed: int = 0) -> DriftResult | None:
        with needs_extra("monitor", "testing for drift"):
            from scipy.special import kolmogorov
        n, m = int(column.counts[1:].sum()), int(counts[1:].sum())
        if min(n, m) < 2:
            return None
        distance, message = largest_distance(column, counts)
        size = n * m / (n + m) / column.design_effect
        return DriftResult(column.name, distance, float(kolmogorov(distance * np.sqrt(size))), message)


def change(column: ColumnReference, counts: Ints) -> float:
    """Return how far a column has changed, from 0 to 1.

    The largest distance of numbers, or the growth of the fraction of missing ones; half the change of all fractions of
    categories.

    >>> change(ColumnReference("size", np.array([0, 3, 1]), np.array([100.0])), np.array([0, 1, 3]))
    0.5
    """
    before, now = column.fractions, counts / max(counts.sum(), 1)
    if column.is_text:
        return float(np.abs(now - before).sum() / 2.0)
    return max(largest_distance(column, counts)[0], float(now[0] - before[0]))


def largest_distance(column: ColumnReference, counts: Ints) -> tuple[float, str]:
    """Return the largest distance between the distribution functions, and a phrase about the direction of the change.

    >>> column = ColumnReference("size", np.array([0, 3, 1]), np.array([100.0]))
    >>> largest_distance(column, np.array([0, 1, 3]))
    (0.5, 'larger values: median at most 100 in the reference, above 100 now')
    """
    before, now = (np.cumsum(part[1:]) / max(part[1:].sum(), 1) for part in (column.counts, counts))
    code = int(np.abs(now - before).argmax())
    direction = "smaller" if now[code] > before[code] else "larger"
    medians = [column.bin_name(int(np.searchsorted(part, 0.5)) + 1) for part in (before, now)]
    medians_differ = medians[0] != medians[1]
    suffix = f": median {medians[0]} in the reference, {medians[1]} now" if medians_differ else ""
    return float(abs(now[code] - before[code])), f"{direction} values{suffix}"
