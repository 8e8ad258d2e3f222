"""Scores of the predicted class: accuracy, balanced accuracy, precision, recall and F1.

Precision, recall and F1 describe the second class of a binary target; for more classes they are macro averages.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import CLASSIFICATION, Metric, defined_mean, ratio, weighted_mean


class Accuracy(Metric):
    """Fraction of rows whose predicted class is the actual one.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> Accuracy().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [0.667]
    """

    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    higher_is_better: ClassVar[bool] = True
    scores_classes: ClassVar[bool] = True
    max_row_loss: ClassVar[float] = 1.0

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        return weighted_mean((predictions.codes == actual).astype(np.float64), weights)

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        return np.asarray(predictions.codes != actual, np.float64)

    def from_mean_loss(self, mean_loss: float) -> float:
        return 1.0 - mean_loss


class BalancedAccuracy(Metric):
    """Mean recall over all classes, each class counting the same.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> BalancedAccuracy().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [0.75]
    """

    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    higher_is_better: ClassVar[bool] = True
    scores_classes: ClassVar[bool] = True

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        is_actual = (actual[:, None] == np.arange(len(predictions.classes))).astype(np.float64)
        hits = is_actual * (predictions.codes == actual)[:, None]
        return defined_mean(ratio(weights @ hits, weights @ is_actual))


class ClassCounts(NamedTuple):
    """Weighted counts of shape (weightings, classes)."""

    hits: Floats
    predicted: Floats
    actual: Floats


class ConfusionMetric(Metric):
    """A ratio of confusion counts: the second class of a binary target, else the mean over the classes.

    Of a binary target it follows from how many of some rows are no hits. A mean over classes follows from no mean.
    """

    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    higher_is_better: ClassVar[bool] = True
    scores_classes: ClassVar[bool] = True
    max_row_loss: ClassVar[float] = 1.0

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        n_classes = len(predictions.classes)
        classes = np.arange(n_classes)[1 if n_classes == 2 else 0 :]
        is_actual = (actual[:, None] == classes).astype(np.float64)
        is_predicted = (predictions.codes[:, None] == classes).astype(np.float64)
        counts = ClassCounts(weights @ (is_actual * is_predicted), weights @ is_predicted, weights @ is_actual)
        return defined_mean(self.by_class(counts))

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats | None:
        if len(predictions.classes) != 2:
            return None
        is_actual, is_predicted = actual == 1.0, predictions.codes == 1.0
        is_hit = is_actual & is_predicted
        return np.where(self.is_counted(is_actual, is_predicted), np.where(is_hit, 0.0, 1.0), np.nan)

    def from_mean_loss(self, mean_loss: float) -> float:
        return 1.0 - mean_loss

    @staticmethod
    @abstractmethod
    def by_class(counts: ClassCounts) -> Floats:
        """Return the score of each class, of shape (weightings, classes)."""

    @staticmethod
    @abstractmethod
    def is_counted(is_actual: Mask, is_predicted: Mask) -> Mask:
        """Return which rows of a binary target the score depends on, by whether the class is theirs or predicted."""


class Precision(ConfusionMetric):
    """Fraction of the rows predicted as a class that belong to it.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> Precision().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [0.5]
    """

    @staticmethod
    def by_class(counts: ClassCounts) -> Floats:
        return ratio(counts.hits, counts.predicted)

    @staticmethod
    def is_counted(is_actual: Mask, is_predicted: Mask) -> Mask:
        del is_actual
        return is_predicted


class Recall(ConfusionMetric):
    """Fraction of the rows of a class that are predicted as it.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> Recall().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [1.0]
    """

    @staticmethod
    def by_class(counts: ClassCounts) -> Floats:
        return ratio(counts.hits, counts.actual)

    @staticmethod
    def is_counted(is_actual: Mask, is_predicted: Mask) -> Mask:
        del is_predicted
        return is_actual


class F1(ConfusionMetric):
    """Harmonic mean of precision and recall.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> F1().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [0.667]
    """

    @staticmethod
    def by_class(counts: ClassCounts) -> Floats:
        return ratio(2.0 * counts.hits, counts.predicted + counts.actual)

    @staticmethod
    def is_counted(is_actual: Mask, is_predicted: Mask) -> Mask:
        return is_actual | is_predicted

    def from_mean_loss(self, mean_loss: float) -> float:
        # Of the rows that count, the hits are Jaccard's index.
        return 2.0 * (1.0 - mean_loss) / (2.0 - mean_loss)
