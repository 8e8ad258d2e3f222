"""Fairness: the deciding metric, and rates of error, in each group of a column that the config names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions, Task
from estimator.core.text import format_number
from estimator.evaluation.explanation.slices import Slice
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score, score

MIN_ROWS = 20


@dataclass(frozen=True, slots=True)
class GroupScore:
    """The deciding metric and the rates of one group.

    For numbers, `rates` holds "mean error", the mean of prediction - actual. For the second class of a binary target it
    holds the rates "predicted", "actual", "true positive" and "false positive".
    """

    condition: str
    rows: int
    score: Score
    rates: Mapping[str, float]

    @property
    def rates_text(self) -> str:
        """The rates as text.

        >>> GroupScore("sex is 'm'", 40, Score(1, 1, 1), {"predicted": 0.25, "actual": 0.2}).rates_text
        'predicted 25.0%, actual 20.0%'
        >>> GroupScore("sex is 'm'", 40, Score(1, 1, 1), {"mean error": -1.5}).rates_text
        'mean error -1.5'
        """
        texts = (format_number(rate) if name == "mean error" else f"{rate:.1%}" for name, rate in self.rates.items())
        return ", ".join(f"{name} {text}" for name, text in zip(self.rates, texts, strict=True))


@dataclass(frozen=True, slots=True)
class Fairness:
    """The groups of one column, and the largest difference of the metric between two of them.

    `p_value` is the probability of a difference this large when rows are assigned to groups at random; groups are
    called unequal when it is at most 1 - `confidence`.
    """

    column: str
    metric: str
    groups: Sequence[GroupScore]
    best: str
    worst: str
    difference: float
    p_value: float
    confidence: float

    @property
    def verdict(self) -> str:
        """Say whether the two groups that differ most are unequal."""
        comparison = f"{self.metric} differs by {format_number(self.difference)} between {self.worst} and {self.best}"
        if self.p_value <= 1.0 - self.confidence:
            return f"unequal: {comparison} (p = {self.p_value:.2g})"
        n_rows = sum(group.rows for group in self.groups)
        return f"no significant difference on {n_rows:,} rows: {comparison} (p = {self.p_value:.2g})"


def fairness(
    column: str,
    slices: Sequence[Slice],
    task: Task,
    actual: Floats,
    predictions: Predictions,
    named_metric: tuple[str, Metric],
    *,
    bootstrap_samples: int,
    confidence: float,
    seed: int,
) -> Fairness | None:
    """Compare the groups of a column; None when fewer than two of them have 20 rows.

    The difference is tested by permuting the rows among the groups (Fisher, 1935), which allows for the choice of the
    two groups that differ most.
    """
    name, metric = named_metric
    groups, masks = [], []
    for item in slices:
        if item.rows.sum() < MIN_ROWS:
            continue
        of_group, predicted = actual[item.rows], predictions.rows(item.rows)
        scores = score(
            of_group, predicted, {name: metric}, bootstrap_samples=bootstrap_samples, confidence=confidence, seed=seed
        )
        if np.isfinite(scores[name].value):
            rates = _rates(task, of_group, predicted)
            groups.append(GroupScore(item.condition, len(of_group), scores[name], rates))
            masks.append(item.rows)
    if len(groups) < 2:
        return None
    order = np.argsort([group.score.value for group in groups])
    worst, best = (order[0], order[-1]) if metric.higher_is_better else (order[-1], order[0])
    difference, p_value = _permutation_test(
        np.array(masks), actual, predictions, metric, n_permutations=bootstrap_samples, seed=seed
    )
    return Fairness(
        column, name, groups, groups[best].condition, groups[worst].condition, difference, p_value, confidence
    )


def _permutation_test(
    masks: Mask, actual: Floats, predictions: Predictions, metric: Metric, *, n_permutations: int, seed: int
) -> tuple[float, float]:
    """Return the largest difference between groups, given as masks of shape (groups, rows), and its p-value."""
    generator = np.random.default_rng([seed, 83])
    in_any = np.asarray(masks.any(axis=0))
    actual, predictions, weights = actual[in_any], predictions.rows(in_any), masks[:, in_any].astype(np.float64)
    observed = float(np.ptp(metric.scores(actual, predictions, weights)))
    n_as_large = 0
    for _ in range(n_permutations):
        permuted = weights[:, generator.permutation(weights.shape[1])]
        difference = float(np.ptp(metric.scores(actual, predictions, permuted)))
        # Where a group has no score by chance, such as one class, nothing speaks against a difference as large.
        n_as_large += difference >= observed or np.isnan(difference)
    return observed, (n_as_large + 1) / (n_permutations + 1)


def _rates(task: Task, actual: Floats, predictions: Predictions) -> dict[str, float]:
    if task.is_regression:
        return {"mean error": float((predictions.values - actual).mean())}
    if task.kind != "binary":
        return {}
    is_predicted, is_actual = predictions.values == task.classes[1], actual == 1
    rates = {"predicted": is_predicted.mean(), "actual": is_actual.mean()}
    if is_actual.any():
        rates["true positive"] = is_predicted[is_actual].mean()
    if not is_actual.all():
        rates["false positive"] = is_predicted[~is_actual].mean()
    return {name: float(rate) for name, rate in rates.items()}
