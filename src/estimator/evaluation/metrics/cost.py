"""The mean cost of wrong predictions, by what the config says that they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import Metric, weighted_mean


@dataclass(frozen=True)
class MisclassificationCost(Metric):
    """Mean cost per row of wrong predictions of two classes, by `evaluation.costs`.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> costs = MisclassificationCost(false_negative=6.0, false_positive=1.0)
    >>> costs.scores(np.array([1.0, 1.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [2.333]
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"binary"})
    higher_is_better: ClassVar[bool] = False
    scores_classes: ClassVar[bool] = True

    false_negative: float = 1.0
    false_positive: float = 1.0

    @property
    def max_row_loss(self) -> float:  # type: ignore[override] # of this metric it depends on the costs
        """The larger of the two costs."""
        return max(self.false_negative, self.false_positive)

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        return weighted_mean(self.row_losses(actual, predictions), weights)

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        is_wrong = predictions.codes != actual
        return np.where(is_wrong, np.where(actual == 1.0, self.false_negative, self.false_positive), 0.0)
