"""Out-of-fold predictions -> calibrated probabilities, prediction intervals and sets, as nodes of the graph.

Conformal prediction (Vovk, Gammerman and Shafer, 2005) on out-of-fold predictions: cross-conformal, after Vovk (2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Task
from estimator.core.units import DOUBLES, MAX_EXPONENT, Units
from estimator.graph.builder import Graph, Value
from estimator.models.probabilities import softmax

MIN_ROWS = 20
ROWS_PER_KNOT, MAX_KNOTS = 60, 20
EPSILON = 1e-12
# A probability of 0 must stay 0 after scaling its log odds: a score whose exponential is 0.
IMPOSSIBLE, NEVER = 1e-300, -1e300
SMALLEST_ADDED = 1e-30
# A smaller relative gain in log loss or interval score is noise.
MIN_GAIN = 0.002


@dataclass(frozen=True, slots=True)
class Interval:
    """A prediction interval: prediction + low * size to prediction + high * size.

    The size is a function of the prediction: linear between the knots, which are predictions in ascending order, and
    constant beyond them.
    """

    coverage: float
    low: float
    high: float
    knots: tuple[float, ...]
    sizes: tuple[float, ...]

    @classmethod
    def fit(cls, predictions: Floats, target: Floats, coverage: float) -> Interval:
        """Fit to out-of-fold predictions and their target, each of shape (rows,).

        Errors are divided by their typical size among rows with similar predictions (Lei et al., 2018), if that
        improves the interval score (Gneiting and Raftery, 2007) in two-fold cross-validation.
        """
        scale = Units.of(target, DOUBLES).scale
        if scale == 1.0:
            return cls._chosen(predictions, target, coverage)
        # Sums of the largest doubles would be infinite, and sizes of the smallest 0.
        scaled = cls._chosen(predictions * scale, target * scale, coverage)
        knots, sizes = (tuple(value / scale for value in values) for values in (scaled.knots, scaled.sizes))
        return replace(scaled, knots=knots, sizes=sizes)

    @classmethod
    def _chosen(cls, predictions: Floats, target: Floats, coverage: float) -> Interval:
        halves = np.arange(len(target)) % 2 == 0
        order = np.random.default_rng(60).permutation(len(target))
        halves = halves[order]
        scores = {}
        for n_knots in {1, _default_knots(len(target))}:
            half_scores = [
                cls._with_knots(predictions[half], target[half], coverage, n_knots).score(
                    predictions[~half], target[~half]
                )
                for half in (halves, ~halves)
            ]
            scores[n_knots] = float(np.mean(half_scores))
        best = min(scores, key=lambda n_knots: scores[n_knots] * (1.0 if n_knots == 1 else 1.0 + MIN_GAIN))
        return cls._with_knots(predictions, target, coverage, best)

    @classmethod
    def _with_knots(cls, predictions: Floats, target: Floats, coverage: float, n_knots: int) -> Interval:
        errors = target - predictions
        groups = np.array_split(np.argsort(predictions, kind="stable"), n_knots)
        floor = float(np.abs(errors).mean()) * 0.05 or EPSILON
        knots = [float(predictions[group].mean()) for group in groups]
        sizes = [max(float(np.abs(errors[group]).mean()), floor) for group in groups]
        # Equal predictions in several groups make one knot.
        distinct = [index for index, knot in enumerate(knots) if index == 0 or knot > knots[index - 1]]
        knots, sizes = [knots[index] for index in distinct], [sizes[index] for index in distinct]
        unscaled = cls(coverage, 0.0, 0.0, tuple(knots), tuple(sizes))
        ratios = np.sort(errors / unscaled.size(predictions))
        tail = (1.0 - coverage) / 2.0
        # With n + 1 in place of n, a new row's error falls between these ranks with the stated probability.
        n = len(ratios)
        below = max(math.floor(tail * (n + 1)), 1) - 1
        above = min(math.ceil((1.0 - tail) * (n + 1)), n) - 1
        return cls(coverage, float(ratios[below]), float(ratios[above]), unscaled.knots, unscaled.sizes)

    def size(self, predictions: Floats) -> Floats:
        """Return the typical size of each prediction's error."""
        return np.interp(predictions, self.knots, self.sizes)

    def bounds(self, predictions: Floats) -> tuple[Floats, Floats]:
        """Return the lower and upper end of each prediction's interval."""
        size = self.size(predictions)
        return predictions + self.low * size, predictions + self.high * size

    def score(self, predictions: Floats, target: Floats) -> float:
        """Return the mean interval score: width plus a penalty for a target outside, in the target's units."""
        low, high = self.bounds(predictions)
        penalty = 2.0 / (1.0 - self.coverage)
        return float(np.mean(high - low + penalty * (np.maximum(low - target, 0.0) + np.maximum(target - high, 0.0))))

    def write(self, graph: Graph, predictions: str) -> tuple[str, str]:
        """Write both ends for predictions, a double of shape (rows, 1)."""
        value = Value(graph, predictions)
        size: Value | float = self.sizes[0]
        if len(self.knots) > 1:
            knots, slopes = np.array(self.knots), np.diff(self.sizes) / np.diff(self.knots)
            clipped = value.op("Max", float(knots[0])).op("Min", float(knots[-1]))
            # A piecewise linear function as a sum: each knot adds a change of slope to its right.
            bends = Value(graph, graph.constant([np.diff(slopes, prepend=0.0)], np.float64))
            beyond = (clipped - Value(graph, graph.constant([knots[:-1]], np.float64))).op("Max", 0.0) * bends
            total = Value(graph, graph("ReduceSum", beyond.name, graph.constant([1], np.int64), keepdims=1))
            size = total + self.sizes[0]
        low, high = (_added(value, size * factor) for factor in (self.low, self.high))
        return low.name, high.name


