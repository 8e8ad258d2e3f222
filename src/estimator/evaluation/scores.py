"""Predictions and truth -> scores with intervals, and how many truths intervals hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions, Task
from estimator.core.text import format_number
from estimator.errors import ConfigError
from estimator.evaluation.metrics import SHELF, USUAL, Metric

SLICES = 5
WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value on some rows and its bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "not defined"
        interval = f" ({format_number(self.low)} to {format_number(self.high)})" if np.isfinite(self.low) else ""
        return f"{format_number(self.value)}{interval}"

    def to_data(self) -> dict[str, float | None]:
        """Return it as JSON-ready data, with null for what is not defined."""
        return {name: (value if np.isfinite(value) else None) for name, value in asdict(self).items()}


Scores = Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows whose answers lie between two values, how many truths their intervals hold, and how wide these are."""

    low: float
    high: float
    rows: int
    share: float
    width: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of truths that intervals, or sets of levels, hold; `width` is their mean width, or number of levels.

    `slices` part rows into fifths by their answers.
    """

    level: float
    share: Score
    width: float
    slices: Sequence[Slice] = ()

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def chosen_metrics(names: Sequence[str], task: Task) -> dict[str, Metric]:
    """Return the metrics to report by name: the chosen ones first, then the task's usual ones.

    Raises
    ------
    ConfigError: a chosen metric does not suit the task.
    """
    own = [SHELF.canonical(name) for name in names]
    found: dict[str, Metric] = {}
    for name in [*own, *USUAL[task.kind]]:
        kind = SHELF.load(name)
        if task.kind not in kind.tasks:
            fitting = [other for other in SHELF.names() if task.kind in SHELF.load(other).tasks]
            raise ConfigError(
                f"evaluation.metrics: {name!r} does not suit a {task.kind}",
                hint=f"metrics that do: {', '.join(fitting)}",
            )
        found[name] = kind()
    return found


def score(
    truth: Floats,
    answers: Predictions,
    metrics: Mapping[str, Metric],
    *,
    bootstrap_samples: int,
    level: float,
    seed: int,
) -> dict[str, Score]:
    """Return each metric with its percentile bootstrap interval (Efron, 1979), all on the same bootstrap_samples."""
    values = {name: metric.scores(truth, answers, np.ones((1, len(truth))))[0] for name, metric in metrics.items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in metrics}
    for weights in resampled(len(truth), bootstrap_samples, seed):
        for name, metric in metrics.items():
            drawn[name].append(metric.scores(truth, answers, weights))
    tail = (1.0 - level) / 2.0
    return {name: _with_interval(float(values[name]), np.concatenate(drawn[name]), tail) for name in metrics}


def coverage(truth: Floats, answers: Predictions, level: float) -> Coverage | None:
    """Return how many truths the answers' intervals or sets hold; None when there are none.

    The share's interval is Wilson's (1927), at 95 %.
    """
    if answers.sets is not None:
        held = answers.sets[np.arange(len(truth)), truth.astype(np.int64)]
        return Coverage(level, _wilson(held), float(answers.sets.sum(axis=1).mean()))
    if answers.low is None or answers.high is None:
        return None
    held, width = (answers.low <= truth) & (truth <= answers.high), answers.high - answers.low
    parts = np.array_split(np.argsort(answers.values, kind="stable"), SLICES) if len(truth) >= 10 * SLICES else []
    slices = [
        Slice(
            float(answers.values[part].min()), float(answers.values[part].max()), len(part),
            float(held[part].mean()), float(width[part].mean()),
        )
        for part in parts
    ]  # fmt: skip
    return Coverage(level, _wilson(held), float(width.mean()), slices)


def _wilson(held: Mask) -> Score:
    n, share, z = len(held), float(held.mean()), 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Score(share, float(middle - reach), float(middle + reach))


def _with_interval(value: float, drawn: Floats, tail: float) -> Score:
    solid = drawn[np.isfinite(drawn)]
    if len(solid) == 0:
        return Score(value, float("nan"), float("nan"))
    low, high = np.quantile(solid, [tail, 1.0 - tail])
    return Score(value, float(low), float(high))


def resampled(n_rows: int, bootstrap_samples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each row is drawn, in arrays of shape (times, rows); the same seed draws the same rows."""
    generator = np.random.default_rng([seed, 20])
    at_once = max(1, WEIGHTS_AT_ONCE // max(n_rows, 1))
    for start in range(0, bootstrap_samples, at_once):
        times = min(at_once, bootstrap_samples - start)
        picks = generator.integers(0, n_rows, (times, n_rows)) + np.arange(times)[:, None] * n_rows
        yield np.bincount(picks.ravel(), minlength=times * n_rows).reshape(times, n_rows).astype(np.float64)
