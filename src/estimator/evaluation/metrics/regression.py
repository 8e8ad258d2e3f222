"""Errors of predicted numbers: squared, absolute and relative, and the fraction of variance explained."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.core.units import MAX_EXPONENT
from estimator.evaluation.metrics.base import REGRESSION, Metric, weighted_mean

# Squares of numbers between are neither infinite nor 0.
SMALLEST_SQUARED, LARGEST_SQUARED = 1e-150, 1e150


def _errors(actual: Floats, predictions: Predictions) -> tuple[Floats, float]:
    """Return the errors in a unit, and the unit: 1 for ordinary numbers, else a power of two near the largest."""
    largest = max(float(np.abs(values).max(initial=0.0)) for values in (actual, predictions.values))
    is_ordinary = largest == 0.0 or SMALLEST_SQUARED <= largest <= LARGEST_SQUARED or not math.isfinite(largest)
    unit = 1.0 if is_ordinary else math.ldexp(1.0, min(max(math.frexp(largest)[1], -MAX_EXPONENT), MAX_EXPONENT))
    return actual / unit - predictions.values / unit, unit


def _squared_errors(actual: Floats, predictions: Predictions) -> Floats:
    errors, unit = _errors(actual, predictions)
    with np.errstate(over="ignore", under="ignore"):
        return np.square(errors) * unit * unit


class MeanSquaredError(Metric):
    """Mean squared error, in squared units of the target.

    >>> predictions = Predictions(np.array([2.0, 5.0]))
    >>> MeanSquaredError().scores(np.array([1.0, 5.0]), predictions, np.ones((1, 2))).round(3).tolist()
    [0.5]
    """

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        errors, unit = _errors(actual, predictions)
        with np.errstate(over="ignore", under="ignore"):
            return weighted_mean(np.square(errors), weights) * unit * unit

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        return _squared_errors(actual, predictions)


class RootMeanSquaredError(Metric):
    """Root of the mean squared error, in units of the target.

    >>> predictions = Predictions(np.array([2.0, 5.0]))
    >>> RootMeanSquaredError().scores(np.array([1.0, 5.0]), predictions, np.ones((1, 2))).round(3).tolist()
    [0.707]
    """

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        errors, unit = _errors(actual, predictions)
        return np.sqrt(weighted_mean(np.square(errors), weights)) * unit

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        return _squared_errors(actual, predictions)

    def from_mean_loss(self, mean_loss: float) -> float:
        return math.sqrt(mean_loss)


class RSquared(Metric):
    """Fraction of variance explained: 1 is perfect, 0 no better than the mean, below 0 worse than the mean.

    >>> predictions = Predictions(np.array([2.0, 5.0]))
    >>> RSquared().scores(np.array([1.0, 5.0]), predictions, np.ones((1, 2))).round(3).tolist()
    [0.875]
    """

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = True

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        # Centered first: the difference of two large moments would lose digits.
        errors, unit = _errors(actual, predictions)
        centered = actual / unit - (actual / unit).mean()
        variance = weighted_mean(np.square(centered), weights) - np.square(weighted_mean(centered, weights))
        error = weighted_mean(np.square(errors), weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, 1.0 - error / variance, np.nan)


class MeanAbsoluteError(Metric):
    """Mean absolute error, in units of the target.

    >>> predictions = Predictions(np.array([2.0, 5.0]))
    >>> MeanAbsoluteError().scores(np.array([1.0, 5.0]), predictions, np.ones((1, 2))).round(3).tolist()
    [0.5]
    """

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        errors, unit = _errors(actual, predictions)
        return weighted_mean(np.abs(errors), weights) * unit

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        errors, unit = _errors(actual, predictions)
        return np.abs(errors) * unit


class MeanAbsolutePercentageError(Metric):
    """Mean absolute error as a percentage of the actual value; rows with an actual value of 0 are skipped.

    >>> predictions = Predictions(np.array([2.0, 5.0]))
    >>> MeanAbsolutePercentageError().scores(np.array([1.0, 5.0]), predictions, np.ones((1, 2))).round(3).tolist()
    [50.0]
    """

    tasks: ClassVar[frozenset[str]] = REGRESSION
    higher_is_better: ClassVar[bool] = False

    def scores(self, actual: Floats, predictions: Predictions, weights: Floats) -> Floats:
        percentages, is_defined = self.row_losses(actual, predictions), actual != 0
        with np.errstate(invalid="ignore", over="ignore"):
            return weighted_mean(percentages[is_defined], weights[:, is_defined])

    def row_losses(self, actual: Floats, predictions: Predictions) -> Floats:
        errors, unit = _errors(actual, predictions)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return np.where(actual != 0, 100.0 * np.abs(errors) / np.abs(actual / unit), np.nan)