def _added(value: Value, term: Value | float) -> Value:
    """Write a sum. Tiny constants are added in a unit near them, as onnxruntime leaves out those below 1e-45."""
    if isinstance(term, Value) or term == 0.0 or abs(term) >= SMALLEST_ADDED:
        return value + term
    unit = math.ldexp(1.0, max(math.frexp(term)[1], -MAX_EXPONENT))
    return (value / unit + term / unit) * unit


def _default_knots(n_rows: int) -> int:
    return max(1, min(MAX_KNOTS, n_rows // ROWS_PER_KNOT))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibrated probabilities: log odds times `slope`, and for two classes plus `shift`.

    For two classes this is Platt scaling (1999), for more temperature scaling (Guo et al., 2017).
    """

    slope: float = 1.0
    shift: float = 0.0

    @classmethod
    def fit(cls, probabilities: Floats, target: Floats, weights: Floats | None = None) -> Calibration:
        """Fit to out-of-fold probabilities (rows, classes); no change unless it helps in two-fold cross-validation.

        A row counts by its weight, of shape (rows,).
        """
        if weights is None or np.ptp(weights) == 0.0:
            weights = np.ones(len(target))
        order = np.random.default_rng(61).permutation(len(target))
        halves = np.arange(len(target))[order] % 2 == 0
        if not (weights[halves].any() and weights[~halves].any()):
            return cls()
        before = _log_loss(probabilities, target, weights)
        after = np.mean(
            [
                _log_loss(
                    cls._minimized(probabilities[half], target[half], weights[half]).apply(probabilities[~half]),
                    target[~half],
                    weights[~half],
                )
                for half in (halves, ~halves)
            ]
        )
        return cls._minimized(probabilities, target, weights) if after < before * (1.0 - MIN_GAIN) else cls()

    @classmethod
    def _minimized(cls, probabilities: Floats, target: Floats, weights: Floats) -> Calibration:
        from scipy.optimize import minimize

        is_binary = probabilities.shape[1] == 2

        def cost(parameters: Floats) -> float:
            moved = cls(float(np.exp(parameters[0])), float(parameters[1]) if is_binary else 0.0)
            return _log_loss(moved.apply(probabilities), target, weights) + 1e-4 * float(parameters @ parameters)

        result = minimize(cost, np.zeros(2), method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-4})
        return cls(float(np.exp(result.x[0])), float(result.x[1]) if is_binary else 0.0)

    @property
    def changes(self) -> bool:
        """Whether it changes probabilities at all."""
        return self != Calibration()

    def apply(self, probabilities: Floats) -> Floats:
        """Return calibrated probabilities, of the same shape."""
        logs = np.where(probabilities > IMPOSSIBLE, np.log(np.maximum(probabilities, IMPOSSIBLE)) * self.slope, NEVER)
        if probabilities.shape[1] == 2:
            logs = logs + np.array([0.0, self.shift])
        return softmax(logs)

    def write(self, graph: Graph, probabilities: str, n_classes: int) -> str:
        """Write the same for probabilities, a double of shape (rows, classes)."""
        value = Value(graph, probabilities)
        logs = (np.log(value.op("Max", IMPOSSIBLE)) * self.slope).where(value > IMPOSSIBLE, NEVER)
        if n_classes == 2:
            logs = logs + Value(graph, graph.constant([[0.0, self.shift]], np.float64))
        return graph("Softmax", logs.name, axis=1)


def _log_loss(probabilities: Floats, target: Floats, weights: Floats) -> float:
    of_target = probabilities[np.arange(len(target)), target.astype(np.int64)]
    losses = -np.log(np.maximum(of_target, EPSILON))
    # The mean of rows that weigh the same keeps its last digit.
    return float(losses.mean() if np.ptp(weights) == 0.0 else np.average(losses, weights=weights))


@dataclass(frozen=True, slots=True)
class ClassSet:
    """A prediction set: the classes with at least `min_probability` (Sadinle et al., 2019), and the likeliest."""

    coverage: float
    min_probability: float

    @classmethod
    def fit(cls, probabilities: Floats, target: Floats, coverage: float) -> ClassSet:
        """Fit to out-of-fold probabilities (rows, classes) and class codes (rows,)."""
        of_target = np.sort(probabilities[np.arange(len(target)), target.astype(np.int64)])
        rank = max(math.floor((1.0 - coverage) * (len(of_target) + 1)), 1)
        return cls(coverage, float(of_target[rank - 1]))

    def members(self, probabilities: Floats) -> Mask:
        """Return which classes are in each row's set, of shape (rows, classes)."""
        likeliest = probabilities >= probabilities.max(axis=1, keepdims=True)
        members: Mask = (probabilities >= self.min_probability) | likeliest
        return members

    def write(self, graph: Graph, probabilities: str) -> str:
        """Write the same for probabilities, a boolean of shape (rows, classes)."""
        highest = graph("ReduceMax", probabilities, graph.constant([1], np.int64), keepdims=1)
        likely = graph("GreaterOrEqual", probabilities, graph.constant(self.min_probability, np.float64))
        return graph("Or", likely, graph("GreaterOrEqual", probabilities, highest))


def reachable_coverage(n_rows: int, coverage: float, *, is_regression: bool) -> tuple[float, int]:
    """Return the largest coverage that so many out-of-fold rows can promise, and the rows that `coverage` needs.

    A new row is as likely to come before, between or after the others: an interval that spans all of them misses two of
    n + 1 places, a set that leaves out less likely classes one.

    >>> reachable_coverage(19, 0.95, is_regression=True)
    (0.9, 39)
    """
    missed = 2 if is_regression else 1
    return 1.0 - missed / (n_rows + 1), math.ceil(missed / (1.0 - coverage) - 1.0 - 1e-9)


@dataclass(frozen=True, slots=True)
class Conformal:
    """The uncertainty of predictions: an interval of numbers, or calibration and prediction set of classes."""

    coverage: float
    interval: Interval | None = None
    calibration: Calibration = Calibration()
    class_set: ClassSet | None = None

    @classmethod
    def fit(
        cls,
        task: Task,
        out_of_fold: Floats,
        target: Floats,
        coverage: float,
        *,
        calibrate: bool,
        weights: Floats | None = None,
    ) -> Conformal | None:
        """Fit to out-of-fold predictions (rows,) or (rows, classes), NaN where there are none.

        Rows count by their weights where probabilities are calibrated, and once where intervals and sets are to cover
        them. Returns None when fewer than `MIN_ROWS` rows have a prediction.
        """
        present = ~np.isnan(out_of_fold if task.is_regression else out_of_fold[:, 0])
        predictions, target = out_of_fold[present], target[present]
        if len(target) < MIN_ROWS:
            return None
        if task.is_regression:
            return cls(coverage, Interval.fit(predictions, target, coverage))
        weights = None if weights is None else weights[present]
        calibration = Calibration.fit(predictions, target, weights) if calibrate else Calibration()
        probabilities = calibration.apply(predictions) if calibration.changes else predictions
        return cls(coverage, None, calibration, ClassSet.fit(probabilities, target, coverage))

    def to_data(self) -> Mapping[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)
