"""Permutation importance: how much a metric worsens when the values of a column are shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.units import DOUBLES, Units
from estimator.data.schema import Batch
from estimator.evaluation.explanation.contributions import affordable_predictions
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import bootstrap_weights
from estimator.models import Dataset
from estimator.store.predictor import Predictor

MAX_COLUMNS = 300
# The columns that a score depends on are the most important ones with this fraction of all importance, if they are few.
DECISIVE_FRACTION, MAX_DECISIVE = 0.9, 3
MAX_ROWS, MIN_ROWS, MAX_PREDICTIONS = 2000, 200, 60_000
BOOTSTRAP_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class FeatureImportance:
    """How much a metric worsens, in its own units, when a column is shuffled, with a confidence interval."""

    column: str
    importance: float
    low: float
    high: float


def feature_importance(
    predictor: Predictor, rows: Dataset, metric: Metric, *, repeats: int, confidence: float, seed: int
) -> list[FeatureImportance]:
    """Return the permutation importance (Breiman, 2001) of every feature, most important first.

    The interval covers the sampling of the rows, by a bootstrap, and the shuffling. At most 2,000 rows are used; wide
    tables and large graphs use fewer rows and a single shuffle. Tables of more than 300 features get none: shuffling
    each column would take longer than training.
    """
    batch, actual, sample_weights = rows.batch, rows.target, rows.sample_weights
    if len(batch.feed) > MAX_COLUMNS or repeats == 0:
        return []
    generator = np.random.default_rng([seed, 21])
    budget = affordable_predictions(predictor, MAX_PREDICTIONS) // len(batch.feed)
    n_rows = int(np.clip(budget // repeats, MIN_ROWS, MAX_ROWS))
    repeats = int(np.clip(budget // n_rows, 1, repeats))
    if batch.n_rows > n_rows:
        picked = np.sort(generator.choice(batch.n_rows, n_rows, replace=False))
        batch, actual, sample_weights = batch.rows(picked), actual[picked], sample_weights[picked]
    drawn = np.vstack([np.ones((1, len(actual))), *bootstrap_weights(len(actual), BOOTSTRAP_SAMPLES, seed)])
    weights = drawn * sample_weights
    unshuffled = metric.scores(actual, predictor.predict_batch(batch), weights)
    sign = -1.0 if metric.higher_is_better else 1.0
    results = []
    for name in batch.feed:
        increases = []
        for _ in range(repeats):
            shuffled = {**batch.feed, name: batch.feed[name][generator.permutation(batch.n_rows)]}
            predictions = predictor.predict_batch(Batch(shuffled, batch.n_rows))
            increases.append(sign * (metric.scores(actual, predictions, weights) - unshuffled))
        results.append(_with_interval(name, np.array(increases), confidence))
    return sorted(results, key=lambda item: -item.importance)


def _with_interval(name: str, increases: Floats, confidence: float) -> FeatureImportance:
    """Summarize increases of shape (shuffles, 1 + bootstrap samples), of which the first column is of all rows."""
    # Squares of ordinary numbers are finite: there, the scale is 1.
    scale = Units.of(increases.ravel(), DOUBLES).scale
    scaled = increases * scale
    mean = scaled.mean(axis=0)
    finite = mean[1:][np.isfinite(mean[1:])]
    variance = float(finite.var()) if len(finite) else 0.0
    if len(increases) > 1:
        variance += float(scaled[:, 0].var(ddof=1)) / len(increases)
    margin = NormalDist().inv_cdf((1.0 + confidence) / 2.0) * variance**0.5 / scale
    mean /= scale
    return FeatureImportance(name, float(mean[0]), float(mean[0]) - margin, float(mean[0]) + margin)


def decisive_columns(importance: Sequence[FeatureImportance]) -> list[str]:
    """Return the few columns, most important first, that a score depends on almost entirely; none if there are many.

    >>> decisive_columns([FeatureImportance("copy", 9.5, 9.0, 10.0), FeatureImportance("age", 0.5, 0.0, 1.0)])
    ['copy']
    """
    total, so_far = sum(max(item.importance, 0.0) for item in importance), 0.0
    names: list[str] = []
    for item in importance[:MAX_DECISIVE]:
        names.append(item.column)
        so_far += max(item.importance, 0.0)
        if so_far >= DECISIVE_FRACTION * total > 0:
            return names
    return []
