"""Scores of probabilities: log loss and Brier score, both proper (Gneiting and Raftery, 2007)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import Metric, weighted_mean

LEVELS = frozenset({"binary", "multiclass"})
# A level called impossible costs this much and not infinitely much.
MIN_PROBABILITY = 1e-15


def chosen(truth: Floats, answers: Predictions) -> Floats:
    """Return the probability given to the true level, per row."""
    if answers.probabilities is None:
        raise ValueError("a regression has no probabilities")
    found: Floats = answers.probabilities[np.arange(len(truth)), truth.astype(np.int64)]
    return found


class LogLoss(Metric):
    """Mean of -log of the probability given to the true level, in nats."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = False

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        return weighted_mean(-np.log(np.clip(chosen(truth, answers), MIN_PROBABILITY, 1.0)), weights)


class Brier(Metric):
    """Mean squared distance of the probabilities from the truth; for two levels, of the second level's."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = False

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        shares = answers.probabilities
        if shares is None:
            raise ValueError("a regression has no probabilities")
        distances = np.square(shares - np.eye(shares.shape[1])[truth.astype(np.int64)]).sum(axis=1)
        return weighted_mean(distances / (2.0 if shares.shape[1] == 2 else 1.0), weights)
