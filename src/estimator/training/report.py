"""Trained + the rows it has not learned from -> Report: scores beside others', coverage, and what explains them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats, Mask
from estimator.core.task import Predictions, Task
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame, read_series
from estimator.data.schema.inference import infer_column
from estimator.errors import RowError
from estimator.evaluation.explanation import Asked, Explanation, Known, Part, explain, parts_of
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.scores import Coverage, Scores, chosen_metrics, coverage, score
from estimator.evaluation.validation import validated
from estimator.models import Labelled, Rows, TrainingData
from estimator.models.constant import Constant
from estimator.store.predictor import Predictor
from estimator.training.train import Prepared, Trained


@dataclass(frozen=True, slots=True)
class Report:
    """What the held-out rows say, and with `folds` the others in turn, each by models that had not seen it.

    `truth` holds numbers or level positions, beside the answers.
    """

    task: Task
    metrics: Scores
    baseline: Scores
    truth: Floats
    answers: Predictions
    live: Scores | None = None
    live_version: str | None = None
    folds: Scores | None = None
    coverage: Coverage | None = None
    explanation: Explanation | None = None

    @property
    def first(self) -> str:
        """The name of the metric that decides."""
        return next(iter(self.metrics))

    @property
    def beats_baseline(self) -> bool:
        """Whether the deciding metric is better than always giving the same answer."""
        value, constant = self.metrics[self.first].value, self.baseline[self.first].value
        return value > constant if SHELF.load(self.first).higher_is_better else value < constant


def judge(trained: Trained, config: Config, live: Predictor | None = None) -> Report:
    """Score a predictor on the held-out rows, beside the constant answer and the live version, and explain it."""
    prepared, choices = trained.prepared, config.evaluation
    batch, truth = prepared.testing, prepared.target[prepared.test]
    metrics = chosen_metrics(choices.metrics, prepared.task)
    how = {"bootstrap_samples": choices.bootstrap_samples, "level": choices.confidence, "seed": config.training.seed}
    answers = trained.predictor.predict_batch(batch)
    first = next(iter(metrics.items()))
    asked = Asked(choices.importance_repeats, choices.bootstrap_samples, choices.confidence, config.training.seed)
    held_out = Labelled(batch, truth, prepared.weights[prepared.test])
    known = _known(trained, answers.raw, choices.fairness_columns)
    report = Report(
        task=prepared.task,
        metrics=score(truth, answers, metrics, **how),  # type: ignore[arg-type] # three numbers by name
        baseline=score(truth, _constant_answers(prepared, config), metrics, **how),  # type: ignore[arg-type] # the same
        truth=truth,
        answers=answers,
        folds=None
        if trained.unseen is None
        else validated(trained.table, trained.told(trained.unseen), metrics, level=choices.confidence),
        coverage=coverage(truth, answers, config.validation.coverage),
        explanation=explain(trained.predictor, trained.learned, held_out, known, first, asked),
    )
    beside = None if live is None or live.task != prepared.task else _answers_of(live, prepared.tested)
    if live is None or beside is None:
        return report
    return replace(report, live=score(truth, beside, metrics, **how), live_version=live.version)  # type: ignore[arg-type] # the same


def _answers_of(live: Predictor, frame: pl.DataFrame) -> Predictions | None:
    """Return what another version answers to rows as they were read; None when its contract does not take them."""
    names = [column.name for column in live.schema.features]
    if not set(names) <= set(frame.columns):
        return None
    try:
        return live.predict_batch(read_frame(live.schema, frame.select(names)))
    except RowError:
        return None


def _known(trained: Trained, held_out: Floats, groups: list[str]) -> Known:
    """Return all rows with answers by models that had not seen them: those held out, and the others by folds."""
    prepared, raw = trained.prepared, np.full((len(trained.prepared.target), *held_out.shape[1:]), np.nan)
    raw[prepared.test] = held_out
    if trained.unseen is not None:
        raw[~prepared.test] = trained.told(trained.unseen)
    answered: Mask = np.isfinite(raw.reshape(len(raw), -1).sum(axis=1))
    rows = Labelled(prepared.batch, prepared.target, prepared.weights).pick(answered)
    frame = prepared.labelled.filter(pl.Series(answered))
    return Known(rows, raw[answered], {name: _groups(prepared.schema, frame[name]) for name in groups})


def _groups(schema: Schema, series: pl.Series) -> list[Part]:
    """Return the parts of the rows by a column, which need not be a feature."""
    column = schema.by_name.get(series.name) or infer_column(series)
    if column.kind in ("text", "identifier"):
        column = replace(column, kind="category")
    values, _ = read_series(column, series)
    return parts_of(column, values[:, 0])


def _constant_answers(prepared: Prepared, config: Config) -> Predictions:
    """Return the answers of the score to beat, which class weights must not move."""
    learned, nothing = ~prepared.test, np.empty((len(prepared.target), 0))
    rows = Rows(nothing, prepared.target, prepared.row_weights).pick(learned)
    data = TrainingData(rows, np.zeros(len(rows), dtype=np.bool_), None, prepared.task)
    return prepared.task.predictions(Constant().fit(data, config.training).predict(nothing[prepared.test]))
