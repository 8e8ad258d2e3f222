"""Whether answers are distributed as those to rows that were held out."""

from __future__ import annotations

from typing import ClassVar

from estimator.drift.base import DriftTest, Finding
from estimator.drift.chi_square import ChiSquare
from estimator.drift.kolmogorov_smirnov import KolmogorovSmirnov
from estimator.drift.reference import Current, Reference


class PredictionDrift(DriftTest):
    """The test of a column, by distance or chi-square, of answers: what does not matter to them stays out."""

    measure: ClassVar[str] = "distance, or Cramer's V"

    def findings(self, reference: Reference, current: Current, *, seed: int = 0) -> list[Finding]:
        answers = reference.answers
        moved = (ChiSquare() if answers.is_text else KolmogorovSmirnov()).moved(answers, answers.count(current.answers))
        return [] if moved is None else [Finding(None, moved)]
