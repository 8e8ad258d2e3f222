"""Predictions and actual values -> scores with bootstrap intervals, and the coverage of prediction intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.config import Costs
from estimator.core.arrays import Floats, Mask, nan_to_none
from estimator.core.task import Predictions, Task
from estimator.core.text import format_number
from estimator.errors import ConfigError
from estimator.evaluation.metrics import DEFAULTS, SHELF, Metric
from estimator.evaluation.metrics.cost import MisclassificationCost

N_BINS = 5
MIN_ROWS_PER_BIN = 10
# Of fewer rows a bootstrap draws the same few again and again, and the interval is far too short.
MIN_ROWS_FOR_INTERVAL = 10
# An interval of the samples in which a score is defined means nothing where most are not.
MIN_DEFINED_FRACTION = 0.5
MAX_WEIGHTS_IN_MEMORY = 4_000_000
Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value on some rows with its confidence interval; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "undefined"
        interval = f" ({format_number(self.low)} to {format_number(self.high)})" if np.isfinite(self.low) else ""
        return f"{format_number(self.value)}{interval}"

    def to_data(self) -> dict[str, float | None]:
        """Return JSON-ready data, with null for what is undefined."""
        return {name: nan_to_none(value) for name, value in asdict(self).items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Score:
        """Read what `to_data` returned."""
        value, low, high = (math.nan if data[name] is None else data[name] for name in ("value", "low", "high"))
        return cls(value, low, high)


Scores = Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class CoverageBin:
    """Coverage and mean width of the intervals of the rows predicted between `low` and `high`."""

    low: float
    high: float
    rows: int
    coverage: float
    mean_width: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often prediction intervals, or prediction sets, contain the actual value.

    `target` is the requested coverage, `actual` the measured one. `mean_width` is in units of the target, or the mean
    number of classes in a set. `bins` split the rows into fifths by their prediction.
    """

    target: float
    actual: Score
    mean_width: float
    bins: Sequence[CoverageBin] = ()

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return asdict(self)


def select_metrics(names: Sequence[str], task: Task, costs: Costs | None = None) -> dict[str, Metric]:
    """Return the metrics to report, by name: the named ones first, then the defaults of the task, and its costs.

    Raises
    ------
    ConfigError: a named metric does not apply to the task.
    """
    metrics: dict[str, Metric] = {}
    for name in [*(SHELF.canonical(name) for name in names), *DEFAULTS[task.kind], *(["cost"] if costs else [])]:
        metrics[name] = load_metric(name, task, costs)
    return metrics


def recorded_metrics(evaluation: Mapping[str, Any], task: Task) -> dict[str, Metric]:
    """Return the metrics to report of a version, whose config has the section `evaluation`."""
    costs = evaluation.get("costs")
    return select_metrics(evaluation["metrics"], task, None if costs is None else Costs.model_validate(costs))


def load_metric(name: str, task: Task, costs: Costs | None = None, *, key: str = "evaluation.metrics") -> Metric:
    """Return a metric that a key of the config names.

    Raises
    ------
    ConfigError: it does not apply to the task.
    """
    kind = SHELF.load(name)
    if task.kind not in kind.tasks:
        applicable = [other for other in SHELF.names() if task.kind in SHELF.load(other).tasks]
        raise ConfigError(
            f"{key}: {name!r} does not apply to a {task.kind} target", hint=f"choose from {', '.join(applicable)}"
        )
    if issubclass(kind, MisclassificationCost):
        if costs is None:
            raise ConfigError(
                f"{key}: {name!r} needs evaluation.costs",
                hint="for example evaluation.costs: {false_negative: 5, false_positive: 1}",
            )
        return kind(costs.false_negative, costs.false_positive)
    return kind()


def score(
    actual: Floats,
    predictions: Predictions,
    metrics: Mapping[str, Metric],
    *,
    sample_weights: Floats | None = None,
    bootstrap_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Score]:
    """Return each metric with its percentile bootstrap interval (Efron, 1979); all metrics share the samples.

    A row counts as much as its weight, in `sample_weights` of shape (rows,), and samples draw rows alike. Fewer than 10
    rows have no interval, nor has a score that is undefined in most samples, or the same in all.
    """
    whole = np.ones((1, len(actual))) if sample_weights is None else sample_weights[None, :]
    values = {name: float(metric.scores(actual, predictions, whole)[0]) for name, metric in metrics.items()}
    if len(actual) < MIN_ROWS_FOR_INTERVAL:
        return {name: Score(value, math.nan, math.nan) for name, value in values.items()}
    samples: dict[str, list[Floats]] = {name: [] for name in metrics}
    for weights in bootstrap_weights(len(actual), bootstrap_samples, seed):
        for name, metric in metrics.items():
            samples[name].append(metric.scores(actual, predictions, weights * whole))
    return {name: with_interval(values[name], np.concatenate(samples[name]), confidence) for name in metrics}


