"""How much the deciding metric worsens when a column is shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from estimator.core.arrays import Floats
from estimator.data.schema import Batch
from estimator.evaluation.explanation.budget import affordable
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import resampled
from estimator.store.predictor import Predictor

MOST_COLUMNS = 300
MOST_ROWS, FEWEST_ROWS, ANSWERS = 2000, 200, 60_000
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Importance:
    """How much a metric worsens, in its own units, when a column is shuffled, and the interval of that."""

    column: str
    loss: float
    low: float
    high: float


def importance(
    predictor: Predictor, batch: Batch, truth: Floats, metric: Metric, *, repeats: int, level: float, seed: int
) -> list[Importance]:
    """Return every feature's permutation importance (Breiman, 2001), most important first.

    The interval has the chance of the rows, by a bootstrap, and that of several shuffles in it. At most 2,000 rows are
    used, and of wide tables and for large graphs fewer, and one shuffle. Tables of more than 300 features get none:
    shuffling each would take longer than the training.
    """
    if len(batch.feed) > MOST_COLUMNS or repeats == 0:
        return []
    generator = np.random.default_rng([seed, 21])
    each = affordable(predictor, ANSWERS) // len(batch.feed)
    n_rows = int(np.clip(each // repeats, FEWEST_ROWS, MOST_ROWS))
    repeats = int(np.clip(each // n_rows, 1, repeats))
    if batch.n_rows > n_rows:
        picked = np.sort(generator.choice(batch.n_rows, n_rows, replace=False))
        batch, truth = batch.rows(picked), truth[picked]
    weights = np.vstack([np.ones((1, len(truth))), *resampled(len(truth), RESAMPLES, seed)])
    usual, sign = (
        metric.scores(truth, predictor.predict_batch(batch), weights),
        -1.0 if metric.higher_is_better else 1.0,
    )
    found = []
    for name in batch.feed:
        losses = []
        for _ in range(repeats):
            shuffled = {**batch.feed, name: batch.feed[name][generator.permutation(batch.n_rows)]}
            answers = predictor.predict_batch(Batch(shuffled, batch.n_rows))
            losses.append(sign * (metric.scores(truth, answers, weights) - usual))
        found.append(_summed(name, np.array(losses), level))
    return sorted(found, key=lambda item: -item.loss)


def _summed(name: str, losses: Floats, level: float) -> Importance:
    """Return the importance from losses of shape (shuffles, 1 + bootstrap_samples), the first of all rows."""
    mean = losses.mean(axis=0)
    drawn = mean[1:][np.isfinite(mean[1:])]
    variance = float(drawn.var()) if len(drawn) else 0.0
    if len(losses) > 1:
        variance += float(losses[:, 0].var(ddof=1)) / len(losses)
    reach = NormalDist().inv_cdf((1.0 + level) / 2.0) * variance**0.5
    return Importance(name, float(mean[0]), float(mean[0]) - reach, float(mean[0]) + reach)
