"""Frame + config -> Predictor: read, split, encode, fit, write the graph, prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.task import Task
from estimator.core.text import did_you_mean
from estimator.data.schema import Batch, Schema
from estimator.data.schema.frames import read_frame, with_schema_names
from estimator.data.schema.overrides import build_schema
from estimator.data.splitting import folds, held_out, numbered, validation
from estimator.data.target import read_target
from estimator.errors import ConfigError, TrainingError
from estimator.evaluation.validation import out_of_fold
from estimator.graph.builder import BOOL, DOUBLE, STRING, Graph, Output
from estimator.models import Labelled, Learned, Model, Progress, Start, Table, silent
from estimator.models.conformal import Conformal
from estimator.store.predictor import Predictor
from estimator.training.parity import ParityCheck, check_parity

OUTPUTS = ("prediction", "prediction_low", "prediction_high", "prediction_set", "probability", "matrix")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Checked rows with their truth: what a model learns from and is judged on.

    `row_weights` are the data's own, `weights` also those of the levels. `test` marks held-out rows,
    `validation` and `folds` part the others; `labelled` is the table as it was read.
    """

    schema: Schema
    task: Task
    batch: Batch
    target: Floats
    row_weights: Floats
    weights: Floats
    test: Mask
    validation: Mask
    folds: Ints
    n_unlabelled: int
    labelled: pl.DataFrame

    @property
    def learned(self) -> pl.DataFrame:
        """The rows that may be learned from, as they were read."""
        return self.labelled.filter(pl.Series(~self.test))

    @property
    def tested(self) -> pl.DataFrame:
        """The rows held out, as they were read."""
        return self.labelled.filter(pl.Series(self.test))

    @property
    def training(self) -> Batch:
        """The rows that may be learned from."""
        return self.batch.rows(~self.test)

    def table(self, config: Config) -> Table:
        """Return the rows as a family of models is given them."""
        rows = Labelled(self.batch, self.target, self.weights)
        learning, testing = rows.pick(~self.test), rows.pick(self.test)
        return Table(
            self.schema, self.task, learning, self.validation, self.folds, testing, config.features,
            is_ordered=config.training.split.kind == "time",
        )  # fmt: skip

    @property
    def testing(self) -> Batch:
        """The rows held out for the report."""
        return self.batch.rows(self.test)


@dataclass(frozen=True, slots=True)
class Trained:
    """A predictor that has passed parity, with what is stored beside it.

    `unseen` holds out-of-fold answers for the rows of `table`, before calibration.
    """

    predictor: Predictor
    learned: Learned
    prepared: Prepared
    parity: ParityCheck
    fit_seconds: float
    table: Table
    unseen: Floats | None = None
    conformal: Conformal | None = None

    def told(self, raw: Floats) -> Floats:
        """Return raw answers as they are told: calibrated where that is done."""
        changes = self.conformal is not None and self.conformal.calibration.changes
        return self.conformal.calibration.apply(raw) if self.conformal is not None and changes else raw


def prepare(frame: pl.DataFrame, config: Config, reviewed: Schema | None = None) -> Prepared:
    """Read a table by its contract and part its rows.

    Raises
    ------
    EstimatorError: the table, the contract and the config do not go together; the message says where.
    """
    if frame.height == 0:
        raise TrainingError("the table has no rows", hint="check data.path")
    used, numbered_test = numbered(frame.height, config.training.split)
    frame = frame.filter(pl.Series(used))
    schema = build_schema(frame, config, reviewed)
    _refuse_names(schema)
    _refuse_groups(schema, frame, config)
    if not schema.features:
        kinds = ", ".join(f"{column.name} ({column.kind})" for column in schema.columns[:10]) or "none"
        raise TrainingError(f"no column is left to learn from; columns: {kinds}")
    frame = with_schema_names(schema, frame)
    if schema.target.name not in frame.columns:
        raise ConfigError(
            f"data.target: no column {schema.target.name!r} in the table",
            hint=did_you_mean(schema.target.name, frame.columns),
        )
    target = read_target(schema.target, frame[schema.target.name], config.data)
    labelled = frame.filter(pl.Series(target.known))
    values = target.values[target.known]
    strata = None if target.task.is_regression else values
    test = held_out(labelled, config, strata) if numbered_test is None else numbered_test[used][target.known]
    if test.all() or not test.any():
        raise TrainingError("training.split: no row is left to learn from, or none to hold out")
    learning = labelled.filter(pl.Series(~test))
    learned_strata = None if strata is None else strata[~test]
    row_weights = _row_weights(labelled, config, test)
    return Prepared(
        schema=schema,
        task=target.task,
        batch=read_frame(schema, labelled.select(column for column in labelled.columns if column in schema.by_name)),
        target=values,
        row_weights=row_weights,
        weights=row_weights * _level_weights(config, target.task, values, row_weights * ~test),
        test=test,
        validation=validation(learning, config, learned_strata),
        folds=folds(learning, config, learned_strata),
        n_unlabelled=int((~target.known).sum()),
        labelled=labelled,
    )


