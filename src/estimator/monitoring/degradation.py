"""Degradation by labels: have losses grown, do intervals hold fewer labels, are predictions too high or too low?

And has the metric that the config names first become worse, if it is no mean of these losses? Each question is whether
the mean of a bounded quantity is above the one on held-out rows. Each has an e-detector, and the mean of all is one as
well: while no mean, given the labels before, is above its usual one, it takes on average at least `threshold` periods
to reach `threshold`. The usual mean is the upper end of a confidence interval of the held-out rows. Where the errors of
neighbors are alike in the natural order of held-out rows, a label counts as a part of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.task import Task
from estimator.core.text import format_number
from estimator.drift.held_out import HeldOutErrors
from estimator.drift.held_out_metric import HeldOutMetric
from estimator.monitoring.mean_detector import MeanDetector
from estimator.monitoring.ranking_detector import RankingDetector

# Standard errors that the usual mean is above the one of the held-out rows.
MARGIN = 2.0


@dataclass(frozen=True)
class LabeledErrors:
    """What labels show: losses, signed errors, and whether intervals hold the label, each of shape (rows,) or NaN.

    `metric` holds the losses of the metric that the config names first, of shape (rows,), NaN where a row does not
    count; of a ranking the class of each row and the bin of its prediction, of shape (rows, 2). It is None where no
    metric is monitored.
    """

    losses: Floats
    errors: Floats
    covered: Floats
    metric: Floats | None = None

    def __len__(self) -> int:
        return len(self.losses)


class DegradationTest:
    """The detectors of one version; their mean e-value is that of "predictions have become worse".

    `target_coverage` is None for a version without intervals; `metric` is the first one that the config names, None
    where none is or can be monitored.
    """

    def __init__(
        self, held_out: HeldOutErrors | None, target_coverage: float | None, metric: HeldOutMetric | None = None
    ) -> None:
        self._held_out, self._target_coverage, self._metric = held_out, target_coverage, metric
        self.detectors: dict[str, MeanDetector | RankingDetector] = {}
        n_rows, effect = (1, 1.0) if held_out is None else (held_out.n_rows, held_out.design_effect)
        if held_out is not None:
            margin = MARGIN / np.sqrt(n_rows)
            usual_loss = (held_out.mean_loss + margin * held_out.loss_deviation) / held_out.bound
            self.detectors["loss"] = MeanDetector(min(float(usual_loss), 1.0), effect)
            for name, sign in (("too_low", 1.0), ("too_high", -1.0)):
                usual_error = (sign * held_out.mean_error + margin * held_out.error_deviation) / held_out.bound
                self.detectors[name] = MeanDetector(min(float(1.0 + usual_error) / 2.0, 1.0), effect)
        if held_out is not None and target_coverage is not None:
            missed = 1.0 - target_coverage
            usual_missed = missed + MARGIN * float(np.sqrt(missed * target_coverage / n_rows))
            self.detectors["missed"] = MeanDetector(usual_missed, effect)
        if held_out is not None and metric is not None:
            usual = _usual_metric_loss(metric)
            of_mean = MeanDetector(usual, metric.design_effect)
            self.detectors["metric"] = RankingDetector(metric, usual) if metric.is_ranking else of_mean

    @property
    def e_value(self) -> float:
        """The evidence so far: the mean of the detectors' e-values."""
        return float(np.mean([detector.e_value for detector in self.detectors.values()])) if self.detectors else 0.0

    def update(self, rows: LabeledErrors, periods: Ints) -> Floats:
        """Add labeled rows; return the e-value after each, of shape (rows,)."""
        if self._held_out is None or not self.detectors:
            return np.zeros(len(rows))
        bound = self._held_out.bound
        errors = np.clip(rows.errors, -bound, bound) / bound
        values = {
            "loss": np.minimum(rows.losses, bound) / bound,
            "too_low": (1.0 + errors) / 2.0,
            "too_high": (1.0 - errors) / 2.0,
            "missed": 1.0 - rows.covered,
        }
        if self._metric is not None and rows.metric is not None:
            limit = self._metric.bound
            values["metric"] = rows.metric if self._metric.is_ranking else np.minimum(rows.metric, limit) / limit
        e_values = [detector.update(values[name], periods) for name, detector in self.detectors.items()]
        return np.asarray(np.mean(e_values, axis=0))

    @property
    def n_labels(self) -> int:
        """The number of labels, the last ones, that the largest evidence is of."""
        return self.detectors[self._largest].n_rows

    @property
    def _largest(self) -> str:
        return max(self.detectors, key=lambda key: self.detectors[key].e_value)

    def message(self, task: Task) -> str:
        """Return what the largest evidence says, with its own figures."""
        assert self._held_out is not None
        held_out, bound = self._held_out, self._held_out.bound
        name = self._largest
        detector = self.detectors[name]
        on = f"on the last {detector.n_rows:,} labels"
        if name == "metric" and self._metric is not None:
            figures = _metric_figures(self._metric, detector.mean, on)
        elif name == "missed":
            figures = (
                f"intervals hold the label in {1.0 - detector.mean:.0%} {on}, expected {self._target_coverage:.0%}"
            )
        elif name == "loss":
            loss, usual = format_number(detector.mean * bound), format_number(held_out.mean_loss)
            figures = f"mean loss {loss} {on}, {usual} on held-out rows (a loss counts up to {format_number(bound)})"
        else:
            shift = format_number((2.0 * detector.mean - 1.0) * bound)
            usual = format_number(held_out.mean_error if name == "too_low" else -held_out.mean_error)
            what = "" if task.is_regression else "probabilities are "
            figures = f"{what}{name.replace('_', ' ')} by a mean of {shift} {on}, {usual} on held-out rows"
        return f"predictions have become worse: {figures}"

    def restart(self) -> None:
        """Start over after an alarm."""
        for detector in self.detectors.values():
            detector.restart()

    def to_data(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""
        return {name: detector.to_data() for name, detector in self.detectors.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from the state that `to_data` returned."""
        for name in self.detectors.keys() & data.keys():
            self.detectors[name].restore(data[name])


def _usual_metric_loss(metric: HeldOutMetric) -> float:
    """Return the mean loss, as a fraction of its bound, that the held-out rows leave possible.

    The upper end of Wilson's interval (1927), which is above 0 also where no held-out row has a loss.
    """
    mean, variance = metric.mean_loss / metric.bound, (metric.standard_error / metric.bound) ** 2
    square = MARGIN**2 / metric.n_rows
    upper = mean + square / 2.0 + MARGIN * float(np.sqrt(variance + square / (4.0 * metric.n_rows)))
    return min(upper / (1.0 + square), 1.0)


def _metric_figures(metric: HeldOutMetric, mean: float, on: str) -> str:
    now, usual = (format_number(metric.score(loss)) for loss in (mean * metric.bound, metric.mean_loss))
    is_limited = np.isfinite(metric.metric.max_row_loss) or metric.is_ranking
    limit = "" if is_limited else f"; a row counts up to {format_number(metric.score(metric.bound))}"
    return f"{metric.name} {now} {on} ({usual} on held-out rows{limit})"
