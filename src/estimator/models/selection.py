"""Weights of an ensemble's members by greedy selection on out-of-fold predictions (Caruana et al., 2004)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.units import DOUBLES, Units
from estimator.models.dataset import FitData

SELECTION_STEPS = 40
# More rows would not change the weights, only the time to find them.
MAX_SELECTION_ROWS = 20_000
EPSILON = 1e-15
# A smaller gain, of a loss below 1 relative to it, is the rounding of sums.
MIN_GAIN = 1e-12
# A member with a smaller weight costs more than it improves.
MIN_WEIGHT = 0.04

Loss = Callable[[Floats, Mask], float]


def selection_loss(data: FitData) -> Loss:
    """Return the weighted mean squared error, or the log loss, of the rows of a mask."""
    target, weights = data.rows.target, data.rows.weights
    if data.task.is_regression:
        # Squares of ordinary numbers neither overflow nor vanish: there, the scale is 1.
        scale = Units.of(target, DOUBLES).scale
        return lambda predictions, mask: float(
            np.average(np.square((predictions[mask] - target[mask]) * scale), weights=weights[mask] + EPSILON)
        )
    codes = target.astype(np.int64)

    def log_loss(probabilities: Floats, mask: Mask) -> float:
        of_target = probabilities[mask, codes[mask]]
        return float(np.average(-np.log(np.clip(of_target, EPSILON, 1.0)), weights=weights[mask] + EPSILON))

    return log_loss


def greedy_weights(predictions: Sequence[Floats], loss: Loss, mask: Mask, seed: int) -> Floats:
    """Return weights by forward selection with replacement: each step adds the member that lowers the loss most."""
    if mask.sum() > MAX_SELECTION_ROWS:
        generator = np.random.default_rng([seed, 50])
        sampled = generator.choice(np.flatnonzero(mask), MAX_SELECTION_ROWS, replace=False)
        mask = np.isin(np.arange(len(mask)), sampled)
    total, counts = np.zeros_like(predictions[0]), np.zeros(len(predictions))
    best, weights = np.inf, counts
    for step in range(1, SELECTION_STEPS + 1):
        losses = [loss((total + of_member) / step, mask) for of_member in predictions]
        index = int(np.argmin(losses))
        total += predictions[index]
        counts[index] += 1
        if losses[index] < best - MIN_GAIN * min(best, 1.0):
            best, weights = losses[index], counts / step
    large = np.where(weights >= MIN_WEIGHT, weights, 0.0)
    normalized: Floats = large / large.sum()
    return normalized


def mixed_out_of_fold(data: FitData, predictions: Sequence[Floats], loss: Loss, seed: int) -> Floats:
    """Return the ensemble's out-of-fold predictions: the weights for a fold come from the other folds.

    With one split, those for each half of its rows come from the other half. Rows of no fold are NaN.
    """
    parts = data.folds[0]
    if data.n_folds == 1:
        parts = np.where(parts == 0, np.cumsum(parts == 0) % 2, -1)
    mixed = np.full_like(predictions[0], np.nan)
    for part in np.unique(parts[parts >= 0]):
        test_mask = parts == part
        others = (parts >= 0) & ~test_mask
        weights = greedy_weights(predictions, loss, others if others.any() else test_mask, seed)
        mixed[test_mask] = sum(
            weight * of_member[test_mask] for weight, of_member in zip(weights, predictions, strict=True)
        )
    return mixed