def train(
    prepared: Prepared,
    model: Model,
    config: Config,
    *,
    progress: Progress = silent,
    start: Start | None = None,
    clock: Any,
) -> Trained:
    """Fit a model and return a predictor whose graph has been proved equal to it; `clock` gives seconds.

    Raises
    ------
    TrainingError: the model cannot be fitted, or the start does not fit the config.
    ParityError: the graph does not answer as the model does.
    """
    _refuse_one_level(prepared)
    began = clock()
    table = prepared.table(config)
    learned = model.learn(table, config.training, progress=progress, start=start)
    unseen = out_of_fold(table, model, config.training, learned=learned, progress=progress)
    conformal = None if unseen is None else _conformal(prepared, unseen, config)
    seconds = clock() - began
    predictor = Predictor(prepared.schema, prepared.task, write_graph(learned, conformal), config.name or "model")
    parity = check_parity(predictor, learned, conformal, prepared.training)
    return Trained(predictor, learned, prepared, parity, seconds, table, unseen, conformal)


def _conformal(prepared: Prepared, unseen: Floats, config: Config) -> Conformal | None:
    # Levels that are given other weights are to be told more or less often than they are true.
    calibrates = config.training.class_weight is None
    truth = prepared.target[~prepared.test]
    return Conformal.fit(prepared.task, unseen, truth, config.validation.coverage, calibrates=calibrates)


def write_graph(learned: Learned, conformal: Conformal | None = None) -> bytes:
    """Return encoders and model as one graph with the public outputs of `OUTPUTS` that the task and folds give."""
    graph, task = Graph(), learned.task
    value, flat = learned.write(graph), graph.constant([-1], np.int64)
    if task.is_regression:
        outputs = [Output("prediction", graph("Reshape", value, flat), DOUBLE, rank=1)]
        ends = conformal.interval.write(graph, value) if conformal and conformal.interval else ()
        for name, end in zip(("prediction_low", "prediction_high"), ends, strict=False):
            outputs.append(Output(name, graph("Reshape", end, flat), DOUBLE, rank=1))
        return graph.finish(outputs)
    if conformal is not None and conformal.calibration.changes:
        value = conformal.calibration.write(graph, value, len(task.classes))
    place = graph("ArgMax", value, axis=1, keepdims=0)
    level = graph("Gather", graph.constant(np.array(task.classes, dtype=object)), place, axis=0)
    outputs = [Output("prediction", level, STRING, rank=1), Output("probability", value, DOUBLE, rank=2)]
    if conformal is not None and conformal.level_set is not None:
        outputs.append(Output("prediction_set", conformal.level_set.write(graph, value), BOOL, rank=2))
    return graph.finish(outputs)


def _refuse_one_level(prepared: Prepared) -> None:
    learned = np.unique(prepared.target[~prepared.test])
    if len(learned) < 2 and not prepared.task.is_regression:
        level = prepared.task.classes[int(learned[0])]
        raise TrainingError(
            f"the rows to learn from all have the level {level!r}; the others are only in the held-out rows",
            hint="choose another training.split or test_size",
        )


def _refuse_names(schema: Schema) -> None:
    """Names that the graph gives to its own outputs, and no name at all, cannot be an input's."""
    for column in schema.features:
        if not column.name.strip():
            raise ConfigError("a feature has no name", hint="give the column a name in the table's header")
        if column.name in OUTPUTS:
            raise ConfigError(
                f"a feature cannot be called {column.name!r}: the graph's outputs are {', '.join(OUTPUTS)}",
                hint=f"rename the column, or leave it out with data.drop: [{column.name!r}]",
            )


def _refuse_groups(schema: Schema, frame: pl.DataFrame, config: Config) -> None:
    known = [*with_schema_names(schema, frame).columns]
    for name in config.evaluation.fairness_columns:
        if name not in known:
            raise ConfigError(
                f"evaluation.fairness_columns: no column {name!r} in the table", hint=did_you_mean(name, known)
            )


def _row_weights(frame: pl.DataFrame, config: Config, test: Mask) -> Floats:
    if config.data.sample_weight is None:
        return np.ones(frame.height)
    series = frame[config.data.sample_weight].cast(pl.Float64, strict=False)
    weights: Floats = series.fill_null(float("nan")).to_numpy().copy()
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights[~test].sum() > 0):
        raise TrainingError(
            f"data.sample_weight: {config.data.sample_weight!r} must hold numbers of at least 0 in every row"
        )
    return weights


def _level_weights(config: Config, task: Task, target: Floats, learned: Floats) -> Floats:
    """Return the weight of each row's level; `learned` are the weights of the rows to learn from, 0 for others."""
    chosen = config.training.class_weight
    if chosen is None:
        return np.ones(len(target))
    if task.is_regression:
        raise ConfigError("training.class_weight: the target is a number and has no levels")
    if chosen == "balanced":
        counts = np.bincount(target.astype(np.int64), learned, minlength=task.n_outputs)
        by_level = counts.sum() / (task.n_outputs * np.maximum(counts, 1e-12))
    else:
        for name in set(chosen) - set(task.classes):
            raise ConfigError(f"training.class_weight: no level {name!r}", hint=did_you_mean(name, task.classes))
        by_level = np.array([chosen.get(level, 1.0) for level in task.classes])
    found: Floats = by_level[target.astype(np.int64)]
    return found


__all__ = ["Prepared", "Start", "Trained", "prepare", "train", "write_graph"]
