"""The population stability index: the sum of (q - p) log(q / p) over about ten bins (Siddiqi, 2006)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.drift.base import ColumnTest, Moved, rows_beside, tenths
from estimator.drift.chi_square import most_moved
from estimator.drift.reference import ColumnReference, Counts
from estimator.errors import needs_extra


class PopulationStability(ColumnTest):
    """Rules such as "above 0.2" alarm by chance in small samples; the p-value is of its law (Yurdakul, 2018)."""

    measure: ClassVar[str] = "PSI"

    def suits(self, column: ColumnReference) -> bool:
        return True

    def moved(self, column: ColumnReference, counts: Counts, *, seed: int = 0) -> Moved | None:
        with needs_extra("monitor", "testing for drift"):
            from scipy.special import chdtrc
        before, now = tenths(column, counts)
        rows = rows_beside(column, counts)
        if len(before) < 2 or rows < 1:
            return None
        # Half a row in every bin: an empty one would make the index infinite.
        ours, theirs = ((part * size + 0.5) / (size + 0.5 * len(part)) for part, size in (
            (before, column.rows), (now, int(counts.sum()))))  # fmt: skip
        index = float(((theirs - ours) * np.log(theirs / ours)).sum())
        return Moved(index, float(chdtrc(len(before) - 1, index * rows)), most_moved(column, counts))
