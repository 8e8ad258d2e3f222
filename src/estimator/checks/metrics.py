"""What every metric promises."""

from __future__ import annotations

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.metrics import Metric

N_ROWS = 80


def example(task: str, *, right: bool = False) -> tuple[Floats, Predictions]:
    """Return truth and answers of a task kind; with `right`, answers that are always right."""
    generator = np.random.default_rng(2)
    if task == "regression":
        truth = generator.uniform(1, 9, N_ROWS)
        return truth, Predictions(truth if right else truth + generator.standard_normal(N_ROWS))
    levels = ("a", "b") if task == "binary" else ("a", "b", "c")
    codes = generator.integers(0, len(levels), N_ROWS)
    shares = np.eye(len(levels))[codes] if right else generator.dirichlet(np.ones(len(levels)), N_ROWS)
    return codes.astype(np.float64), Predictions(np.array(levels, object)[shares.argmax(axis=1)], shares, levels)


def counting_rows_is_repeating_them(metric: Metric) -> None:
    """A weight of 2 is the row twice and a weight of 0 is the row left out: a bootstrap may count."""
    weights = np.random.default_rng(3).integers(0, 3, N_ROWS)
    for task in metric.tasks:
        truth, answers = example(task)
        rows = np.repeat(np.arange(N_ROWS), weights)
        counted = metric.scores(truth, answers, weights[None, :].astype(np.float64))[0]
        repeated = metric.scores(truth[rows], answers.rows(rows), np.ones((1, len(rows))))[0]
        assert np.isclose(counted, repeated, rtol=1e-9)


def many_weightings_are_scored_at_once(metric: Metric) -> None:
    """Scoring weightings together or one by one is the same."""
    weights = np.random.default_rng(4).integers(0, 3, (5, N_ROWS)).astype(np.float64)
    for task in metric.tasks:
        truth, answers = example(task)
        one_by_one = [metric.scores(truth, answers, row[None, :])[0] for row in weights]
        assert np.allclose(metric.scores(truth, answers, weights), one_by_one)


def right_answers_score_best(metric: Metric) -> None:
    """Nothing beats always being right."""
    ones = np.ones((1, N_ROWS))
    for task in metric.tasks:
        best = metric.scores(*example(task, right=True), ones)[0]
        usual = metric.scores(*example(task), ones)[0]
        assert best > usual if metric.higher_is_better else best < usual


def order_of_rows_does_not_matter(metric: Metric) -> None:
    """Shuffled rows have the same score."""
    order = np.random.default_rng(6).permutation(N_ROWS)
    ones = np.ones((1, N_ROWS))
    for task in metric.tasks:
        truth, answers = example(task)
        shuffled = metric.scores(truth[order], answers.rows(order), ones)
        assert np.allclose(metric.scores(truth, answers, ones), shuffled)


PROMISES = (
    counting_rows_is_repeating_them,
    many_weightings_are_scored_at_once,
    right_answers_score_best,
    order_of_rows_does_not_matter,
)
