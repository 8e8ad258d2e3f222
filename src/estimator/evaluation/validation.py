"""Cross-validation: out-of-fold predictions, and scores whose intervals allow for the rows that folds share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from estimator.config import Training
from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions
from estimator.core.units import mean_and_deviation
from estimator.engine import LOCAL
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score
from estimator.models import FitData, FittedModel, Model, Progress, fit_counter, silent


def out_of_fold_predictions(
    data: FitData, model: Model, training: Training, *, fitted: FittedModel | None = None, progress: Progress = silent
) -> Floats | None:
    """Return predictions for all rows by models that were not fitted on them, or None without folds.

    They have the shape of `FittedModel.predict` and are means over repeats. Rows that are in no fold's test part, such
    as the earliest of folds by time, are NaN. Predictions that `fitted` brings are returned as they are.
    """
    if data.n_folds < 1:
        return None
    if fitted is not None and fitted.out_of_fold is not None:
        return fitted.out_of_fold

    folds = fold_masks(data)
    positions = range(len(folds))
    predictions = data.engine.map(
        _fold_predictions,
        _FoldFits(replace(data, held_out=None, engine=LOCAL), model, training),
        positions,
        n_jobs=data.threads,
        on_end=fit_counter(progress, positions),
    )
    return mean_over_repeats(data, folds, predictions)


@dataclass(frozen=True, slots=True)
class _FoldFits:
    """What the fits of all folds share."""

    data: FitData
    model: Model
    training: Training


def _fold_predictions(shared: _FoldFits, position: int) -> Floats:
    """Return the predictions for one fold by a model of the others; it may run on another machine."""
    data, training = shared.data, shared.training
    training_mask, test_mask = fold_masks(data)[position]
    learned = _with_validation(data.take(training_mask), data, training)
    return shared.model.fit(learned, training).predict_all(data.rows.batch.rows(test_mask))


def _with_validation(learned: FitData, data: FitData, training: Training) -> FitData:
    """Return rows to learn from with as large a fraction for early stopping as all rows have.

    One split by time, or by group, may hold out the very rows that are for early stopping.
    """
    if learned.validation_mask.any() or not data.validation_mask.any():
        return learned
    generator = np.random.default_rng([training.seed, 71])
    mask = generator.random(len(learned.rows)) < data.validation_mask.mean()
    return replace(learned, validation_mask=mask & ~mask.all())


def mean_over_repeats(data: FitData, folds: Sequence[tuple[Mask, Mask]], predictions: Sequence[Floats]) -> Floats:
    """Return the folds' predictions in the order of the rows, the mean over repeats; NaN where there is none."""
    shape = (len(data.rows),) if data.task.is_regression else (len(data.rows), data.task.n_outputs)
    total, counts = np.zeros(shape), np.zeros(len(data.rows))
    for (_, test_mask), fold_predictions in zip(folds, predictions, strict=True):
        total[test_mask] += fold_predictions
        counts[test_mask] += 1
    divisor = counts if data.task.is_regression else counts[:, None]
    with np.errstate(invalid="ignore"):
        return np.where(divisor > 0, total / divisor, np.nan)


def fold_masks(data: FitData) -> list[tuple[Mask, Mask]]:
    """Return (training rows, test rows) of every fold of every repeat; folds by time train on the past only."""
    masks = []
    for assigned in data.folds:
        for fold in range(int(data.is_ordered and data.n_folds > 1), int(assigned.max()) + 1):
            test_mask = assigned == fold
            training_mask = assigned < fold if data.is_ordered else ~test_mask
            if test_mask.any() and training_mask.any():
                masks.append((training_mask, test_mask))
    return masks


def fold_scores(data: FitData, out_of_fold: Predictions, metrics: Mapping[str, Metric]) -> dict[str, Floats]:
    """Return each metric's score in every fold, of shape (folds,)."""
    scores: dict[str, list[float]] = {name: [] for name in metrics}
    for _, test_mask in fold_masks(data):
        rows, predictions = data.rows.take(test_mask), out_of_fold.rows(test_mask)
        for name, metric in metrics.items():
            scores[name].append(float(metric.scores(rows.target, predictions, rows.sample_weights[None, :])[0]))
    return {name: np.array(values) for name, values in scores.items()}


def corrected_mean(scores: Floats, *, n_train: float, n_test: float, confidence: float) -> Score:
    """Return the mean of fold scores with an interval, corrected for the training rows that folds share.

    The variance is that of Nadeau and Bengio (2003), with Student's t (Bouckaert and Frank, 2004). Scores that are not
    finite are left out; with fewer than two left the interval is NaN.
    """
    from scipy.special import stdtrit

    finite = scores[np.isfinite(scores)]
    if len(finite) < 2:
        return Score(float(finite.mean()) if len(finite) else float("nan"), float("nan"), float("nan"))
    mean, deviation = (float(value) for value in mean_and_deviation(finite, ddof=1))
    standard_error = float(np.sqrt(1.0 / len(finite) + n_test / n_train)) * deviation
    half_width = float(stdtrit(len(finite) - 1, (1.0 + confidence) / 2.0)) * standard_error
    return Score(mean, mean - half_width, mean + half_width)


def cross_validated_scores(
    data: FitData, out_of_fold: Predictions, metrics: Mapping[str, Metric], *, confidence: float
) -> dict[str, Score]:
    """Return each metric's mean over the folds with its corrected interval.

    The interval is symmetric, so with few folds that differ it may reach beyond the values that a metric can have.
    """
    n_test = len(data.rows) / data.n_folds
    n_train = max(len(data.rows) - n_test, 1.0)
    return {
        name: corrected_mean(values, n_train=n_train, n_test=n_test, confidence=confidence)
        for name, values in fold_scores(data, out_of_fold, metrics).items()
    }
