"""The decision threshold: from which probability on the positive class, the second of two, is predicted, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from estimator.config import Costs, Evaluation
from estimator.core.arrays import Floats
from estimator.core.requirement import Requirement
from estimator.core.task import Predictions, Task
from estimator.core.text import counted, format_number, join_names
from estimator.errors import ConfigError
from estimator.evaluation.metrics import SHELF, Metric
from estimator.evaluation.scores import load_metric
from estimator.models import Dataset

# What decides without a threshold: the likelier of two classes.
HALF = 0.5
# Scores that differ by less are equal, but for rounding.
ROUNDING = 1e-12
# Of the metrics that may be bounded, the one that is then made as high as it can be.
COUNTERPARTS = {"recall": "precision", "precision": "recall"}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The probability `value` from which on `positive_class` is predicted.

    `rule` is what chose it: a number, a metric, a requirement, or costs. It was chosen on `rows` out-of-fold rows; 0
    where none were needed. `note` says what the rule could not reach.
    """

    value: float
    rule: str
    positive_class: str
    rows: int = 0
    note: str | None = None

    @property
    def sentence(self) -> str:
        """What the threshold does and how it was chosen."""
        predicted = f"{self.positive_class!r} is predicted from a probability of {format_number(self.value)} on"
        return f"{predicted}: {self.reason}"

    @property
    def reason(self) -> str:
        """How it was chosen.

        >>> Threshold(0.25, "recall>=0.9", "yes", 1200).reason
        'the highest precision with recall>=0.9 on 1,200 out-of-fold rows'
        """
        if self.note is not None:
            return self.note
        if not self.rows:
            return "the least expected cost" if self.rule == "costs" else "as the config says"
        bound = Requirement.parse(self.rule)
        if bound is not None:
            best = f"the highest {COUNTERPARTS[bound.metric]} with {self.rule}"
        else:
            best = "the lowest cost" if self.rule == "costs" else f"the best {self.rule}"
        return f"{best} on {counted(self.rows, 'out-of-fold row')}"

    @property
    def metric(self) -> str | None:
        """The metric that it makes the best, None for a number or a requirement."""
        if self.rule == "costs":
            return "cost"
        return SHELF.canonical(self.rule) if self.rule.isidentifier() else None

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return asdict(self)


def check_threshold(evaluation: Evaluation, task: Task) -> None:
    """Reject a threshold, or costs, that the task cannot have.

    Raises
    ------
    ConfigError: the target has not two classes, or the metric does not depend on the threshold.
    """
    key = "threshold" if evaluation.costs is None else "costs"
    if getattr(evaluation, key) is None:
        return
    if task.is_regression:
        raise ConfigError(
            f"evaluation.{key}: the target is a number, and a threshold decides between two classes",
            hint="leave it out; data.task: classification takes each number as a class",
        )
    if task.kind != "binary":
        raise ConfigError(
            f"evaluation.{key}: expected a target of two classes, got {len(task.classes):,}: "
            f"{join_names(task.classes, limit=5)}",
            hint="leave it out: the likeliest class is predicted",
        )
    rule = evaluation.threshold
    if isinstance(rule, str) and Requirement.parse(rule) is None and not _is_aim(SHELF.canonical(rule)):
        aims = [name for name in SHELF.names() if _is_aim(name)]
        raise ConfigError(
            f"evaluation.threshold: {rule} is the same at every threshold", hint=f"choose from {', '.join(aims)}"
        )


def _is_aim(name: str) -> bool:
    """Whether a threshold can be chosen that makes a metric the best."""
    kind = SHELF.load(name)
    return kind.scores_classes and "binary" in kind.tasks and name not in (*COUNTERPARTS, "cost")


def fixed_threshold(evaluation: Evaluation) -> float | None:
    """Return the threshold that needs no predictions to be chosen: a number, or that of costs; None for others."""
    if evaluation.costs is not None:
        return evaluation.costs.threshold
    return None if isinstance(evaluation.threshold, str) else evaluation.threshold


def choose_threshold(
    evaluation: Evaluation, task: Task, probabilities: Floats | None, rows: Dataset
) -> Threshold | None:
    """Return the threshold that a config asks for, None where the likelier class is predicted.

    It is chosen on out-of-fold `probabilities` (rows, classes), as the graph gives them, NaN where a row has none, or
    None where no row has any; rows count by their sample weights. Of thresholds that are as good, it is the one nearest
    to 0.5.

    With costs, it is the one that calibrated probabilities have, false_positive / (false_positive + false_negative)
    (Elkan, 2001), not the one of the lowest cost on these rows: near its minimum the mean cost is flat and, with a rare
    class, noisy, so the lowest point of a sample moves about, while new rows cost as much by either. Where rows are
    fitted with different weights, of classes or of their own, probabilities are not the frequencies of what is scored,
    and the ratio may cost more than twice as much; there the lowest cost decides (benchmarks/thresholds.py).
    """
    key = "threshold" if evaluation.costs is None else "costs"
    if getattr(evaluation, key) is None:
        return None
    rule, fixed = "costs" if evaluation.costs else str(evaluation.threshold), fixed_threshold(evaluation)
    is_moved = evaluation.costs is not None and np.ptp(rows.weights) > 0
    if fixed is not None and not is_moved:
        return Threshold(fixed, rule, task.classes[1])
    if probabilities is None:
        probabilities = np.full((len(rows), 2), np.nan)
    is_counted = ~np.isnan(probabilities[:, 1]) & (rows.sample_weights > 0)
    positive, actual = probabilities[is_counted, 1], rows.target[is_counted]
    if len(np.unique(actual)) < 2:
        value = HALF if fixed is None else fixed
        note = (
            f"evaluation.{key}: no threshold can be chosen on {counted(len(actual), 'out-of-fold row')}, which are not "
            f"of both classes: it is {format_number(value)}"
        )
        return Threshold(value, rule, task.classes[1], len(actual), note)
    candidates = _candidates(positive)
    counts = cell_counts(candidates, positive, actual, rows.sample_weights[None, is_counted])
    place, unreached = _best(evaluation, task, candidates, counts)
    value = _shortest(float(candidates[place - 1]) if place else 0.0, float(candidates[place]))
    return Threshold(value, rule, task.classes[1], len(actual), unreached)


