"""Degradation by labels: have losses grown, do intervals hold fewer labels, are predictions too high or too low?

Each question is whether the mean of a bounded quantity is above the one on held-out rows. Stakes of several sizes bet
on it, label after label; a new capital starts with every period, and the sum of all is an e-detector (Shin, Ramdas
and Rinaldo, 2024): while no mean, given the labels before, is above its usual one, it takes on average at least
`threshold` periods to reach `threshold`. The usual mean is the upper end of a confidence interval of the held-out rows.
Where the errors of neighbors are alike in the natural order of held-out rows, a label counts as a part of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.task import Task
from estimator.core.text import format_number
from estimator.drift.held_out import HeldOutErrors

# Stakes as fractions of the largest one that cannot lose more than the capital, and their shares of it.
FRACTIONS = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 0.8])
SHARES = np.array([0.3, 0.14, 0.14, 0.14, 0.14, 0.14])
# Part of all capital that is shared out again after each label: a stake that has lost must be able to win later.
REDISTRIBUTED_FRACTION = 0.001
MAX_CAPITAL = 1e200
# Standard errors that the usual mean is above the one of the held-out rows.
MARGIN = 2.0


@dataclass
class MeanDetector:
    """E-detector for "the mean of values in [0, 1] is above `usual`".

    So many values as `design_effect` count as one. `mean` and `n_rows` are those of the values since the evidence began
    to grow.

    >>> detector = MeanDetector(0.1)
    >>> e_values = detector.update(np.array([1.0] * 8), np.zeros(8, np.int64))
    >>> bool(e_values[-1] > 1000), detector.mean, detector.n_rows
    (True, 1.0, 8)
    """

    usual: float
    design_effect: float = 1.0
    capital: Floats = field(default_factory=lambda: np.zeros(len(FRACTIONS)))
    period: int | None = None
    n_rows: int = 0
    total: float = 0.0

    @property
    def e_value(self) -> float:
        """The evidence so far."""
        return float(self.capital.sum())

    @property
    def mean(self) -> float:
        """The mean since the evidence began to grow."""
        return self.total / max(self.n_rows, 1)

    def update(self, values: Floats, periods: Ints) -> Floats:
        """Add values of shape (rows,); NaN is skipped. Return the e-value after each."""
        e_values, stakes = np.empty(len(values)), FRACTIONS / max(self.usual, 1e-9)
        part = 1.0 / self.design_effect
        for index, (value, period) in enumerate(zip(values.tolist(), periods.tolist(), strict=True)):
            if period != self.period:
                self.period = period
                self.capital = self.capital + SHARES
            if value == value:  # not NaN
                shared = REDISTRIBUTED_FRACTION * part * (self.capital.sum() * SHARES - self.capital)
                payoffs = (1.0 + stakes * (value - self.usual)) ** part
                self.capital = np.minimum((self.capital + shared) * payoffs, MAX_CAPITAL)
                self.n_rows, self.total = self.n_rows + 1, self.total + value
                if self.total <= self.usual * self.n_rows:
                    self.n_rows, self.total = 0, 0.0
            e_values[index] = self.e_value
        return e_values

    def restart(self) -> None:
        """Start over after an alarm."""
        self.capital, self.period, self.n_rows, self.total = np.zeros(len(FRACTIONS)), None, 0, 0.0


@dataclass(frozen=True)
class LabeledErrors:
    """What labels show: losses, signed errors, and whether intervals hold the label, each of shape (rows,) or NaN."""

    losses: Floats
    errors: Floats
    covered: Floats

    def __len__(self) -> int:
        return len(self.losses)


class DegradationTest:
    """The detectors of one version; their mean e-value is that of "predictions have become worse".

    `target_coverage` is None for a version without intervals.
    """

    def __init__(self, held_out: HeldOutErrors | None, target_coverage: float | None) -> None:
        self._held_out, self._target_coverage = held_out, target_coverage
        self.detectors: dict[str, MeanDetector] = {}
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
        e_values = [detector.update(values[name], periods) for name, detector in self.detectors.items()]
        return np.asarray(np.mean(e_values, axis=0))

    def message(self, task: Task) -> str:
        """Return what the largest evidence says, with its own figures."""
        assert self._held_out is not None
        held_out, bound = self._held_out, self._held_out.bound
        name = max(self.detectors, key=lambda key: self.detectors[key].e_value)
        detector = self.detectors[name]
        on = f"on the last {detector.n_rows:,} labels"
        if name == "missed":
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
        return {
            name: {**asdict(detector), "capital": detector.capital.tolist()}
            for name, detector in self.detectors.items()
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from the state that `to_data` returned."""
        for name in self.detectors.keys() & data.keys():
            detector = self.detectors[name]
            stored = {**data[name], "usual": detector.usual, "design_effect": detector.design_effect}
            self.detectors[name] = MeanDetector(**{**stored, "capital": np.array(data[name]["capital"])})
