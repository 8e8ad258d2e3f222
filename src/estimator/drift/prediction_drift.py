"""Prediction drift: are predictions distributed as those for held-out rows?"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from estimator.drift.base import BatchTest, DriftResult
from estimator.drift.chi_square import ChiSquare
from estimator.drift.kolmogorov_smirnov import KolmogorovSmirnov
from estimator.drift.reference import CurrentRows, DriftReference


class PredictionDrift(BatchTest):
    """Kolmogorov-Smirnov or chi-square on the predictions, so that a shift without consequences is ignored."""

    measure: ClassVar[str] = "largest distance, or Cramer's V"

    def compare(self, reference: DriftReference, current: CurrentRows, *, seed: int = 0) -> list[DriftResult]:
        column = reference.predictions
        test = ChiSquare() if column.is_text else KolmogorovSmirnov()
        result = test.compare_column(column, column.count(current.predictions[current.predictions > 0]))
        return [] if result is None else [replace(result, column=None)]