def coverage(actual: Floats, predictions: Predictions, target: float) -> Coverage | None:
    """Return how often the predicted intervals or sets contain the actual value; None when there are none.

    The confidence interval of the coverage is Wilson's (1927), at 95%.
    """
    if predictions.sets is not None:
        is_covered = predictions.sets[np.arange(len(actual)), actual.astype(np.int64)]
        return Coverage(target, _coverage_score(is_covered), float(predictions.sets.sum(axis=1).mean()))
    if predictions.low is None or predictions.high is None:
        return None
    is_covered = (predictions.low <= actual) & (actual <= predictions.high)
    widths = predictions.high - predictions.low
    bins = _coverage_bins(predictions.values, is_covered, widths)
    return Coverage(target, _coverage_score(is_covered), float(widths.mean()), bins)


def score_notes(scores: Scores, actual: Floats, task: Task) -> tuple[str, ...]:
    """Return why scores of these rows are undefined, or have no interval."""
    notes = []
    if undefined := [name for name, item in scores.items() if not math.isfinite(item.value)]:
        notes.append(f"{', '.join(undefined)}: undefined, as {_shortage(actual, task)}")
    if len(actual) < MIN_ROWS_FOR_INTERVAL:
        notes.append(
            f"scores have no confidence interval: it needs at least {MIN_ROWS_FOR_INTERVAL} held-out rows, got "
            f"{len(actual):,}; give more rows, or a larger training.test_size"
        )
    return tuple(notes)


def _shortage(actual: Floats, task: Task) -> str:
    present = np.unique(actual)
    if len(actual) == 1:
        return "there is one held-out row"
    if len(present) == 1:
        value = format_number(float(present[0])) if task.is_regression else repr(task.classes[int(present[0])])
        return f"all {len(actual):,} held-out rows have the target {value}"
    return "the numbers are too large, or the class in question neither occurs nor is predicted"


def _coverage_bins(values: Floats, is_covered: Mask, widths: Floats) -> list[CoverageBin]:
    if len(values) < MIN_ROWS_PER_BIN * N_BINS:
        return []
    return [
        CoverageBin(
            low=float(values[rows].min()),
            high=float(values[rows].max()),
            rows=len(rows),
            coverage=float(is_covered[rows].mean()),
            mean_width=float(widths[rows].mean()),
        )
        for rows in np.array_split(np.argsort(values, kind="stable"), N_BINS)
    ]


def _coverage_score(is_covered: Mask) -> Score:
    return wilson(int(is_covered.sum()), len(is_covered))


def wilson(hits: int, n: int) -> Score:
    """Return a fraction of `n` rows with Wilson's interval (1927) at 95%, which no fraction of 0 or 1 makes empty.

    >>> print(wilson(10, 10), wilson(0, 0))
    1 (0.7225 to 1) undefined
    """
    if n == 0:
        return Score(math.nan, math.nan, math.nan)
    fraction, z = hits / n, Z_95
    center = (fraction + z * z / (2 * n)) / (1 + z * z / n)
    margin = z * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Only rounding leads beyond 0 and 1.
    return Score(fraction, max(center - margin, 0.0), min(center + margin, 1.0))


def with_interval(value: float, samples: Floats, confidence: float) -> Score:
    """Return a value with the percentile interval of its bootstrap samples, if they differ and most are defined."""
    finite = samples[np.isfinite(samples)]
    # Where no sample differs, such as when all rows are right, a bootstrap knows nothing of other rows.
    if len(finite) < max(1.0, MIN_DEFINED_FRACTION * len(samples)) or np.ptp(finite) == 0:
        return Score(value, math.nan, math.nan)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(finite, [tail, 1.0 - tail])
    return Score(value, float(low), float(high))


def bootstrap_weights(n_rows: int, n_samples: int, seed: int, *, block_rows: int = 1) -> Iterator[Floats]:
    """Yield how often each bootstrap sample draws each row, in arrays of shape (samples, rows).

    The same seed draws the same rows, so two models can be compared on the same samples. Rows that follow each other
    and may be alike are drawn in blocks of `block_rows` (Politis and Romano, 1992, the circular block bootstrap).
    """
    generator = np.random.default_rng([seed, 20])
    batch_size = max(1, MAX_WEIGHTS_IN_MEMORY // max(n_rows, 1))
    for start in range(0, n_samples, batch_size):
        size = min(batch_size, n_samples - start)
        if block_rows == 1:
            rows = generator.integers(0, n_rows, (size, n_rows))
        else:
            starts = generator.integers(0, n_rows, (size, -(-n_rows // block_rows)))
            blocks = (starts[:, :, None] + np.arange(block_rows)) % n_rows
            rows = blocks.reshape(size, -1)[:, :n_rows]
        drawn = rows + np.arange(size)[:, None] * n_rows
        yield np.bincount(drawn.ravel(), minlength=size * n_rows).reshape(size, n_rows).astype(np.float64)
