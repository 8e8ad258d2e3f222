"""Area under the receiver operating characteristic (Hanley and McNeil, 1982)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics.base import Metric
from estimator.evaluation.metrics.probability import LEVELS


class AreaUnderCurve(Metric):
    """Chance that a row of the level scores above a row of another; ties count half.

    For more than two levels, the mean over each level against the rest.
    """

    tasks: ClassVar[frozenset[str]] = LEVELS
    higher_is_better: ClassVar[bool] = True

    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        shares = answers.probabilities
        if shares is None:
            raise ValueError("a regression ranks no levels")
        levels = [1] if shares.shape[1] == 2 else range(shares.shape[1])
        areas = np.array([_area(truth == level, shares[:, level], weights) for level in levels])
        defined = ~np.isnan(areas)
        counted = defined.sum(axis=0)
        total = np.where(defined, areas, 0.0).sum(axis=0)
        return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def _area(positive: np.ndarray[tuple[int], np.dtype[np.bool_]], scores: Floats, weights: Floats) -> Floats:
    """Return the area per weighting: one sort serves all of them."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    ups = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    downs = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    won = (ups * (below + 0.5 * downs)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, won / pairs, np.nan)
