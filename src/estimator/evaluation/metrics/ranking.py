"""Ranks, and the area under the ROC curve (Hanley and McNeil, 1982)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import CLASSIFICATION, Metric, defined_mean, probabilities_of, ratio


class AreaUnderCurve(Metric):
    """Probability that a row of the class scores above a row of another; ties count half.

    With more than two classes, the mean over each class against the rest.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> AreaUnderCurve().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [1.0]
    """

    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    higher_is_better: ClassVar[bool] = True

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        probabilities = probabilities_of(predictions)
        n_classes = probabilities.shape[1]
        classes = [1] if n_classes == 2 else range(n_classes)
        areas = [area_under_curve(actual == index, probabilities[:, index], weights) for index in classes]
        return defined_mean(np.column_stack(areas))


def area_under_curve(is_positive: Mask, scores: Floats, weights: Floats) -> Floats:
    """Return the area per weighting, NaN where one side is empty; one sort serves all weightings."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positives = np.add.reduceat(weights[:, order] * is_positive[order], starts, axis=1)
    negatives = np.add.reduceat(weights[:, order] * ~is_positive[order], starts, axis=1)
    negatives_below = np.cumsum(negatives, axis=1) - negatives
    n_pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return ratio((positives * (negatives_below + 0.5 * negatives)).sum(axis=1), n_pairs)


def ranks_with_ties(values: Floats) -> tuple[Floats, float]:
    """Return ranks from 1 on, equal values sharing their mean rank, and the sum of t^3 - t over ties of t values.

    >>> ranks_with_ties(np.array([30.0, 10.0, 30.0]))
    (array([2.5, 1. , 2.5]), 6.0)
    """
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    return mean_ranks[index], float((counts**3 - counts).sum())
