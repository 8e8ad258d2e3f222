"""The promises of every metric."""

from __future__ import annotations

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics import Metric

N_ROWS = 80


def example(task: str, *, is_perfect: bool = False) -> tuple[Floats, Predictions]:
    """Return actual values and predictions of a task kind; perfect ones on request."""
    generator = np.random.default_rng(2)
    if task == "regression":
        actual = generator.uniform(1, 9, N_ROWS)
        return actual, Predictions(actual if is_perfect else actual + generator.standard_normal(N_ROWS))
    classes = ("a", "b") if task == "binary" else ("a", "b", "c")
    codes = generator.integers(0, len(classes), N_ROWS)
    random = generator.dirichlet(np.ones(len(classes)), N_ROWS)
    probabilities = np.eye(len(classes))[codes] if is_perfect else random
    values = np.array(classes, object)[probabilities.argmax(axis=1)]
    return codes.astype(np.float64), Predictions(values, probabilities, classes)


def integer_weights_repeat_rows(metric: Metric) -> None:
    """A weight of 2 repeats a row and a weight of 0 drops it, so a bootstrap can use counts."""
    weights = np.random.default_rng(3).integers(0, 3, N_ROWS)
    for task in metric.tasks:
        actual, predictions = example(task)
        rows = np.repeat(np.arange(N_ROWS), weights)
        weighted = metric.scores(actual, predictions, weights[None, :].astype(np.float64))[0]
        repeated = metric.scores(actual[rows], predictions.rows(rows), np.ones((1, len(rows))))[0]
        assert np.isclose(weighted, repeated, rtol=1e-9)


def many_weightings_are_scored_at_once(metric: Metric) -> None:
    """Several weightings in one call score the same as one by one."""
    weights = np.random.default_rng(4).integers(0, 3, (5, N_ROWS)).astype(np.float64)
    for task in metric.tasks:
        actual, predictions = example(task)
        one_by_one = [metric.scores(actual, predictions, row[None, :])[0] for row in weights]
        assert np.allclose(metric.scores(actual, predictions, weights), one_by_one)


def perfect_predictions_score_best(metric: Metric) -> None:
    """Perfect predictions score better than noisy ones."""
    ones = np.ones((1, N_ROWS))
    for task in metric.tasks:
        perfect = metric.scores(*example(task, is_perfect=True), ones)[0]
        noisy = metric.scores(*example(task), ones)[0]
        assert perfect > noisy if metric.higher_is_better else perfect < noisy


def order_of_rows_does_not_matter(metric: Metric) -> None:
    """Shuffled rows have the same score."""
    order = np.random.default_rng(6).permutation(N_ROWS)
    ones = np.ones((1, N_ROWS))
    for task in metric.tasks:
        actual, predictions = example(task)
        shuffled = metric.scores(actual[order], predictions.rows(order), ones)
        assert np.allclose(metric.scores(actual, predictions, ones), shuffled)


def row_losses_have_the_score_as_their_mean(metric: Metric) -> None:
    """A metric that has a loss per row follows from the mean of these losses, none of which is beyond its limits."""
    for task in metric.tasks:
        actual, predictions = example(task)
        losses = metric.row_losses(actual, predictions)
        if losses is not None:
            counted = losses[~np.isnan(losses)]
            assert counted.min() >= 0.0
            assert counted.max() <= metric.max_row_loss
            score = metric.scores(actual, predictions, np.ones((1, N_ROWS)))[0]
            assert np.isclose(metric.from_mean_loss(float(counted.mean())), score)


PROMISES = (
    integer_weights_repeat_rows,
    many_weightings_are_scored_at_once,
    perfect_predictions_score_best,
    order_of_rows_does_not_matter,
    row_losses_have_the_score_as_their_mean,
)
