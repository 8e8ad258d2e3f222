"""Folds -> answers for rows by models that had not seen them, and scores that know how folds depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from estimator.config import Training
from estimator.core.arrays import Floats, Mask
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score
from estimator.models import Learned, Model, Progress, Table, silent
from estimator.models.base import side_by_side


def out_of_fold(
    table: Table, model: Model, plan: Training, *, learned: Learned | None = None, progress: Progress = silent
) -> Floats | None:
    """Return answers for the table's rows by models that had not seen them, or None when there are no folds.

    They have the shape of `Learned.predict`, the mean over repeats; rows that are never held out, such as the earliest
    of folds by time, hold NaN. What learning has given already is taken.
    """
    if table.n_folds < 2:
        return None
    if learned is not None and learned.out_of_fold is not None:
        return learned.out_of_fold
    parts = parted(table)
    answers = side_by_side(
        parts,
        lambda part: model.learn(table.pick(part[0]), plan).predict(table.rows.batch.rows(part[1])),
        at_once=table.threads, progress=progress,
    )  # fmt: skip
    return gathered(table, parts, answers)


def gathered(table: Table, parts: Sequence[tuple[Mask, Mask]], answers: Sequence[Floats]) -> Floats:
    """Return the answers of all folds in the order of the rows, the mean over repeats; NaN where there is none."""
    shape = (len(table.rows),) if table.task.is_regression else (len(table.rows), table.task.n_outputs)
    total, times = np.zeros(shape), np.zeros(len(table.rows))
    for (_, out), found in zip(parts, answers, strict=True):
        total[out] += found
        times[out] += 1
    divisor = times if table.task.is_regression else times[:, None]
    with np.errstate(invalid="ignore"):
        return np.where(divisor > 0, total / divisor, np.nan)


def parted(table: Table) -> Sequence[tuple[Mask, Mask]]:
    """Return (rows to learn from, rows to answer) of every fold of every repeat; by time, learn from the past alone."""
    found = []
    for dealt in table.folds:
        for number in range(int(table.is_ordered), int(dealt.max()) + 1):
            out = dealt == number
            inside = dealt < number if table.is_ordered else ~out
            if out.any() and inside.any():
                found.append((inside, out))
    return found


def fold_scores(table: Table, answers: Floats, metrics: Mapping[str, Metric]) -> dict[str, Floats]:
    """Return each metric's score in every fold, of shape (folds,), by out-of-fold answers."""
    found: dict[str, list[float]] = {name: [] for name in metrics}
    for _, out in parted(table):
        told, weights = table.task.predictions(answers[out]), table.rows.weights[out][None, :]
        for name, metric in metrics.items():
            found[name].append(float(metric.scores(table.rows.target[out], told, weights)[0]))
    return {name: np.array(values) for name, values in found.items()}


def corrected(scores: Floats, *, n_learned: float, n_out: float, confidence: float) -> Score:
    """Return the mean of scores of folds and its interval, corrected for the rows that folds share.

    The variance is that of Nadeau and Bengio (2003), with Student's t (Bouckaert and Frank, 2004).
    """
    from scipy.special import stdtrit

    solid = scores[np.isfinite(scores)]
    if len(solid) < 2:
        return Score(float(solid.mean()) if len(solid) else float("nan"), float("nan"), float("nan"))
    error = float(np.sqrt((1.0 / len(solid) + n_out / n_learned) * solid.var(ddof=1)))
    reach = float(stdtrit(len(solid) - 1, (1.0 + confidence) / 2.0)) * error
    return Score(float(solid.mean()), float(solid.mean()) - reach, float(solid.mean()) + reach)


def validated(table: Table, answers: Floats, metrics: Mapping[str, Metric], *, confidence: float) -> dict[str, Score]:
    """Return each metric over the folds, by out-of-fold answers, with its corrected interval."""
    n_out = len(table.rows) / table.n_folds
    n_learned = max(len(table.rows) - n_out, 1.0)
    scores = fold_scores(table, answers, metrics)
    found = {
        name: corrected(values, n_learned=n_learned, n_out=n_out, confidence=confidence)
        for name, values in scores.items()
    }
    return {name: _within(score, metrics[name]) for name, score in found.items()}


def _within(score: Score, metric: Metric) -> Score:
    """Cut an interval where scores end: no loss is below 0, and no score of which more is better above 1."""
    if metric.higher_is_better:
        return replace(score, high=min(score.high, 1.0))
    return replace(score, low=max(score.low, 0.0))
