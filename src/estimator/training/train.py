"""Prepared rows + a model -> a predictor: fit, cross-validate, calibrate, write the graph, check its parity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from estimator.config import Config
from estimator.core.arrays import Floats
from estimator.engine import LOCAL, Engine
from estimator.errors import TrainingError
from estimator.evaluation.threshold import Threshold, choose_threshold, decided
from estimator.evaluation.validation import out_of_fold_predictions
from estimator.graph.builder import BOOL, DOUBLE, INT64, STRING, Graph, Output
from estimator.models import FitData, FittedModel, Model, Progress, WarmStart, silent, stage
from estimator.models.conformal import MIN_ROWS, Conformal, reachable_coverage
from estimator.store.predictor import Predictor
from estimator.training.parity import ParityCheck, check_parity
from estimator.training.prepare import PreparedData

# A split of fewer rows is a small sample to decide on.
MIN_SPLIT_ROWS = 200


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A predictor that has passed parity, and what its version stores with it.

    `out_of_fold` holds predictions for the rows of `fit_data`, before calibration, each by models that were not fitted
    on that row. `threshold` is None where the likeliest class is predicted. `notes` say which intervals, sets or
    thresholds could not be made as the config wants them.
    """

    predictor: Predictor
    fitted: FittedModel
    prepared: PreparedData
    parity: ParityCheck
    fit_seconds: float
    fit_data: FitData
    out_of_fold: Floats | None = None
    conformal: Conformal | None = None
    threshold: Threshold | None = None
    notes: tuple[str, ...] = ()

    @property
    def calibrated(self) -> Floats | None:
        """The out-of-fold predictions as the graph gives them: calibrated, where calibration helps."""
        return None if self.out_of_fold is None else _calibrated(self.out_of_fold, self.conformal)


def train(
    prepared: PreparedData,
    model: Model,
    config: Config,
    *,
    progress: Progress = silent,
    start: WarmStart | None = None,
    clock: Callable[[], float],
    engine: Engine = LOCAL,
) -> TrainedModel:
    """Fit a model and return a predictor whose graph passed the parity check; `clock` returns seconds.

    Fits of folds run on the `engine`.

    Raises
    ------
    TrainingError: the model cannot be fitted, or the start does not fit the config.
    ParityError: the graph does not predict what the fitted model predicts.
    """
    _check_classes(prepared)
    began = clock()
    progress(stage("encoding and fitting"))
    fit_data = replace(prepared.fit_data(config), engine=engine)
    fitted = model.fit(fit_data, config.training, progress=progress, start=start)
    out_of_fold = out_of_fold_predictions(fit_data, model, config.training, fitted=fitted, progress=progress)
    progress(stage("calibration"))
    # Class weights move probabilities on purpose; calibration would move them back.
    calibrate, coverage = config.training.class_weight is None, config.validation.coverage
    conformal = (
        None
        if out_of_fold is None
        else Conformal.fit(
            prepared.task,
            out_of_fold,
            fit_data.rows.target,
            coverage,
            calibrate=calibrate,
            weights=fit_data.rows.sample_weights,
        )
    )
    calibrated = None if out_of_fold is None else _calibrated(out_of_fold, conformal)
    threshold = choose_threshold(config.evaluation, prepared.task, calibrated, fit_data.rows)
    seconds = clock() - began
    progress(stage("ONNX graph and parity"))
    graph, task = write_graph(fitted, conformal, threshold), decided(prepared.task, threshold)
    predictor = Predictor(prepared.schema, task, graph, config.name or "model")
    return TrainedModel(
        predictor=predictor,
        fitted=fitted,
        prepared=prepared,
        parity=check_parity(predictor, fitted, conformal, fit_data.rows.batch),
        fit_seconds=seconds,
        fit_data=fit_data,
        out_of_fold=out_of_fold,
        conformal=conformal,
        threshold=threshold,
        notes=(
            *_conformal_notes(out_of_fold, fit_data, config),
            *([threshold.note] if threshold is not None and threshold.note is not None else []),
        ),
    )


