"""Domain classifier: can trees distinguish current rows from training rows? (Lopez-Paz and Oquab, 2017)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats, Ints, Mask
from estimator.drift.base import BatchTest, DriftResult
from estimator.drift.reference import CurrentRows, DriftReference
from estimator.errors import needs_extra
from estimator.evaluation.metrics.ranking import ranks_with_ties

N_FOLDS, N_TREES = 4, 40
MIN_ROWS = 20
MAX_ROWS = 5000
# Below it the gamma distribution is a normal one.
MIN_SKEWNESS = 1e-3
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

    The rows of each fold but the first are scored by trees that were trained on the folds before it, and compared
    within the fold by the rank-sum test of Mann and Whitney (1947). As no fold is used to score an earlier one, the
    statistics of folds are uncorrelated while nothing changes. Under cross-validation they are not, and p-values too
    small: two folds that each score the other count the same pairs of rows twice. Columns in which neighbors are alike
    are left out: a few hours always differ from a year, and each row would count as one.
    """

    measure: ClassVar[str] = "2 AUC - 1"
    joins_columns: ClassVar[bool] = True

    def compare(self, reference: DriftReference, current: CurrentRows, *, seed: int = 0) -> list[DriftResult]:
        used = [index for index, column in enumerate(reference.columns) if column.design_effect == 1.0]
        if min(len(reference.sample), len(current)) < MIN_ROWS or not used:
            return []
        generator = np.random.default_rng([seed, 72])
        sample = current.codes[generator.permutation(len(current))[:MAX_ROWS]]
        rows = np.concatenate([reference.sample, sample])[:, used].astype(np.float64)
        is_current = np.arange(len(rows)) >= len(reference.sample)
        folds = _stratified_folds(is_current, generator)
        scores, gains = _scores_by_earlier_folds(rows, is_current, folds, seed)
        area, p_value = _rank_sum_test(scores, is_current, folds)
        column = reference.columns[used[int(gains.argmax())]].name
        return [DriftResult(None, max(0.0, 2.0 * area - 1.0), p_value, f"most visible in {column}")]


def _stratified_folds(is_current: Mask, generator: np.random.Generator) -> Ints:
    """Assign the rows of both samples evenly to the folds."""
    folds = np.empty(len(is_current), np.int64)
    for sample in (False, True):
        indices = generator.permutation(np.flatnonzero(is_current == sample))
        folds[indices] = np.arange(len(indices)) % N_FOLDS
    return folds


def _scores_by_earlier_folds(rows: Floats, is_current: Mask, folds: Ints, seed: int) -> tuple[Floats, Floats]:
    """Return the score of each row, 0 in the first fold, and the gain of each column."""
    with needs_extra("monitor", "the domain classifier"):
        import lightgbm
    scores, gains = np.zeros(len(rows)), np.zeros(rows.shape[1])
    weights = np.where(is_current, (~is_current).sum() / is_current.sum(), 1.0)
    whole = lightgbm.Dataset(rows, is_current, weight=weights, params={"verbosity": -1}, free_raw_data=False)
    whole.construct()
    # A tree that is given a single column cannot learn how two depend on each other.
    feature_fraction = 0.7 if rows.shape[1] >= 8 else 1.0
    for fold in range(1, N_FOLDS):
        train = whole.subset(np.flatnonzero(folds < fold).tolist())
        settings = {**SETTINGS, "feature_fraction": feature_fraction, "seed": seed}
        trees = lightgbm.train(settings, train, N_TREES)
        scores[folds == fold] = trees.predict(rows[folds == fold], num_threads=1)
        gains += trees.feature_importance("gain")
    return scores, gains


def _rank_sum_test(scores: Floats, is_current: Mask, folds: Ints) -> tuple[float, float]:
    """Return the area under the curve over the scored folds, and the one-sided p-value.

    Trees give many rows the same score, so rank sums are skewed: their law is approximated by a gamma distribution with
    the exact mean, variance and skewness over all permutations of the labels (Mielke, Berry and Johnson, 1976).
    """
    excess, variance, third_moment, n_pairs = 0.0, 0.0, 0.0, 0.0
    for fold in range(1, N_FOLDS):
        fold_scores, positive = scores[folds == fold], is_current[folds == fold]
        n_rows, m = len(positive), int(positive.sum())
        n = n_rows - m
        ranks = ranks_with_ties(fold_scores)[0]
        centered = ranks - ranks.mean()
        excess += centered[positive].sum()
        variance += n * m / (n_rows * (n_rows - 1)) * (centered**2).sum()
        third_moment += n * m * (n - m) / (n_rows * (n_rows - 1) * (n_rows - 2)) * (centered**3).sum()
        n_pairs += n * m
    deviation = np.sqrt(max(variance, 1e-12))
    return 0.5 + excess / n_pairs, _upper_tail(excess / deviation, third_moment / deviation**3)


def _upper_tail(z: float, skewness: float) -> float:
    """Return the probability of more than z under a gamma distribution of mean 0, variance 1 and that skewness."""
    with needs_extra("monitor", "testing for drift"):
        from scipy.special import gammainc, gammaincc, ndtr
    if abs(skewness) < MIN_SKEWNESS:
        return float(ndtr(-z))
    shape = 4.0 / skewness**2
    tail = gammaincc if skewness > 0 else gammainc
    return float(tail(shape, max(0.0, shape + 2.0 / skewness * z)))
