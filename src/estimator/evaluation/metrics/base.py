"""The contract of a metric: one score per weighting of the rows, so that a bootstrap is a single call."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions

REGRESSION = frozenset({"regression"})
CLASSIFICATION = frozenset({"binary", "multiclass"})


class Metric(ABC):
    """A score of predictions against actual values; `tasks` are the kinds of task it applies to.

    A metric that follows from the mean of a loss per row, of at most `max_row_loss`, can be monitored label by label.
    One that `scores_classes` depends on the predicted classes alone, and so on the decision threshold.
    """

    tasks: ClassVar[frozenset[str]]
    higher_is_better: ClassVar[bool]
    max_row_loss: ClassVar[float] = math.inf
    scores_classes: ClassVar[bool] = False

    @abstractmethod
    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        """Return one score per row of `weights`, which has shape (weightings, rows).

        `actual` has shape (rows,): numbers, or class indices. A score that is undefined for a weighting (a single
        class, no variance) is NaN.
        """

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats | None:
        """Return a loss from 0 on for each row, NaN where a row does not count; None if their mean is not the metric.

        `from_mean_loss` of their mean is then the score.
        """
        del actual, predictions
        return None

    def from_mean_loss(self, mean_loss: float) -> float:
        """Return the score of rows by the mean of their losses, which is the score itself unless a metric differs."""
        return mean_loss


def weighted_mean(terms: Floats, weights: Floats) -> Floats:
    """Return the mean of row terms (rows,) for each weighting (weightings, rows), NaN where all weights are 0.

    >>> weighted_mean(np.array([1.0, 3.0]), np.array([[1.0, 1.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return ratio(weights @ terms, weights.sum(axis=1))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return numerator / denominator, NaN where the denominator is not positive.

    >>> ratio(np.array([1.0, 1.0]), np.array([4.0, 0.0])).tolist()
    [0.25, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def defined_mean(scores: Floats) -> Floats:
    """Return the mean over the classes of scores (weightings, classes), skipping NaN; NaN where all are NaN."""
    is_defined = ~np.isnan(scores)
    return ratio(np.where(is_defined, scores, 0.0).sum(axis=1), is_defined.sum(axis=1).astype(np.float64))


def probabilities_of(predictions: Predictions) -> Floats:
    """Return the probabilities, of shape (rows, classes).

    Raises
    ------
    ValueError: these are predictions of a regression.
    """
    if predictions.probabilities is None:
        raise ValueError("a classification metric needs probabilities, got predictions of a regression")
    return predictions.probabilities
