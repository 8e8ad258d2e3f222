"""Squared error, its root, and the share of variance explained."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.absolute import REGRESSION
from estimator.evaluation.metrics.base import Metric, weighted_mean


class MeanSquaredError(Metric):
    """Mean of (truth - answer) squared, in squared units of the target."""

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        return weighted_mean(np.square(truth - answers.values), weights)


class RootMeanSquaredError(Metric):
    """Root of the mean squared error, in the target's units."""

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        found: Floats = np.sqrt(weighted_mean(np.square(truth - answers.values), weights))
        return found


class RSquared(Metric):
    """1 - squared error / variance of the truth; 0 for the mean, below 0 for worse than the mean."""

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        # Centred first: the difference of two large moments would lose digits.
        centred = truth - truth.mean()
        variance = weighted_mean(np.square(centred), weights) - np.square(weighted_mean(centred, weights))
        error = weighted_mean(np.square(truth - answers.values), weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, 1.0 - error / variance, np.nan)
