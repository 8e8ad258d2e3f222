"""Domain classifier: can trees distinguish current rows from training rows? (Lopez-Paz and Oquab, 2017)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats, Ints, Mask
from estimator.drift.base import BatchTest, DriftResult
from estimator.drift.reference import CurrentRows, DriftReference
from estimator.errors import needs_extra
from estimator.evaluation.metrics.ranking import ranks_with_ties

N_FOLDS, N_TREES = 3, 40
MIN_ROWS = 20
MAX_ROWS = 5000
SETTINGS = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.1,
    "min_data_in_leaf": 10,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}


class DomainClassifier(BatchTest):
    """Detects what no column shows alone, such as a changed correlation; the effect is 2 AUC - 1.

    Every row is scored by trees that were trained on the other folds. Scores are compared within folds, by the
    rank-sum test of Mann and Whitney (1947).
    """

    measure: ClassVar[str] = "2 AUC - 1"

    def compare(self, reference: DriftReference, current: CurrentRows, *, seed: int = 0) -> list[DriftResult]:
        if min(len(reference.sample), len(current)) < MIN_ROWS or not reference.columns:
            return []
        generator = np.random.default_rng([seed, 72])
        sample = current.codes[generator.permutation(len(current))[:MAX_ROWS]]
        rows = np.concatenate([reference.sample, sample]).astype(np.float64)
        is_current = np.arange(len(rows)) >= len(reference.sample)
        folds = _stratified_folds(is_current, generator)
        scores, gains = _out_of_fold_scores(rows, is_current, folds, seed)
        area, p_value = _rank_sum_test(scores, is_current, folds)
        column = reference.columns[int(gains.argmax())].name
        return [DriftResult(None, max(0.0, 2.0 * area - 1.0), p_value, f"most visible in {column}")]


def _stratified_folds(is_current: Mask, generator: np.random.Generator) -> Ints:
    """Assign the rows of both samples evenly to the folds."""
    folds = np.empty(len(is_current), np.int64)
    for sample in (False, True):
        indices = generator.permutation(np.flatnonzero(is_current == sample))
        folds[indices] = np.arange(len(indices)) % N_FOLDS
    return folds


def _out_of_fold_scores(rows: Floats, is_current: Mask, folds: Ints, seed: int) -> tuple[Floats, Floats]:
    """Return the out-of-fold score of each row and the gain of each column."""
    with needs_extra("monitor", "the domain classifier"):
        import lightgbm
    scores, gains = np.empty(len(rows)), np.zeros(rows.shape[1])
    weights = np.where(is_current, (~is_current).sum() / is_current.sum(), 1.0)
    whole = lightgbm.Dataset(rows, is_current, weight=weights, params={"verbosity": -1}, free_raw_data=False)
    whole.construct()
    # A tree that is given a single column cannot learn how two depend on each other.
    feature_fraction = 0.7 if rows.shape[1] >= 8 else 1.0
    for fold in range(N_FOLDS):
        train = whole.subset(np.flatnonzero(folds != fold).tolist())
        settings = {**SETTINGS, "feature_fraction": feature_fraction, "seed": seed}
        trees = lightgbm.train(settings, train, N_TREES)
        scores[folds == fold] = trees.predict(rows[folds == fold], num_threads=1)
        gains += trees.feature_importance("gain")
    return scores, gains


def _rank_sum_test(scores: Floats, is_current: Mask, folds: Ints) -> tuple[float, float]:
    """Return the area under the curve over all folds, and the one-sided p-value with ties corrected for."""
    with needs_extra("monitor", "testing for drift"):
        from scipy.special import ndtr
    excess, variance, n_pairs = 0.0, 0.0, 0.0
    for fold in range(N_FOLDS):
        fold_scores, positive = scores[folds == fold], is_current[folds == fold]
        n, m = int((~positive).sum()), int(positive.sum())
        ranks, ties = ranks_with_ties(fold_scores)
        excess += ranks[positive].sum() - m * (m + 1) / 2 - n * m / 2
        variance += n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
        n_pairs += n * m
    return 0.5 + excess / n_pairs, float(ndtr(-excess / np.sqrt(max(variance, 1e-12))))
