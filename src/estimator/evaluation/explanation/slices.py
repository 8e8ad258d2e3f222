"""Where answers are worse than elsewhere, found among all parts that a person would name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions
from estimator.evaluation.explanation.parts import Part
from estimator.evaluation.metrics import Metric

LEAST_ROWS, LEAST_SHARE = 30, 0.01
FALSE_SHARE = 0.05
MOST = 8
# Two parts that share so many rows tell the same story.
OVERLAP = 0.5
# A pair is told only when it is so much worse than each of its halves, in mean ranks of the losses.
WORSE = 1.1


@dataclass(frozen=True, slots=True)
class Weak:
    """A part whose answers are worse: the metric there and elsewhere, and the p-value, adjusted for the search."""

    words: str
    rows: int
    score: float
    elsewhere: float
    p: float


@dataclass(frozen=True, slots=True)
class Weakness:
    """The weak parts that were found among `tried`, worst first, on `rows` rows that were not learned from."""

    found: Sequence[Weak]
    tried: int
    rows: int


def weakness(
    singles: Sequence[Part], pairs: Sequence[Part], losses: Floats, truth: Floats, answers: Predictions, metric: Metric
) -> Weakness:
    """Return the parts in which losses are larger than elsewhere, of which one in twenty may be there by chance.

    `losses` has shape (rows,). A part is tested by the ranks of its losses (Wilcoxon, 1945), and all parts together by
    the false discovery rate (Benjamini and Hochberg, 1995). Parts of fewer than 30 rows, or 1 %, are not looked at.
    """
    least = max(LEAST_ROWS, LEAST_SHARE * len(losses))
    parts = [part for part in (*singles, *pairs) if least <= part.rows.sum() <= len(losses) - least]
    if not parts:
        return Weakness((), 0, len(losses))
    ranks = _ranks(losses)
    means = {part.words: float(ranks[part.rows].mean()) for part in parts}
    adjusted = _adjusted(np.array([_p_value(ranks, part.rows) for part in parts]))
    found: list[Weak] = []
    kept: list[Mask] = []
    for place in np.argsort([-means[part.words] for part in parts], kind="stable").tolist():
        part, p = parts[place], float(adjusted[place])
        if p > FALSE_SHARE or any(_overlap(part.rows, other) > OVERLAP for other in kept):
            continue
        if any(means.get(half, 0.0) * WORSE > means[part.words] for half in part.halves):
            continue
        weights = np.array([part.rows, ~part.rows], dtype=np.float64)
        score, elsewhere = metric.scores(truth, answers, weights).tolist()
        if score == elsewhere or (score > elsewhere) == metric.higher_is_better:
            continue
        kept.append(part.rows)
        found.append(Weak(part.words, int(part.rows.sum()), score, elsewhere, p))
        if len(found) == MOST:
            break
    return Weakness(found, len(parts), len(losses))


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def _ranks(values: Floats) -> Floats:
    """Return ranks from 1 on, the mean rank for equal values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Floats = ((last - counts + 1 + last) / 2.0)[place]
    return found


def _p_value(ranks: Floats, rows: Mask) -> float:
    """Return the probability of ranks this high in a part drawn at random."""
    n, m = len(ranks), int(rows.sum())
    variance = float(ranks.var(ddof=1)) * (n - m) / (n * m)
    z = (float(ranks[rows].mean()) - float(ranks.mean())) / max(variance, 1e-300) ** 0.5
    return 1.0 - NormalDist().cdf(z)


def _adjusted(p_values: Floats) -> Floats:
    order = np.argsort(p_values)
    raised = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    found = np.empty(len(p_values))
    found[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return found
