"""The contract of a metric: one score per weighting of the rows, so that a bootstrap is a single call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions

REGRESSION = frozenset({"regression"})
CLASSIFICATION = frozenset({"binary", "multiclass"})


class Metric(ABC):
    """A score of predictions against actual values; `tasks` are the kinds of task it applies to."""

    tasks: ClassVar[frozenset[str]]
    higher_is_better: ClassVar[bool]

    @abstractmethod
    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        """Return one score per row of `weights`, which has shape (weightings, rows).

        `actual` has shape (rows,): numbers, or class indices. A score that is undefined for a weighting (a single
        class, no variance) is NaN.
        """


def weighted_mean(terms: Floats, weights: Floats) -> Floats:
    """Return the mean of row terms (rows,) for each weighting (weightings, rows).

    >>> weighted_mean(np.array([1.0, 3.0]), np.array([[1.0, 1.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return np.asarray(weights @ terms / weights.sum(axis=1), np.float64)


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
