"""Whether two samples have the same levels equally often (Pearson, 1900), with levels that are rare put together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.drift.base import ColumnTest, Moved, pooled
from estimator.drift.reference import ColumnReference, Counts
from estimator.errors import needs_extra

LEAST_EXPECTED = 5.0


class ChiSquare(ColumnTest):
    """For words, gaps counted as a level of their own; the effect is Cramer's V (1946)."""

    measure: ClassVar[str] = "Cramer's V"

    def suits(self, column: ColumnReference) -> bool:
        return column.is_text

    def moved(self, column: ColumnReference, counts: Counts, *, seed: int = 0) -> Moved | None:
        with needs_extra("monitor", "testing for drift"):
            from scipy.special import chdtrc
        before, now = pooled(column.counts, counts, least=LEAST_EXPECTED)
        if len(before) < 2 or not before.sum() or not now.sum():
            return None
        table = np.stack([before, now]).astype(np.float64)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        statistic = float(((table - expected) ** 2 / expected).sum())
        p_value = float(chdtrc(len(before) - 1, statistic))
        return Moved(float(np.sqrt(statistic / table.sum())), p_value, most_moved(column, counts))


def most_moved(column: ColumnReference, counts: Counts) -> str:
    """Return the bin whose share moved most, as words."""
    before, now = column.counts / max(column.rows, 1), counts / max(counts.sum(), 1)
    place = int(np.abs(now - before).argmax())
    return f"{column.bin_name(place)}: {before[place]:.1%} before, {now[place]:.1%} now"
