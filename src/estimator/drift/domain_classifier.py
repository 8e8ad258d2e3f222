"""Whether rows of training and rows seen now can be told apart by trees (Lopez-Paz and Oquab, 2017)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.drift.base import DriftTest, Finding, Moved
from estimator.drift.reference import Current, Reference
from estimator.errors import needs_extra
from estimator.evaluation.metrics.ranking import ranks_with_ties

FOLDS, TREES = 3, 40
LEAST_ROWS = 20
MOST_ROWS = 5000
SETTINGS = {
    "objective": "binary", "num_leaves": 7, "learning_rate": 0.1, "min_data_in_leaf": 10, "verbosity": -1,
    "num_threads": 1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip


class DomainClassifier(DriftTest):
    """Sees what no column shows alone; the effect is the area under its curve, doubled and less 1.

    Each fold is told by trees that have not seen it, and ranks are compared within folds (Mann and Whitney, 1947).
    """

    measure: ClassVar[str] = "told apart"

    def findings(self, reference: Reference, current: Current, *, seed: int = 0) -> list[Finding]:
        if min(len(reference.sample), len(current)) < LEAST_ROWS or not reference.columns:
            return []
        generator = np.random.default_rng([seed, 72])
        now = current.codes[generator.permutation(len(current))[:MOST_ROWS]]
        rows = np.concatenate([reference.sample, now]).astype(np.float64)
        is_now = np.arange(len(rows)) >= len(reference.sample)
        folds = _folds(is_now, generator)
        scores, gains = _scores(rows, is_now, folds, seed)
        area, p_value = _told_apart(scores, is_now, folds)
        first = reference.columns[int(gains.argmax())].name
        return [Finding(None, Moved(max(0.0, 2.0 * area - 1.0), p_value, f"most by {first}"))]


def _folds(is_now: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Deal both kinds of rows evenly."""
    folds = np.empty(len(is_now), np.int64)
    for kind in (False, True):
        places = generator.permutation(np.flatnonzero(is_now == kind))
        folds[places] = np.arange(len(places)) % FOLDS
    return folds


def _scores(rows: Floats, is_now: np.ndarray, folds: np.ndarray, seed: int) -> tuple[Floats, Floats]:
    """Return each row's score by trees that have not seen it, and what each column gained for them."""
    with needs_extra("monitor", "telling rows apart"):
        import lightgbm
    scores, gains = np.empty(len(rows)), np.zeros(rows.shape[1])
    weights = np.where(is_now, (~is_now).sum() / is_now.sum(), 1.0)
    whole = lightgbm.Dataset(rows, is_now, weight=weights, params={"verbosity": -1}, free_raw_data=False).construct()
    # A tree that sees a single column sees nothing of how two hang together.
    share = 0.7 if rows.shape[1] >= 8 else 1.0
    for fold in range(FOLDS):
        learned = whole.subset(np.flatnonzero(folds != fold).tolist())
        trees = lightgbm.train({**SETTINGS, "feature_fraction": share, "seed": seed}, learned, TREES)
        scores[folds == fold] = trees.predict(rows[folds == fold], num_threads=1)
        gains += trees.feature_importance("gain")
    return scores, gains


def _told_apart(scores: Floats, is_now: np.ndarray, folds: np.ndarray) -> tuple[float, float]:
    """Return the area under the curve, and the p-value of ranks within folds."""
    with needs_extra("monitor", "testing for drift"):
        from scipy.special import ndtr
    excess, variance, pairs = 0.0, 0.0, 0.0
    for fold in range(FOLDS):
        here, now = scores[folds == fold], is_now[folds == fold]
        n, m = int((~now).sum()), int(now.sum())
        ranks, ties = ranks_with_ties(here)
        excess += ranks[now].sum() - m * (m + 1) / 2 - n * m / 2
        total = n + m
        variance += n * m / 12 * (total + 1 - ties / (total * (total - 1)))
        pairs += n * m
    return 0.5 + excess / pairs, float(ndtr(-excess / np.sqrt(max(variance, 1e-12))))
