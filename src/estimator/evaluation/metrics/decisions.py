"""Scores of the likeliest level: accuracy, precision, recall and their means.

For two levels precision, recall and f1 speak of the second level; for more they are means over the levels.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import Metric, weighted_mean
from estimator.evaluation.metrics.probability import LEVELS


def _decided(answers: Predictions) -> Floats:
    if answers.probabilities is None:
        raise ValueError("a regression decides on no level")
    decided: Floats = answers.probabilities.argmax(axis=1).astype(np.float64)
    return decided


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _counts(truth: Floats, answers: Predictions, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (hits, decided, true) of shape (weightings, levels), the second level alone when there are two."""
    levels = np.arange(len(answers.classes))[1 if len(answers.classes) == 2 else 0 :]
    is_true = (truth[:, None] == levels).astype(np.float64)
    is_decided = (_decided(answers)[:, None] == levels).astype(np.float64)
    return weights @ (is_true * is_decided), weights @ is_decided, weights @ is_true


def _mean_over_levels(scores: Floats) -> Floats:
    """Levels that do not occur are left out; NaN when none does."""
    defined = ~np.isnan(scores)
    return _ratio(np.where(defined, scores, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


class Accuracy(Metric):
    """Share of rows whose likeliest level is the true one."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        return weighted_mean((_decided(answers) == truth).astype(np.float64), weights)


class BalancedAccuracy(Metric):
    """Mean over all levels of the share of its rows that are recognised."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        is_true = (truth[:, None] == np.arange(len(answers.classes))).astype(np.float64)
        hits = is_true * (_decided(answers) == truth)[:, None]
        return _mean_over_levels(_ratio(weights @ hits, weights @ is_true))


class Precision(Metric):
    """Share of the rows called a level that are of it."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        hits, decided, _ = _counts(truth, answers, weights)
        return _mean_over_levels(_ratio(hits, decided))


class Recall(Metric):
    """Share of the rows of a level that are called it."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        hits, _, true = _counts(truth, answers, weights)
        return _mean_over_levels(_ratio(hits, true))


class F1(Metric):
    """Harmonic mean of precision and recall."""

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        hits, decided, true = _counts(truth, answers, weights)
        return _mean_over_levels(_ratio(2.0 * hits, decided + true))
