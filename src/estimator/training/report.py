"""A predictor + held-out rows -> its report: scores with intervals, a baseline, coverage and an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions, Task
from estimator.core.text import join_names
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import infer_column
from estimator.data.stored_columns import read_rows
from estimator.data.stored_table import Table
from estimator.errors import RowError
from estimator.evaluation.confusion import Confusion
from estimator.evaluation.explanation import (
    Explanation,
    ExplanationSettings,
    OutOfSample,
    Slice,
    column_slices,
    explain,
)
from estimator.evaluation.explanation.importance import decisive_columns
from estimator.evaluation.metrics import SHELF, Metric
from estimator.evaluation.scores import Coverage, Scores, coverage, score, score_notes, select_metrics
from estimator.evaluation.threshold import choose_threshold, decided
from estimator.evaluation.threshold_effect import LabeledProbabilities, ThresholdEffect, threshold_effect
from estimator.evaluation.validation import cross_validated_scores
from estimator.models import Dataset, EncodedFitData, EncodedRows, Progress, silent, stage
from estimator.models.constant import Constant
from estimator.store.predictor import Predictor
from estimator.training.curves import overfitting
from estimator.training.leaderboard import leaderboard_table
from estimator.training.train import TrainedModel

# From this score on, with this many held-out rows, a column probably leaks the target.
SUSPICIOUS_SCORE, SUSPICIOUS_ROWS = 0.9995, 500


@dataclass(frozen=True, slots=True)
class Report:
    """How good a predictor is on the held-out rows, and with `folds` in cross-validation on the others.

    `actual` holds numbers or class indices, one for each of `predictions`. `baseline` are the scores of always
    predicting the same, `live` those of the live version where it can predict these rows; `confusion` is of the same
    rows, and so is `threshold_effect`, what a decision threshold changes. `leaderboard` is a table of the members of an
    ensemble. `notes` are of all rows; `overfitting` says where it begins, None without learning curves.
    """

    task: Task
    metrics: Scores
    baseline: Scores
    actual: Floats
    predictions: Predictions
    live: Scores | None = None
    live_version: str | None = None
    folds: Scores | None = None
    coverage: Coverage | None = None
    explanation: Explanation | None = None
    confusion: Confusion | None = None
    threshold_effect: ThresholdEffect | None = None
    leaderboard: Sequence[Sequence[str]] = ()
    notes: tuple[str, ...] = ()
    overfitting: str | None = None

    @property
    def deciding_metric(self) -> str:
        """The name of the first metric, which decides comparisons."""
        return next(iter(self.metrics))

    @property
    def beats_baseline(self) -> bool:
        """Whether the deciding metric is better than always predicting the same."""
        name = self.deciding_metric
        value, baseline = self.metrics[name].value, self.baseline[name].value
        return value > baseline if SHELF.load(name).higher_is_better else value < baseline

    @property
    def suspicion(self) -> str | None:
        """A warning that the score is too good to be true, with the columns it depends on; None for other scores."""
        metric = self.metrics["r2" if self.task.is_regression else "auc"]
        if len(self.actual) < SUSPICIOUS_ROWS or not metric.value >= SUSPICIOUS_SCORE:
            return None
        names = [] if self.explanation is None else decisive_columns(self.explanation.importance)
        depends = f": it depends on {join_names(map(repr, names))}" if names else ""
        return (
            f"this score is suspiciously good{depends}; is that known when a prediction is needed? "
            "`estimator explore` looks for columns that leak the target"
        )


def evaluate_training(
    trained: TrainedModel, config: Config, live: Predictor | None = None, *, progress: Progress = silent
) -> Report:
    """Score a predictor on the held-out rows, next to the baseline and the live version, and explain it."""
    prepared, evaluation = trained.prepared, config.evaluation
    progress(stage("scores of the held-out rows"))
    test_rows = prepared.test_rows
    batch, actual, weights = test_rows.batch, test_rows.target, test_rows.sample_weights
    metrics = select_metrics(evaluation.metrics, prepared.task, evaluation.costs)
    predictions = trained.predictor.predict_batch(batch)
    baseline = _baseline_scores(trained, metrics, config)
    scores, folds = _scored(actual, predictions, metrics, weights, config), _fold_scores(trained, metrics, config)
    progress(stage("feature importance and weak slices"))
    report = Report(
        task=prepared.task,
        metrics=scores,
        baseline=baseline,
        actual=actual,
        predictions=predictions,
        folds=folds,
        coverage=coverage(actual, predictions, config.validation.coverage),
        confusion=Confusion.of(actual, predictions),
        threshold_effect=_threshold_effect(trained, predictions.raw, config),
        leaderboard=leaderboard_table(trained.fitted.summary, prepared.task),
        overfitting=_overfitting(trained),
        explanation=_explanation(trained, predictions.raw, next(iter(metrics.items())), config),
    )
    notes = (*prepared.notes, *trained.notes, *score_notes(report.metrics, actual, prepared.task))
    report = replace(report, notes=notes)
    of_live = None if live is None or live.task != prepared.task else _live_predictions(live, prepared.test_frame)
    if live is None or of_live is None:
        return report
    return replace(report, live=_scored(actual, of_live, metrics, weights, config), live_version=live.version)


def _overfitting(trained: TrainedModel) -> str | None:
    """Say where over-fitting begins; None where there are no curves, as of an ensemble."""
    summary, curves = trained.fitted.summary, trained.fitted.curves
    is_net = "best_epoch" in summary
    kept = int(summary["best_epoch"]) if is_net else None
    return overfitting(curves, unit="epoch" if is_net else "tree", kept=kept)


def _scored(
    actual: Floats, predictions: Predictions, metrics: dict[str, Metric], sample_weights: Floats, config: Config
) -> Scores:
    return score(
        actual,
        predictions,
        metrics,
        sample_weights=sample_weights,
        bootstrap_samples=config.evaluation.bootstrap_samples,
        confidence=config.evaluation.confidence,
        seed=config.training.seed,
    )


def _fold_scores(trained: TrainedModel, metrics: dict[str, Metric], config: Config) -> Scores | None:
    # The scores of one split would have no interval.
    if (raw := trained.calibrated) is None or trained.fit_data.n_folds < 2:
        return None
    predictions = trained.predictor.task.predictions(raw)
    return cross_validated_scores(trained.fit_data, predictions, metrics, confidence=config.evaluation.confidence)


def _threshold_effect(trained: TrainedModel, held_out: Floats, config: Config) -> ThresholdEffect | None:
    if trained.threshold is None:
        return None
    of_folds = None if trained.calibrated is None else _labeled(trained.calibrated, trained.fit_data.rows)
    return threshold_effect(
        trained.threshold,
        trained.predictor.task,
        _labeled(held_out, trained.prepared.test_rows),
        of_folds,
        config.evaluation,
        seed=config.training.seed,
    )


def _labeled(probabilities: Floats, rows: Dataset) -> LabeledProbabilities:
    """Return the rows that have a prediction."""
    positive = probabilities[:, 1]
    is_predicted = ~np.isnan(positive)
    return LabeledProbabilities(positive[is_predicted], rows.target[is_predicted], rows.sample_weights[is_predicted])


def _explanation(trained: TrainedModel, raw: Floats, metric: tuple[str, Metric], config: Config) -> Explanation:
    prepared, evaluation = trained.prepared, config.evaluation
    settings = ExplanationSettings(
        evaluation.importance_repeats, evaluation.bootstrap_samples, evaluation.confidence, config.training.seed
    )
    out_of_sample = _out_of_sample(trained, raw, evaluation.fairness_columns)
    return explain(trained.predictor, trained.fitted, prepared.test_rows, out_of_sample, metric, settings)


def _live_predictions(live: Predictor, frame: Table) -> Predictions | None:
    """Return the live version's predictions for rows as they were read; None when its schema rejects them."""
    names = [column.name for column in live.schema.features]
    if not set(names) <= set(frame.columns):
        return None
    try:
        return live.predict_batch(read_rows(live.schema, frame))
    except RowError:
        return None


