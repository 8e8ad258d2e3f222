"""What a threshold changes on held-out rows: metrics of predicted classes next to those at 0.5, and their curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from estimator.config import Evaluation
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.core.text import format_number
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import (
    MIN_ROWS_FOR_INTERVAL,
    Score,
    Scores,
    bootstrap_weights,
    load_metric,
    with_interval,
)
from estimator.evaluation.threshold import HALF, Threshold, cell_counts, scores_of_counts

# Thresholds of a curve, besides the one in use and 0.5.
N_STEPS = 100
SHOWN = ("f1", "recall", "precision", "balanced_accuracy", "accuracy")
# The curves of a threshold that no single metric chose.
PAIR = ("recall", "precision")


@dataclass(frozen=True, slots=True)
class LabeledProbabilities:
    """Probabilities of the positive class of some rows, their class codes and sample weights, all of shape (rows,)."""

    positive: Floats
    actual: Floats
    sample_weights: Floats


@dataclass(frozen=True, slots=True)
class ThresholdCurve:
    """A metric at each threshold: on out-of-fold rows, and on held-out rows with confidence intervals.

    All have shape (thresholds,) and hold NaN where the metric is undefined; `out_of_fold` is None without folds.
    """

    out_of_fold: Floats | None
    held_out: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """Metrics of predicted classes on the held-out rows at a threshold and at 0.5, on the same bootstrap samples.

    `gains` are by how much the threshold is better than 0.5: positive is better for every metric. `curves` are over
    `grid`: of the metric that chose the threshold, or of recall and precision.
    """

    threshold: Threshold
    at_threshold: Scores
    at_half: Scores
    gains: Scores
    grid: Floats
    curves: Mapping[str, ThresholdCurve]

    @property
    def sentence(self) -> str:
        """What the threshold gains, or loses, in the metrics of its curves."""
        return f"On the held-out rows, {'; '.join(map(self._change, self.curves))}"

    def _change(self, name: str) -> str:
        gain, now, half = self.gains[name], self.at_threshold[name], self.at_half[name]
        change = f"better by {gain}"
        if gain.value < 0:
            change = f"worse by {Score(-gain.value, -gain.high, -gain.low)}"
        elif not gain.value > 0:
            change = "no change" if gain.value == 0 else "not comparable"
        if gain.value != 0 and gain.low <= 0 <= gain.high:
            change += ", which may be chance"
        values = (format_number(score.value) if np.isfinite(score.value) else "undefined" for score in (now, half))
        return "{} is {}, and {} at 0.5: {}".format(name, *values, change)

    @property
    def metrics_data(self) -> dict[str, Any]:
        """The metrics as JSON-ready data."""
        parts = {"at_threshold": self.at_threshold, "at_half": self.at_half, "gain": self.gains}
        return {name: {part: scores[name].to_data() for part, scores in parts.items()} for name in self.gains}


def threshold_effect(
    threshold: Threshold,
    task: Task,
    held_out: LabeledProbabilities,
    out_of_fold: LabeledProbabilities | None,
    evaluation: Evaluation,
    *,
    seed: int,
) -> ThresholdEffect:
    """Score the rows at a threshold, at 0.5 and at others; samples are those of `scores.score` by the same seed."""
    metrics = {name: load_metric(name, task) for name in SHOWN}
    if evaluation.costs is not None:
        metrics = {"cost": load_metric("cost", task, evaluation.costs), **metrics}
    drawn_by = PAIR if threshold.metric is None else (threshold.metric,)
    metrics |= {name: load_metric(name, task) for name in drawn_by if name not in metrics}
    top = max(threshold.value, HALF, float(held_out.positive.max()))
    grid = np.unique([*np.linspace(0.0, top, N_STEPS + 1), threshold.value, HALF])
    scores = _sampled_scores(metrics, task, grid, held_out, evaluation.bootstrap_samples, seed)
    first, second = np.searchsorted(grid, [threshold.value, HALF])
    signs = {name: 1.0 if metric.higher_is_better else -1.0 for name, metric in metrics.items()}
    at_threshold, at_half, gains = (
        {name: with_interval(float(values[0]), values[1:], evaluation.confidence) for name, values in columns.items()}
        for columns in (
            {name: values[:, first] for name, values in scores.items()},
            {name: values[:, second] for name, values in scores.items()},
            {name: signs[name] * (values[:, first] - values[:, second]) + 0.0 for name, values in scores.items()},
        )
    )
    curves = {}
    for name in drawn_by:
        ends = [with_interval(float(column[0]), column[1:], evaluation.confidence) for column in scores[name].T]
        low, high = (np.array([getattr(end, side) for end in ends]) for side in ("low", "high"))
        of_folds = None if out_of_fold is None else _scores(metrics[name], task, grid, out_of_fold)[0]
        curves[name] = ThresholdCurve(of_folds, scores[name][0], low, high)
    return ThresholdEffect(threshold, at_threshold, at_half, gains, grid, curves)


def _sampled_scores(
    metrics: Mapping[str, Metric], task: Task, grid: Floats, rows: LabeledProbabilities, n_samples: int, seed: int
) -> dict[str, Floats]:
    """Return each metric at each threshold, of shape (1 + samples, thresholds): of all rows, and of each sample."""
    n_rows = len(rows.actual)
    samples = bootstrap_weights(n_rows, n_samples if n_rows >= MIN_ROWS_FOR_INTERVAL else 0, seed)
    counts = [
        cell_counts(grid, rows.positive, rows.actual, drawn * rows.sample_weights)
        for drawn in chain([np.ones((1, n_rows))], samples)
    ]
    together = np.concatenate(counts)
    return {name: scores_of_counts(metric, task, together) for name, metric in metrics.items()}


def _scores(metric: Metric, task: Task, grid: Floats, rows: LabeledProbabilities) -> Floats:
    counts = cell_counts(grid, rows.positive, rows.actual, rows.sample_weights[None, :])
    return scores_of_counts(metric, task, counts)
