"""A table + its config -> checked rows with their target, split into training, validation and test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.task import Task
from estimator.core.text import did_you_mean
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame, with_schema_names
from estimator.data.schema.overrides import build_schema
from estimator.data.splitting import assign_folds, held_out_mask, row_number_masks, validation_mask
from estimator.data.target import read_target
from estimator.errors import ConfigError, TrainingError
from estimator.models import Dataset, FitData

# Names of the graph's outputs, which no input may have.
OUTPUTS = ("prediction", "prediction_low", "prediction_high", "prediction_set", "probability", "matrix")


@dataclass(frozen=True, slots=True)
class PreparedData:
    """All labeled rows of a table and their split.

    The weights of `rows` are the data's own, `sample_weights`, times the class weights. `test_mask` marks held-out
    rows; `validation_mask` and `folds` split the others. `frame` holds the same rows as they were read. `notes` say
    what was skipped, guessed, converted or left out, from the file to the target.
    """

    schema: Schema
    task: Task
    rows: Dataset
    sample_weights: Floats
    test_mask: Mask
    validation_mask: Mask
    folds: Ints
    n_unlabeled: int
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def training_rows(self) -> Dataset:
        """The rows that a model may be fitted on."""
        return self.rows.take(~self.test_mask)

    @property
    def test_rows(self) -> Dataset:
        """The rows held out for the report."""
        return self.rows.take(self.test_mask)

    @property
    def training_frame(self) -> pl.DataFrame:
        """The rows that a model may be fitted on, as they were read."""
        return self.frame.filter(pl.Series(~self.test_mask))

    @property
    def test_frame(self) -> pl.DataFrame:
        """The rows held out for the report, as they were read."""
        return self.frame.filter(pl.Series(self.test_mask))

    def fit_data(self, config: Config) -> FitData:
        """Return what a model is given to fit."""
        return FitData(
            self.schema,
            self.task,
            self.training_rows,
            self.validation_mask,
            self.folds,
            self.test_rows,
            config.features,
            is_ordered=config.training.split.kind == "time",
        )


def prepare(
    frame: pl.DataFrame, config: Config, reviewed: Schema | None = None, *, source_notes: Sequence[str] = ()
) -> PreparedData:
    """Check a table against its schema and split its rows; without a `reviewed` schema, infer one.

    `source_notes` are those of the table's source.

    Raises
    ------
    EstimatorError: table, schema and config do not fit together; the message says where.
    """
    if frame.height == 0:
        raise TrainingError("the table has no rows", hint="check data.path")
    used, numbered_test = row_number_masks(frame.height, config.training.split)
    frame = frame.filter(pl.Series(used))
    schema = build_schema(frame, config, reviewed)
    _check_feature_names(schema)
    frame = with_schema_names(schema, frame)
    _check_columns(schema, frame, config)
    labels = read_target(schema.target, frame[schema.target.name], config.data)
    labeled = frame.filter(pl.Series(labels.is_labeled))
    values = labels.values[labels.is_labeled]
    strata = None if labels.task.is_regression else values
    test = held_out_mask(labeled, config, strata) if numbered_test is None else numbered_test[used][labels.is_labeled]
    if test.all() or not test.any():
        raise TrainingError(
            f"training.split: expected training and test rows, got {int(test.sum()):,} test rows of {len(test):,}",
            hint="change training.split or training.test_size",
        )
    training, training_strata = labeled.filter(pl.Series(~test)), None if strata is None else strata[~test]
    sample_weights = _sample_weights(labeled, config, test)
    weights = sample_weights * _class_weights(config, labels.task, values, sample_weights * ~test)
    batch = read_frame(schema, labeled.select(column for column in labeled.columns if column in schema.by_name))
    return PreparedData(
        schema=schema,
        task=labels.task,
        rows=Dataset(batch, values, weights),
        sample_weights=sample_weights,
        test_mask=test,
        validation_mask=validation_mask(training, config, training_strata),
        folds=assign_folds(training, config, training_strata),
        n_unlabeled=int((~labels.is_labeled).sum()),
        frame=labeled,
        notes=tuple(source_notes),
    )


def _check_feature_names(schema: Schema) -> None:
    """Reject features without a name, and those named like an output of the graph."""
    for column in schema.features:
        if not column.name.strip():
            raise ConfigError("a feature has no name", hint="name the column in the table's header")
        if column.name in OUTPUTS:
            raise ConfigError(
                f"a feature cannot be called {column.name!r}: the graph has outputs {', '.join(OUTPUTS)}",
                hint=f"rename the column, or leave it out with data.drop: [{column.name!r}]",
            )


def _check_columns(schema: Schema, frame: pl.DataFrame, config: Config) -> None:
    for name in config.evaluation.fairness_columns:
        if name not in frame.columns:
            raise ConfigError(
                f"evaluation.fairness_columns: no column {name!r} in the table", hint=did_you_mean(name, frame.columns)
            )
    if not schema.features:
        kinds = ", ".join(f"{column.name} ({column.kind})" for column in schema.columns[:10]) or "none"
        raise TrainingError(f"the table has no features; its columns are: {kinds}")
    if schema.target.name not in frame.columns:
        raise ConfigError(
            f"data.target: no column {schema.target.name!r} in the table",
            hint=did_you_mean(schema.target.name, frame.columns),
        )


def _sample_weights(frame: pl.DataFrame, config: Config, test: Mask) -> Floats:
    name = config.data.sample_weight
    if name is None:
        return np.ones(frame.height)
    weights: Floats = frame[name].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy().copy()
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights[~test].sum() > 0):
        raise TrainingError(
            f"data.sample_weight: column {name!r} must hold a number of at least 0 in every row, "
            "and more than 0 in some training rows"
        )
    return weights


def _class_weights(config: Config, task: Task, target: Floats, training_weights: Floats) -> Floats:
    """Return the weight of each row's class; `training_weights` are 0 for test rows."""
    class_weight = config.training.class_weight
    if class_weight is None:
        return np.ones(len(target))
    if task.is_regression:
        raise ConfigError(
            "training.class_weight: the target is a number and has no classes", hint="leave out training.class_weight"
        )
    if class_weight == "balanced":
        counts = np.bincount(target.astype(np.int64), training_weights, minlength=task.n_outputs)
        by_class = counts.sum() / (task.n_outputs * np.maximum(counts, 1e-12))
    else:
        for name in set(class_weight) - set(task.classes):
            raise ConfigError(f"training.class_weight: no class {name!r}", hint=did_you_mean(name, task.classes))
        by_class = np.array([class_weight.get(name, 1.0) for name in task.classes])
    weights: Floats = by_class[target.astype(np.int64)]
    return weights
