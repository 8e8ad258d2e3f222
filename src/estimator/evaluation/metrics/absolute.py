"""Mean absolute error, in the target's units and in per cent."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import Metric, weighted_mean

REGRESSION = frozenset({"regression"})


class MeanAbsoluteError(Metric):
    """Mean of |truth - answer|."""

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        return weighted_mean(np.abs(truth - answers.values), weights)


class MeanAbsolutePercentageError(Metric):
    """Mean of |truth - answer| / |truth|, in per cent; rows whose truth is 0 are left out."""

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        defined = truth != 0
        shares = np.abs(truth - answers.values)[defined] / np.abs(truth[defined])
        with np.errstate(invalid="ignore"):
            return 100.0 * weighted_mean(shares, weights[:, defined])
