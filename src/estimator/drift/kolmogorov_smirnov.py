"""The largest distance between two distribution functions (Kolmogorov, 1933; Smirnov, 1939)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.drift.base import ColumnTest, Moved
from estimator.drift.reference import ColumnReference, Counts
from estimator.errors import needs_extra


class KolmogorovSmirnov(ColumnTest):
    """For numbers, gaps left out. Nothing is seen between the edges of bins: p-values are a little too large."""

    measure: ClassVar[str] = "distance"

    def suits(self, column: ColumnReference) -> bool:
        return not column.is_text

    def moved(self, column: ColumnReference, counts: Counts, *, seed: int = 0) -> Moved | None:
        with needs_extra("monitor", "testing for drift"):
            from scipy.special import kolmogorov
        n, m = int(column.counts[1:].sum()), int(counts[1:].sum())
        if min(n, m) < 2:
            return None
        distance, words = largest_distance(column, counts)
        return Moved(distance, float(kolmogorov(distance * np.sqrt(n * m / (n + m)))), words)


def largest_distance(column: ColumnReference, counts: Counts) -> tuple[float, str]:
    """Return the largest distance between the distribution functions of numbers, and which way they moved."""
    before, now = (np.cumsum(part[1:]) / max(part[1:].sum(), 1) for part in (column.counts, counts))
    place = int(np.abs(now - before).argmax())
    way = "smaller" if now[place] > before[place] else "larger"
    middles = [column.bin_name(int(np.searchsorted(part, 0.5)) + 1) for part in (before, now)]
    told = f": half were {middles[0]}, now {middles[1]}" if middles[0] != middles[1] else ""
    return float(abs(now[place] - before[place])), f"{way} values{told}"