def _best(evaluation: Evaluation, task: Task, candidates: Floats, counts: Floats) -> tuple[int, str | None]:
    """Return the place of the best threshold, and what it could not reach."""
    bound = Requirement.parse(str(evaluation.threshold))
    if bound is None:
        name = "cost" if evaluation.costs is not None else SHELF.canonical(str(evaluation.threshold))
        return _nearest_to_half(candidates, _gains(name, task, counts, evaluation.costs)), None
    reached = _gains(bound.metric, task, counts)
    is_enough = reached >= bound.value - ROUNDING
    if not is_enough.any():
        place = _nearest_to_half(candidates, reached)
        note = (
            f"evaluation.threshold: no threshold reaches {evaluation.threshold} on the out-of-fold rows; the highest "
            f"{bound.metric} is {format_number(float(reached[place]))}"
        )
        return place, note
    others = _gains(COUNTERPARTS[bound.metric], task, counts)
    return _nearest_to_half(candidates, np.where(is_enough, others, -np.inf)), None


def _gains(name: str, task: Task, counts: Floats, costs: Costs | None = None) -> Floats:
    """Return a metric at each threshold, turned so that more is better; an undefined score is the worst."""
    metric = load_metric(name, task, costs, key="evaluation.threshold")
    scores = scores_of_counts(metric, task, counts)[0]
    return np.where(np.isnan(scores), -np.inf, scores if metric.higher_is_better else -scores)


def _nearest_to_half(candidates: Floats, gains: Floats) -> int:
    best = np.flatnonzero(gains >= gains.max() - ROUNDING)
    return int(best[np.abs(candidates[best] - HALF).argmin()])


def _candidates(positive: Floats) -> Floats:
    """Return thresholds, ascending, that decide differently: each probability, and one that is above all of them."""
    distinct = np.unique(positive)
    return distinct if distinct[-1] >= 1.0 else np.append(distinct, 1.0)


def _shortest(low: float, high: float) -> float:
    """Return the number with the fewest digits above `low` and at most `high`, the nearest to their middle.

    >>> _shortest(0.231, 0.2398), _shortest(0.9, 1.0)
    (0.235, 0.95)
    """
    middle = low + (high - low) / 2.0
    rounded = (round(middle, digits) for digits in range(1, 17))
    return next((value for value in rounded if low < value <= high), high)


def cell_counts(thresholds: Floats, positive: Floats, actual: Floats, weights: Floats) -> Floats:
    """Return the weights of true negatives, false positives, false negatives and true positives at each threshold.

    `thresholds` ascend; `positive` are the probabilities (rows,) of the positive class; `weights` has shape
    (weightings, rows), the result (weightings, thresholds, 4).

    >>> cell_counts(np.array([0.3, 0.6]), np.array([0.2, 0.5, 0.9]), np.array([0, 0, 1.0]), np.ones((1, 3))).tolist()
    [[[1.0, 1.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0]]]
    """
    # The number of thresholds at which a row is predicted as positive.
    bins = np.searchsorted(thresholds, positive, side="right")
    cells = []
    for is_side in (actual == 0.0, actual == 1.0):
        order = np.flatnonzero(is_side)[np.argsort(bins[is_side], kind="stable")]
        by_bin = np.zeros((len(weights), len(thresholds) + 1))
        if len(order):
            starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
            by_bin[:, bins[order][starts]] = np.add.reduceat(weights[:, order], starts, axis=1)
        from_bin = np.cumsum(by_bin[:, ::-1], axis=1)[:, ::-1]
        cells += [np.maximum(from_bin[:, :1] - from_bin[:, 1:], 0.0), from_bin[:, 1:]]
    return np.stack(cells, axis=2)


def scores_of_counts(metric: Metric, task: Task, counts: Floats) -> Floats:
    """Return a metric that scores classes, for counts (weightings, thresholds, 4), of shape (weightings, thresholds).

    It depends on the rows through these counts alone: four rows, weighted by them, have the score of all.
    """
    predictions = Predictions(np.array(task.classes, dtype=object)[[0, 1, 0, 1]], np.eye(2)[[0, 1, 0, 1]], task.classes)
    scores = metric.scores(np.array([0.0, 0.0, 1.0, 1.0]), predictions, counts.reshape(-1, 4))
    return scores.reshape(counts.shape[:2])


def decided(task: Task, threshold: Threshold | None) -> Task:
    """Return a task whose classes the threshold decides."""
    return task if threshold is None else replace(task, threshold=threshold.value)


def recorded_threshold(manifest: Mapping[str, Any]) -> Threshold | None:
    """Return the threshold of a version by its manifest, None where the likeliest class is predicted."""
    data = manifest.get("threshold")
    return None if data is None else Threshold(**{field.name: data[field.name] for field in fields(Threshold)})