def _calibrated(raw: Floats, conformal: Conformal | None) -> Floats:
    return conformal.calibration.apply(raw) if conformal is not None and conformal.calibration.changes else raw


def write_graph(fitted: FittedModel, conformal: Conformal | None = None, threshold: Threshold | None = None) -> bytes:
    """Return encoders and model as one graph.

    Its outputs are `prediction`, of classes the one that the threshold decides for or else the likeliest; for classes
    `probability`; and with `conformal` also `prediction_low` and `prediction_high` of numbers, or the `prediction_set`
    of classes.
    """
    graph, task = Graph(), fitted.task
    value, flat = fitted.write(graph), graph.constant([-1], np.int64)
    if task.is_regression:
        outputs = [Output("prediction", graph("Reshape", value, flat), DOUBLE, rank=1)]
        bounds = conformal.interval.write(graph, value) if conformal and conformal.interval else ()
        for name, bound in zip(("prediction_low", "prediction_high"), bounds, strict=False):
            outputs.append(Output(name, graph("Reshape", bound, flat), DOUBLE, rank=1))
        return graph.finish(outputs)
    if conformal is not None and conformal.calibration.changes:
        value = conformal.calibration.write(graph, value, len(task.classes))
    if threshold is None:
        index = graph("ArgMax", value, axis=1, keepdims=0)
    else:
        positive = graph("Gather", value, graph.constant(1, np.int64), axis=1)
        is_positive = graph("GreaterOrEqual", positive, graph.constant(threshold.value, np.float64))
        index = graph("Cast", is_positive, to=INT64)
    predicted = graph("Gather", graph.constant(np.array(task.classes, dtype=object)), index, axis=0)
    outputs = [Output("prediction", predicted, STRING, rank=1), Output("probability", value, DOUBLE, rank=2)]
    if conformal is not None and conformal.class_set is not None:
        outputs.append(Output("prediction_set", conformal.class_set.write(graph, value), BOOL, rank=2))
    return graph.finish(outputs)


def _conformal_notes(out_of_fold: Floats | None, data: FitData, config: Config) -> tuple[str, ...]:
    """Return why predictions have no interval or set, or one that cannot reach its coverage."""
    validation, kind = config.validation, "intervals" if data.task.is_regression else "sets"
    if validation.folds < 1:
        return ()
    n_rows = 0 if out_of_fold is None else int((~np.isnan(out_of_fold.reshape(len(data.rows), -1)[:, 0])).sum())
    if n_rows < MIN_ROWS:
        note = (
            f"validation.folds: {n_rows:,} of {len(data.rows):,} training rows were predicted by folds, and prediction "
            f"{kind} need at least {MIN_ROWS}: predictions have none; give more rows"
        )
        return (note,)
    if validation.folds == 1 and n_rows < MIN_SPLIT_ROWS:
        note = f"validation.folds: 1 holds out {n_rows:,} rows, which decide weights and {kind}; 5 folds use all rows"
        return (note,)
    largest, needed = reachable_coverage(n_rows, validation.coverage, is_regression=data.task.is_regression)
    if validation.coverage <= largest:
        return ()
    note = (
        f"validation.coverage: {n_rows:,} rows cannot give prediction {kind} that cover {validation.coverage:.4g} of "
        f"new rows, but about {largest:.3f}; give at least {needed:,} training rows, or lower validation.coverage"
    )
    return (note,)


def _check_classes(prepared: PreparedData) -> None:
    present = np.unique(prepared.rows.target[~prepared.test_mask])
    if len(present) < 2 and not prepared.task.is_regression:
        raise TrainingError(
            f"all training rows have the class {prepared.task.classes[int(present[0])]!r}; "
            "other classes are only in the test rows",
            hint="choose another training.split or training.test_size",
        )
