"""Median absolute error: an error that a few bad predictions cannot move."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics import Metric


class MedianAbsoluteError(Metric):
    """Median of the absolute error, in units of the target."""

    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})
    higher_is_better: ClassVar[bool] = False

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        errors = np.abs(actual - predictions.values)
        order = np.argsort(errors)
        below = np.cumsum(weights[:, order], axis=1)
        total = below[:, -1:]
        # The middle of the two errors around half of the weight, as numpy.median.
        low = errors[order][(2 * below >= total).argmax(axis=1)]
        high = errors[order][(2 * below > total).argmax(axis=1)]
        medians: Floats = (low + high) / 2
        return medians
