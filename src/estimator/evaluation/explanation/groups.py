"""How answers treat the groups that a config names: errors, and of two levels how often each is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions, Task
from estimator.core.text import format_number
from estimator.evaluation.explanation.parts import Part
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score, score

LEAST_ROWS = 20


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of a group, the deciding metric there, and rates.

    Of numbers, `rates` holds "mean error", the mean of answer - truth. Of two levels it holds, for the second one, how
    often it is "told" and "true", and how often told where it is true ("found") and where it is not ("false alarms").
    """

    words: str
    rows: int
    score: Score
    rates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fairness:
    """The groups of one column, and the largest difference of the metric between two of them.

    `p` is the probability of a difference this large when rows are dealt to groups at random, and `level` that at which
    groups are called unequal.
    """

    column: str
    metric: str
    groups: Sequence[Group]
    best: str
    worst: str
    gap: float
    p: float
    level: float

    @property
    def verdict(self) -> str:
        """Whether the two groups that differ most are proved to differ."""
        between = f"{self.metric} between {self.worst} and {self.best} differs by {format_number(self.gap)}"
        chance = f"by chance with a probability of {self.p:.2g}"
        if self.p <= 1.0 - self.level:
            return f"unequal: {between}, {chance}"
        return f"not proved unequal with {sum(group.rows for group in self.groups):,} rows: {between}, {chance}"


def fairness(
    column: str, parts: Sequence[Part], task: Task, truth: Floats, answers: Predictions, named: tuple[str, Metric], *,
    bootstrap_samples: int, level: float, seed: int,
) -> Fairness | None:  # fmt: skip
    """Return how the groups of a column compare; None when fewer than two of them have 20 rows.

    The test of the difference is a permutation of the rows among the groups (Fisher, 1935), so that the choice of the
    two groups that differ most is allowed for.
    """
    name, metric = named
    parts = [part for part in parts if part.rows.sum() >= LEAST_ROWS]
    how = {"bootstrap_samples": bootstrap_samples, "level": level, "seed": seed}
    groups = []
    for part in parts:
        own, told = truth[part.rows], answers.rows(part.rows)
        found = score(own, told, {name: metric}, **how)[name]  # type: ignore[arg-type] # three numbers by name
        if np.isfinite(found.value):
            groups.append(Group(part.words, len(own), found, _rates(task, own, told)))
    if len(groups) < 2:
        return None
    masks = [part.rows for part in parts if part.words in {group.words for group in groups}]
    order = np.argsort([group.score.value for group in groups])
    worst, best = (order[0], order[-1]) if metric.higher_is_better else (order[-1], order[0])
    gap, p = _gap(np.array(masks), truth, answers, metric, times=bootstrap_samples, seed=seed)
    return Fairness(column, name, groups, groups[best].words, groups[worst].words, gap, p, level)


def _gap(
    masks: Mask, truth: Floats, answers: Predictions, metric: Metric, *, times: int, seed: int
) -> tuple[float, float]:
    """Return the largest difference between groups, masks of shape (groups, rows), and its p-value."""
    generator = np.random.default_rng([seed, 83])
    belonging: Mask = masks.sum(axis=0) > 0
    rows, inside = answers.rows(belonging), masks[:, belonging].astype(np.float64)
    spread = float(np.ptp(metric.scores(truth[belonging], rows, inside)))
    as_large = 0
    for _ in range(times):
        shuffled = inside[:, generator.permutation(inside.shape[1])]
        as_large += float(np.ptp(metric.scores(truth[belonging], rows, shuffled))) >= spread
    return spread, (as_large + 1) / (times + 1)


def _rates(task: Task, truth: Floats, answers: Predictions) -> dict[str, float]:
    if task.is_regression:
        return {"mean error": float((answers.values - truth).mean())}
    if task.kind != "binary":
        return {}
    told, true = answers.values == task.classes[1], truth == 1
    found = {"told": told.mean(), "true": true.mean()}
    found |= {"found": told[true].mean()} if true.any() else {}
    found |= {"false alarms": told[~true].mean()} if (~true).any() else {}
    return {name: float(rate) for name, rate in found.items()}


def rates_in_words(group: Group) -> str:
    """Return a group's rates for people.

    >>> rates_in_words(Group("sex is 'm'", 40, Score(1, 1, 1), {"told": 0.25, "true": 0.2}))
    'told 25.0%, true 20.0%'
    >>> rates_in_words(Group("sex is 'm'", 40, Score(1, 1, 1), {"mean error": -1.5}))
    'mean error -1.5'
    """
    return ", ".join(
        f"{name} {format_number(rate) if name == 'mean error' else f'{rate:.1%}'}" for name, rate in group.rates.items()
    )
