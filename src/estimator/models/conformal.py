"""Predictions for rows that were not learned from -> calibrated probabilities, intervals and sets, as nodes of the graph.

Conformal prediction (Vovk, Gammerman and Shafer, 2005) on out-of-fold answers: cross-conformal, after Vovk (2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Task
from estimator.graph.builder import Graph, Value

FEWEST_ROWS = 20
ROWS_PER_KNOT, MOST_KNOTS = 60, 20
SMALLEST = 1e-12
# What is impossible stays so, whatever its log odds are multiplied by: a score whose exponential is 0.
IMPOSSIBLE, NEVER = 1e-300, -1e300
# A gain in log loss or interval score below this share is taken for luck.
LEAST_GAIN = 0.002


@dataclass(frozen=True, slots=True)
class Interval:
    """An answer's interval: from answer + low * size to answer + high * size, where the size depends on the answer.

    The size is linear between the knots, which are answers in ascending order, and constant beyond them.
    """

    level: float
    low: float
    high: float
    knots: tuple[float, ...]
    sizes: tuple[float, ...]

    @classmethod
    def fit(cls, answers: Floats, truth: Floats, level: float) -> Interval:
        """Learn from answers and truths of rows not learned from, each of shape (rows,).

        Errors are measured against their usual size among rows with like answers (Lei et al., 2018), where intervals
        that do so are measured to be better by the interval score (Gneiting and Raftery, 2007), else as they are.
        """
        halves = np.arange(len(truth)) % 2 == 0
        order = np.random.default_rng(60).permutation(len(truth))
        halves = halves[order]
        scores = {}
        for n_knots in {1, _usual_knots(len(truth))}:
            found = [
                cls._with_knots(answers[part], truth[part], level, n_knots).score(answers[~part], truth[~part])
                for part in (halves, ~halves)
            ]
            scores[n_knots] = float(np.mean(found))
        best = min(scores, key=lambda n_knots: scores[n_knots] * (1.0 if n_knots == 1 else 1.0 + LEAST_GAIN))
        return cls._with_knots(answers, truth, level, best)

    @classmethod
    def _with_knots(cls, answers: Floats, truth: Floats, level: float, n_knots: int) -> Interval:
        errors = truth - answers
        groups = np.array_split(np.argsort(answers, kind="stable"), n_knots)
        floor = max(float(np.abs(errors).mean()) * 0.05, SMALLEST)
        knots = [float(answers[group].mean()) for group in groups]
        sizes = [max(float(np.abs(errors[group]).mean()), floor) for group in groups]
        # Groups of equal answers have one size.
        kept = [place for place, knot in enumerate(knots) if place == 0 or knot > knots[place - 1]]
        own = cls(level, 0.0, 0.0, tuple(knots[place] for place in kept), tuple(sizes[place] for place in kept))
        ratios = np.sort(errors / own.size(answers))
        tail = (1.0 - level) / 2.0
        # The ranks that make a new row's error fall between them with the level's probability.
        n = len(ratios)
        below = max(math.floor(tail * (n + 1)), 1) - 1
        above = min(math.ceil((1.0 - tail) * (n + 1)), n) - 1
        return cls(level, float(ratios[below]), float(ratios[above]), own.knots, own.sizes)

    def size(self, answers: Floats) -> Floats:
        """Return the usual size of an error beside each answer."""
        found: Floats = np.interp(answers, self.knots, self.sizes)
        return found

    def bounds(self, answers: Floats) -> tuple[Floats, Floats]:
        """Return the ends of each answer's interval."""
        size = self.size(answers)
        return answers + self.low * size, answers + self.high * size

    def score(self, answers: Floats, truth: Floats) -> float:
        """Return the mean interval score: width, and a fine for every truth outside, in the target's units."""
        low, high = self.bounds(answers)
        fine = 2.0 / (1.0 - self.level)
        return float(np.mean(high - low + fine * (np.maximum(low - truth, 0.0) + np.maximum(truth - high, 0.0))))

    def write(self, graph: Graph, answers: str) -> tuple[str, str]:
        """Write both ends for answers, a double of shape (rows, 1)."""
        value = Value(graph, answers)
        size: Value | float = self.sizes[0]
        if len(self.knots) > 1:
            knots, slopes = np.array(self.knots), np.diff(self.sizes) / np.diff(self.knots)
            clipped = value.op("Max", float(knots[0])).op("Min", float(knots[-1]))
            # A line with bends: each knot changes the slope of all that is to the right of it.
            bends = Value(graph, graph.constant([np.diff(slopes, prepend=0.0)], np.float64))
            beyond = (clipped - Value(graph, graph.constant([knots[:-1]], np.float64))).op("Max", 0.0) * bends
            total = Value(graph, graph("ReduceSum", beyond.name, graph.constant([1], np.int64), keepdims=1))
            size = total + self.sizes[0]
        return (value + _times(size, self.low, graph)).name, (value + _times(size, self.high, graph)).name


def _times(size: Value | float, factor: float, graph: Graph) -> Value:
    return size * factor if isinstance(size, Value) else Value(graph, graph.constant(size * factor, np.float64))


