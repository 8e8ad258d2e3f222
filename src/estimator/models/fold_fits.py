"""The fits of an ensemble: each family without each fold, on an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from estimator.config import Training
from estimator.core.arrays import Floats, Mask
from estimator.core.stored_matrix import by_blocks
from estimator.core.task import Task
from estimator.features.matrix import CrossFittedFeatures
from estimator.models.dataset import CurveMetric, EncodedFitData, EncodedRows, FitData
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.progress import Progress, fit_counter
from estimator.models.selection import Loss, greedy_weights
from estimator.models.units import MatrixUnits

# On a smaller first fold, chance would decide which members are given up.
MIN_RACE_ROWS = 200


@dataclass(frozen=True, slots=True)
class Candidacy:
    """A family that may become a member, with what all of its folds share, so that their models can become one."""

    name: str
    member: MatrixModel
    encoding: CrossFittedFeatures
    units: MatrixUnits


@dataclass(frozen=True, slots=True)
class FittedFold:
    """The rows of a fold that are not learned, the model of the others, and its predictions for the fold."""

    test_mask: Mask
    model: FittedMatrixModel
    predictions: Floats


# The position of a family among the candidates, and that of a fold.
_Fit = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What every fit needs: the families with their encoded rows, the folds and the settings."""

    candidates: Sequence[Candidacy]
    test_masks: Sequence[Mask]
    target: Floats
    weights: Floats
    task: Task
    training: Training
    threads: int
    metrics: Mapping[str, CurveMetric] = field(default_factory=dict)

    def name(self, fit: _Fit) -> str:
        """Return what progress calls a fit."""
        return self.candidates[fit[0]].name


def fit_folds(
    data: FitData, candidates: Sequence[Candidacy], loss: Loss, training: Training, *, progress: Progress
) -> dict[str, list[FittedFold]]:
    """Fit the candidates to all folds; those without a weight after the first fold, if it is large, to that one only.

    With one split, candidates are fitted one after another on all threads, else each on one.
    """
    masks = [assigned == fold for assigned in data.folds for fold in range(int(assigned.max()) + 1)]
    n_jobs, threads = (1, data.threads) if len(masks) == 1 else (data.threads, 1)
    shared = _Shared(
        [Candidacy(item.name, item.member, item.encoding.for_folds(), item.units) for item in candidates],
        masks,
        data.rows.target,
        data.rows.weights,
        data.task,
        training,
        threads,
        data.metrics,
    )
    fitted: dict[str, list[FittedFold]] = {candidate.name: [] for candidate in candidates}

    def fit(in_race: Sequence[int], folds: range) -> None:
        fits = [(candidate, fold) for candidate in in_race for fold in folds]
        results = data.engine.map(
            _fitted_fold, shared, fits, n_jobs=n_jobs, threads=threads, on_end=fit_counter(progress, fits, shared.name)
        )
        for (candidate, _), result in zip(fits, results, strict=True):
            fitted[candidates[candidate].name].append(result)

    n_first = 1 if len(masks) > 1 and len(candidates) > 1 and masks[0].sum() >= MIN_RACE_ROWS else len(masks)
    fit(range(len(candidates)), range(n_first))
    if n_first < len(masks):
        of_first = [out_of_fold_of(data, fitted[candidate.name]) for candidate in candidates]
        weights = greedy_weights(of_first, loss, masks[0], training.seed)
        fit(np.flatnonzero(weights > 0).tolist(), range(n_first, len(masks)))
    return fitted


def _fitted_fold(shared: _Shared, fit: _Fit) -> FittedFold:
    """Fit one family without one fold; it may run on another machine."""
    candidate, test_mask = shared.candidates[fit[0]], shared.test_masks[fit[1]]
    encoding, learned = candidate.encoding, ~test_mask
    fold_matrix = encoding.validation_matrix(learned, test_mask)
    encoded = EncodedFitData(
        EncodedRows(encoding.training_matrix(learned), shared.target[learned], shared.weights[learned]),
        np.zeros(int(learned.sum()), dtype=np.bool_),
        None,
        shared.task,
        encoding.features.categorical,
        validation_fold=EncodedRows(fold_matrix, shared.target[test_mask], shared.weights[test_mask]),
        threads=shared.threads,
        metrics=shared.metrics,
    )
    training = fold_training(candidate.member, shared.training, fit[1])
    model = candidate.member.fit_rescaled(encoded, training, units=candidate.units)
    return FittedFold(test_mask, model, by_blocks(model.predict, fold_matrix))


def fold_training(member: MatrixModel, training: Training, fold: int) -> Training:
    """Return the training settings of one fold: a seed of its own, and callbacks that stop the fit."""
    callbacks = training.callbacks or member.default_callbacks
    return training.model_copy(update={"seed": training.seed + 1000 * fold, "callbacks": callbacks})


def out_of_fold_of(data: FitData, fitted: Sequence[FittedFold]) -> Floats:
    """Return a candidate's out-of-fold predictions, the mean over repeats; NaN for rows of no fold that was fitted."""
    shape = (len(data.rows),) if data.task.is_regression else (len(data.rows), data.task.n_outputs)
    total, counts = np.zeros(shape), np.zeros(len(data.rows))
    for fold in fitted:
        total[fold.test_mask] += fold.predictions
        counts[fold.test_mask] += 1
    with np.errstate(invalid="ignore"):
        mean: Floats = total / (counts if data.task.is_regression else counts[:, None])
    return mean
