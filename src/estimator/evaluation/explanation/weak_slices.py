"""Weak slices: conditions such as "rooms above 6" under which predictions are worse than elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions
from estimator.evaluation.explanation.slices import Slice
from estimator.evaluation.metrics import Metric
from estimator.evaluation.metrics.ranking import ranks_with_ties

MIN_ROWS, MIN_FRACTION = 30, 0.01
FALSE_DISCOVERY_RATE = 0.05
MAX_SLICES = 8
# Of two slices with a higher Jaccard index, only the first is reported.
MAX_OVERLAP = 0.5
# A pair is reported only when its mean rank of losses is so many times that of each of its parts.
MIN_PAIR_RATIO = 1.1


@dataclass(frozen=True, slots=True)
class WeakSlice:
    """A slice that is predicted worse: the metric there and on all other rows; the p-value allows for the search."""

    condition: str
    rows: int
    score: float
    score_elsewhere: float
    p_value: float


@dataclass(frozen=True, slots=True)
class WeakSlices:
    """The weak slices, worst first, of `n_tested` slices of `rows` out-of-sample rows."""

    slices: Sequence[WeakSlice]
    n_tested: int
    rows: int


def find_weak_slices(
    singles: Sequence[Slice],
    pairs: Sequence[Slice],
    losses: Floats,
    actual: Floats,
    predictions: Predictions,
    metric: Metric,
) -> WeakSlices:
    """Return the slices whose losses are larger than elsewhere, at a false discovery rate of 5%.

    `losses` has shape (rows,). Each slice is tested by the ranks of its losses (Wilcoxon, 1945), and all p-values are
    adjusted together (Benjamini and Hochberg, 1995). Slices of fewer than 30 rows, or 1%, are not tested.
    """
    n_rows = len(losses)
    least = max(MIN_ROWS, MIN_FRACTION * n_rows)
    tested = [item for item in (*singles, *pairs) if least <= item.rows.sum() <= n_rows - least]
    if not tested:
        return WeakSlices((), 0, n_rows)
    ranks, _ = ranks_with_ties(losses)
    means = {item.condition: float(ranks[item.rows].mean()) for item in tested}
    p_values = _adjusted(np.array([_p_value(ranks, item.rows) for item in tested]))
    weak: list[WeakSlice] = []
    masks: list[Mask] = []
    for index in np.argsort([-means[item.condition] for item in tested], kind="stable").tolist():
        item, p_value = tested[index], float(p_values[index])
        if p_value > FALSE_DISCOVERY_RATE or any(_overlap(item.rows, mask) > MAX_OVERLAP for mask in masks):
            continue
        if any(means.get(part, 0.0) * MIN_PAIR_RATIO > means[item.condition] for part in item.parts):
            continue
        score, elsewhere = metric.scores(actual, predictions, np.array([item.rows, ~item.rows], np.float64)).tolist()
        # The metric need not agree with the ranks of the losses.
        if score == elsewhere or (score > elsewhere) == metric.higher_is_better:
            continue
        masks.append(item.rows)
        weak.append(WeakSlice(item.condition, int(item.rows.sum()), score, elsewhere, p_value))
        if len(weak) == MAX_SLICES:
            break
    return WeakSlices(weak, len(tested), n_rows)


def _overlap(one: Mask, other: Mask) -> float:
    """Return the Jaccard index of two masks."""
    return float((one & other).sum() / (one | other).sum())


def _p_value(ranks: Floats, rows: Mask) -> float:
    """Return the probability of ranks this high in rows drawn at random."""
    n, m = len(ranks), int(rows.sum())
    variance = float(ranks.var(ddof=1)) * (n - m) / (n * m)
    z = (float(ranks[rows].mean()) - float(ranks.mean())) / max(variance, 1e-300) ** 0.5
    return 1.0 - NormalDist().cdf(z)


def _adjusted(p_values: Floats) -> Floats:
    """Return p-values adjusted for the false discovery rate."""
    order = np.argsort(p_values)
    scaled = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