def _usual_knots(n_rows: int) -> int:
    return max(1, min(MOST_KNOTS, n_rows // ROWS_PER_KNOT))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Probabilities made to mean what they say: log odds times `slope`, and for two levels plus `shift`.

    For two levels this is Platt's scaling (1999), for more temperature scaling (Guo et al., 2017).
    """

    slope: float = 1.0
    shift: float = 0.0

    @classmethod
    def fit(cls, shares: Floats, truth: Floats) -> Calibration:
        """Learn from probabilities (rows, levels) of rows not learned from; no change unless it is measured to help."""
        order = np.random.default_rng(61).permutation(len(truth))
        halves = np.arange(len(truth))[order] % 2 == 0
        before = _log_loss(shares, truth)
        after = np.mean(
            [
                _log_loss(cls._fitted(shares[part], truth[part]).apply(shares[~part]), truth[~part])
                for part in (halves, ~halves)
            ]
        )
        return cls._fitted(shares, truth) if after < before * (1.0 - LEAST_GAIN) else cls()

    @classmethod
    def _fitted(cls, shares: Floats, truth: Floats) -> Calibration:
        from scipy.optimize import minimize

        def cost(free: Floats) -> float:
            moved = cls(float(np.exp(free[0])), float(free[1]) if shares.shape[1] == 2 else 0.0)
            return _log_loss(moved.apply(shares), truth) + 1e-4 * float(free @ free)

        found = minimize(cost, np.zeros(2), method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-4})
        return cls(float(np.exp(found.x[0])), float(found.x[1]) if shares.shape[1] == 2 else 0.0)

    @property
    def changes(self) -> bool:
        """Whether probabilities become others."""
        return self != Calibration()

    def apply(self, shares: Floats) -> Floats:
        """Return calibrated probabilities, of the same shape."""
        logs = np.where(shares > IMPOSSIBLE, np.log(np.maximum(shares, IMPOSSIBLE)) * self.slope, NEVER)
        if shares.shape[1] == 2:
            logs = logs + np.array([0.0, self.shift])
        raised = np.exp(logs - logs.max(axis=1, keepdims=True))
        found: Floats = raised / raised.sum(axis=1, keepdims=True)
        return found

    def write(self, graph: Graph, shares: str, n_levels: int) -> str:
        """Write the same for probabilities, a double of shape (rows, levels)."""
        value = Value(graph, shares)
        logs = (np.log(value.op("Max", IMPOSSIBLE)) * self.slope).where(value > IMPOSSIBLE, NEVER)
        if n_levels == 2:
            logs = logs + Value(graph, graph.constant([[0.0, self.shift]], np.float64))
        return graph("Softmax", logs.name, axis=1)


def _log_loss(shares: Floats, truth: Floats) -> float:
    told = shares[np.arange(len(truth)), truth.astype(np.int64)]
    return float(-np.log(np.maximum(told, SMALLEST)).mean())


@dataclass(frozen=True, slots=True)
class LevelSet:
    """The levels that may be the truth: those with at least this probability (Sadinle et al., 2019), never none."""

    level: float
    least: float

    @classmethod
    def fit(cls, shares: Floats, truth: Floats, level: float) -> LevelSet:
        """Learn from probabilities (rows, levels) of rows not learned from."""
        told = np.sort(shares[np.arange(len(truth)), truth.astype(np.int64)])
        return cls(level, float(told[max(math.floor((1.0 - level) * (len(told) + 1)), 1) - 1]))

    def members(self, shares: Floats) -> Mask:
        """Return which levels are in each row's set, of shape (rows, levels)."""
        found: Mask = (shares >= self.least) | (shares >= shares.max(axis=1, keepdims=True))
        return found

    def write(self, graph: Graph, shares: str) -> str:
        """Write the same for probabilities, a boolean of shape (rows, levels)."""
        highest = graph("ReduceMax", shares, graph.constant([1], np.int64), keepdims=1)
        likely = graph("GreaterOrEqual", shares, graph.constant(self.least, np.float64))
        return graph("Or", likely, graph("GreaterOrEqual", shares, highest))


@dataclass(frozen=True, slots=True)
class Conformal:
    """What out-of-fold answers say about an answer: its interval, or its calibration and its set of levels."""

    level: float
    interval: Interval | None = None
    calibration: Calibration = Calibration()
    level_set: LevelSet | None = None

    @classmethod
    def fit(cls, task: Task, answers: Floats, truth: Floats, level: float, *, calibrates: bool) -> Conformal | None:
        """Learn from out-of-fold answers (rows,) or (rows, levels), NaN where there are none; None for too few."""
        known = ~np.isnan(answers if task.is_regression else answers[:, 0])
        answers, truth = answers[known], truth[known]
        if len(truth) < FEWEST_ROWS:
            return None
        if task.is_regression:
            return cls(level, Interval.fit(answers, truth, level))
        calibration = Calibration.fit(answers, truth) if calibrates else Calibration()
        shares = calibration.apply(answers) if calibration.changes else answers
        return cls(level, None, calibration, LevelSet.fit(shares, truth, level))

    def to_data(self) -> Mapping[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)
