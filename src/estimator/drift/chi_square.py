"""Chi-square test of two samples of categories (Pearson, 1900), with rare categories pooled."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Ints
from estimator.drift.frequency import FrequencyTest, pool_rare_bins
from estimator.drift.reference import ColumnReference

MIN_EXPECTED = 5.0


class ChiSquare(FrequencyTest):
    """For categories and text, missing values being a category of their own; the effect is Cramer's V (1946)."""

    measure: ClassVar[str] = "Cramer's V"

    def suits(self, column: ColumnReference) -> bool:
        return column.is_text

    def pool(self, column: ColumnReference, counts: Ints) -> tuple[Ints, Ints]:
        return pool_rare_bins(column.counts, counts, min_expected=MIN_EXPECTED)

    def distance(self, reference: Ints, current: Ints) -> tuple[float, float]:
        table = np.stack([reference, current]).astype(np.float64)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        statistic = float(((table - expected) ** 2 / expected).sum())
        return float(np.sqrt(statistic / table.sum())), statistic
