"""Scores of probabilities: log loss and Brier score, both proper (Gneiting and Raftery, 2007)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import CLASSIFICATION, Metric, probabilities_of, weighted_mean

# Caps the loss of an actual class whose probability is 0, which would be infinite.
MIN_PROBABILITY = 1e-15


class LogLoss(Metric):
    """Mean of -log of the probability of the actual class, in nats.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> LogLoss().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [0.499]
    """

    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    higher_is_better: ClassVar[bool] = False

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        return weighted_mean(self.row_losses(actual, predictions), weights)

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        of_actual = probabilities_of(predictions)[np.arange(len(actual)), actual.astype(np.int64)]
        return np.asarray(-np.log(np.clip(of_actual, MIN_PROBABILITY, 1.0)))


class Brier(Metric):
    """Mean squared difference between the probabilities and the outcome; the second class alone for binary targets.

    >>> predictions = Predictions(np.array(["b", "a", "b"]), np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]), ("a", "b"))
    >>> Brier().scores(np.array([1.0, 0.0, 0.0]), predictions, np.ones((1, 3))).round(3).tolist()
    [0.163]
    """

    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    higher_is_better: ClassVar[bool] = False
    max_row_loss: ClassVar[float] = 2.0

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        return weighted_mean(self.row_losses(actual, predictions), weights)

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        probabilities = probabilities_of(predictions)
        n_classes = probabilities.shape[1]
        distances = np.square(probabilities - np.eye(n_classes)[actual.astype(np.int64)]).sum(axis=1)
        return np.asarray(distances / (2.0 if n_classes == 2 else 1.0))
