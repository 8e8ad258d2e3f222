"""The metric that a config names first, on held-out rows, by the mean of a bounded loss: what later labels are held to.

Of a ranking, the loss of a row is the fraction of held-out rows of the other class that are ranked on the wrong side of
it, ties counting half: one less its placement value. Its mean over either class is one less the area under the ROC
curve (DeLong, DeLong and Clarke-Pearson, 1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.task import Predictions
from estimator.core.units import mean_and_deviation
from estimator.drift.design_effect import design_effect
from estimator.evaluation.metrics import SHELF, Metric
from estimator.evaluation.metrics.ranking import AreaUnderCurve

# A loss without a limit counts up to so many mean losses: of a squared error, up to four times the root of its mean.
BOUND_FACTOR = 16.0
# Metrics whose loss `HeldOutErrors` has already.
METRICS_OF_LOSSES = ("mae", "log_loss")


@dataclass(frozen=True, slots=True)
class HeldOutMetric:
    """A metric on held-out rows, by the mean of the losses of its rows, each at most `bound`.

    `standard_error` is that of the mean, and `n_rows` are those that count, for a ranking those of the smaller class.
    `class_counts`, of shape (2, bins), are the rows of each class in each bin of the predictions of a ranking, and
    empty for other metrics. In their natural order, so many rows as `design_effect` count as one.
    """

    name: str
    bound: float
    mean_loss: float
    standard_error: float
    n_rows: int
    design_effect: float = 1.0
    class_counts: tuple[tuple[int, ...], ...] = ()

    @property
    def metric(self) -> Metric:
        """The metric itself, but for the settings that a version's config gives it."""
        return SHELF.load(self.name)()

    @property
    def is_ranking(self) -> bool:
        """Whether it is the area under the ROC curve of two classes."""
        return bool(self.class_counts)

    def score(self, mean_loss: float) -> float:
        """Return the metric of rows by the mean of their losses."""
        return 1.0 - mean_loss if self.is_ranking else self.metric.from_mean_loss(mean_loss)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> HeldOutMetric | None:
        """Return what `dataclasses.asdict` made of it; None where the plug-in of the metric is not installed."""
        if data["name"] not in SHELF:
            return None
        return cls(**{**data, "class_counts": tuple(tuple(counts) for counts in data["class_counts"])})

    @classmethod
    def of(
        cls,
        name: str,
        metric: Metric,
        actual: Floats,
        predictions: Predictions,
        *,
        codes: npt.NDArray[np.integer],
        n_bins: int,
        places: Ints | None = None,
    ) -> HeldOutMetric | None:
        """Return a named metric on rows with labels `actual`, by the bins of their predictions: `codes` of `n_bins`.

        None where its loss is monitored already, where it follows from no mean, or of too few rows. `places` are those
        of the rows in their natural order, None where it has no meaning.
        """
        name = SHELF.canonical(name)
        if name in METRICS_OF_LOSSES or len(actual) < 2:
            return None
        if is_ranking(metric, predictions.classes):
            counts = np.stack([np.bincount(codes[actual == side], minlength=n_bins) for side in (0, 1)])
            return cls._of_ranking(name, counts, actual == 1.0, codes, places)
        losses = metric.row_losses(actual, predictions)
        return None if losses is None else cls._of_losses(name, losses, metric.max_row_loss, places)

    @classmethod
    def _of_losses(cls, name: str, losses: Floats, largest: float, places: Ints | None) -> HeldOutMetric | None:
        is_finite = np.isfinite(losses)
        n_rows = int(is_finite.sum())
        if n_rows < 2 or not (np.isfinite(largest) or losses[is_finite].any()):
            return None
        bound = largest if np.isfinite(largest) else BOUND_FACTOR * float(mean_and_deviation(losses[is_finite])[0])
        bounded = np.minimum(losses[is_finite], bound)
        mean, deviation = (float(figure) for figure in mean_and_deviation(bounded))
        effect = 1.0 if places is None else design_effect(bounded[:, None], places[is_finite])
        return cls(name, bound, mean, deviation / float(np.sqrt(n_rows)), n_rows, effect)

    @classmethod
    def _of_ranking(
        cls, name: str, counts: Ints, is_positive: Mask, codes: npt.NDArray[np.integer], places: Ints | None
    ) -> HeldOutMetric | None:
        n_rows = int(counts.sum(axis=1).min())
        if n_rows < 2:
            return None
        mean, standard_error = mean_ranking_loss(counts)
        centered = ranking_losses(counts) - mean
        of_rows = np.column_stack([centered[0, codes] * ~is_positive, centered[1, codes] * is_positive])
        effect = 1.0 if places is None else design_effect(of_rows, places)
        stored = tuple(tuple(row) for row in counts.tolist())
        # The mean loss of pairs that are compared with these rows has half of the standard error that the area has.
        return cls(name, 1.0, mean, standard_error / 2.0, n_rows, effect, stored)


def is_ranking(metric: Metric, classes: tuple[str, ...]) -> bool:
    """Whether a metric is the area under the ROC curve of two classes."""
    return isinstance(metric, AreaUnderCurve) and len(classes) == 2


def mean_ranking_loss(counts: Ints) -> tuple[float, float]:
    """Return one less the area under the ROC curve of rows, and its standard error; infinite for a row of a class."""
    losses, sizes = ranking_losses(counts), counts.sum(axis=1)
    mean = float((losses[0] * counts[0]).sum() / max(sizes[0], 1))
    if sizes.min() < 2:
        return mean, np.inf
    return mean, float(np.sqrt((((losses - mean) ** 2 * counts).sum(axis=1) / (sizes - 1) / sizes).sum()))


def ranking_losses(counts: Ints) -> Floats:
    """Return the loss of a row of each class in each bin, of shape (2, bins), by the counts of both, of the same shape.

    >>> ranking_losses(np.array([[2, 1, 0], [0, 1, 1]])).round(2).tolist()
    [[0.0, 0.25, 0.75], [0.67, 0.17, 0.0]]
    """
    negative, positive = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.stack([np.cumsum(positive) - positive / 2.0, 1.0 - np.cumsum(negative) + negative / 2.0])
