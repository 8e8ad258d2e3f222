"""An e-detector for "rows of two classes are ranked worse than held-out rows", label by label.

The area under the ROC curve is no mean over rows, but over pairs of a row of each class, and pairs that share a row are
not independent. So each row is compared with the held-out rows of the other class, and a bet is settled whenever a row
of one class has come and rows of the other wait: on the mean of both classes' mean losses. While each class is scored
as on held-out rows, however frequent it is, the mean of these is one less the area there. Where rows are ranked worse,
it grows by half of what the area falls, and its standard error is half of that of the area (Hajek's projection of the
Mann-Whitney statistic), so comparing with held-out rows alone loses no evidence.

Where the scores of both classes move alike, the loss of one grows by what that of the other falls. A large move does
not quite cancel, so evidence counts only while its rows are ranked worse among themselves, which can only lower it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.drift.held_out_metric import HeldOutMetric, mean_ranking_loss, ranking_losses
from estimator.monitoring.mean_detector import MeanDetector

# Those by which rows are ranked worse among themselves.
MIN_STANDARD_ERRORS = 2.0


class RankingDetector:
    """E-detector for "rows of two classes are ranked worse than held-out ones"; mutable, as it follows a stream.

    `usual` is the mean loss of a pair that is not worse.
    """

    def __init__(self, metric: HeldOutMetric, usual: float) -> None:
        held_out = np.array(metric.class_counts)
        self._losses = ranking_losses(held_out)
        self._pairs = MeanDetector(usual, metric.design_effect)
        # The area falls by twice of what the mean loss of pairs grows.
        self._usual_of_rows = metric.mean_loss + 2.0 * (usual - metric.mean_loss)
        # Rows of each class in each bin of the predictions: since the last pair, and of the pairs that are evidence.
        self._waiting, self._counts = np.zeros_like(held_out), np.zeros_like(held_out)
        self._waiting_since: int | None = None

    @property
    def usual(self) -> float:
        """The mean loss of a pair that is not worse."""
        return self._pairs.usual

    @property
    def e_value(self) -> float:
        """The evidence so far."""
        mean, standard_error = mean_ranking_loss(self._counts)
        is_worse = mean - MIN_STANDARD_ERRORS * standard_error > self._usual_of_rows
        return self._pairs.e_value if is_worse else 0.0

    @property
    def mean(self) -> float:
        """One less the area under the ROC curve of the rows since the evidence began to grow."""
        return mean_ranking_loss(self._counts)[0]

    @property
    def n_rows(self) -> int:
        """Rows since the evidence began to grow."""
        return int(self._counts.sum())

    def update(self, rows: Floats, periods: Ints) -> Floats:
        """Add rows of shape (rows, 2), each a class and the bin of its prediction, or NaN; return the e-values."""
        e_values, e_value = np.empty(len(rows)), self.e_value
        for index, ((side, code), period) in enumerate(zip(rows.tolist(), periods.tolist(), strict=True)):
            if side == side:  # not NaN
                self._waiting_since = period if self._waiting_since is None else self._waiting_since
                self._waiting[int(side), int(code)] += 1
                if self._waiting[1 - int(side)].any():
                    self._settle(self._waiting_since)
                    e_value = self.e_value
            e_values[index] = e_value
        return e_values

    def _settle(self, period: int) -> None:
        """Bet on the mean loss of the rows of each class that wait; the bet was made in the period of the first."""
        of_classes = (self._losses * self._waiting).sum(axis=1) / self._waiting.sum(axis=1)
        self._pairs.update(np.array([of_classes.mean()]), np.array([period]))
        self._counts = self._counts + self._waiting if self._pairs.n_rows else np.zeros_like(self._counts)
        self._waiting, self._waiting_since = np.zeros_like(self._waiting), None

    def restart(self) -> None:
        """Start over after an alarm."""
        self._pairs.restart()
        self._waiting, self._counts = np.zeros_like(self._waiting), np.zeros_like(self._counts)
        self._waiting_since = None

    def to_data(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""
        return {
            "pairs": self._pairs.to_data(),
            "waiting": self._waiting.tolist(),
            "counts": self._counts.tolist(),
            "waiting_since": self._waiting_since,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from the state that `to_data` returned."""
        self._pairs.restore(data["pairs"])
        self._waiting, self._counts = np.array(data["waiting"]), np.array(data["counts"])
        self._waiting_since = data["waiting_since"]