def _out_of_sample(trained: TrainedModel, held_out: Floats, fairness_columns: list[str]) -> OutOfSample:
    """Return the held-out rows, and those predicted in cross-validation, with their predictions."""
    prepared = trained.prepared
    raw = np.full((len(prepared.rows.target), *held_out.shape[1:]), np.nan)
    raw[prepared.test_mask] = held_out
    if trained.calibrated is not None:
        raw[~prepared.test_mask] = trained.calibrated
    is_predicted: Mask = np.isfinite(raw.reshape(len(raw), -1).sum(axis=1))
    rows = prepared.rows.take(is_predicted)
    frame = prepared.frame.filter(pl.Series(is_predicted))
    groups = {name: _groups(prepared.schema, frame[name]) for name in fairness_columns}
    return OutOfSample(rows, raw[is_predicted], groups)


def _groups(schema: Schema, series: pl.Series) -> list[Slice]:
    """Return the slices of the rows by a column, which need not be a feature."""
    column = schema.by_name.get(series.name) or infer_column(series)
    if column.kind in ("text", "identifier"):
        column = replace(column, kind="category")
    values, _ = read_series(column, series)
    return column_slices(column, values[:, 0])


def _baseline_scores(trained: TrainedModel, metrics: dict[str, Metric], config: Config) -> Scores:
    """Return the scores of the constant prediction to beat; class weights do not affect it.

    Of two classes it predicts the likelier one. In the metric that chose the threshold, it predicts the one that makes
    that metric the best.
    """
    prepared = trained.prepared
    is_training, no_features = ~prepared.test_mask, np.empty((len(prepared.rows.target), 0))
    rows = EncodedRows(no_features, prepared.rows.target, prepared.rows.sample_weights).take(is_training)
    data = EncodedFitData(rows, np.zeros(len(rows), dtype=np.bool_), None, prepared.task)
    raw = Constant().fit_rescaled(data, config.training).predict(no_features)
    test_mask = prepared.test_mask
    test, actual, weights = raw[test_mask], prepared.rows.target[test_mask], prepared.rows.sample_weights[test_mask]
    scores = _scored(actual, prepared.task.predictions(test), metrics, weights, config)
    if trained.threshold is None or (name := trained.threshold.metric) not in metrics:
        return scores
    best = choose_threshold(config.evaluation, prepared.task, raw[is_training], prepared.rows.take(is_training))
    predictions = decided(prepared.task, best).predictions(test)
    return {**scores, **_scored(actual, predictions, {name: metrics[name]}, weights, config)}
