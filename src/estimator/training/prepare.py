"""A table + its config -> checked rows with their target, split into training, validation and test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats, Indices, Ints, Mask
from estimator.core.task import Task
from estimator.core.text import did_you_mean, join_names
from estimator.data.sample_weights import read_sample_weights, zero_weight_notes
from estimator.data.schema import Schema
from estimator.data.schema.frames import with_schema_names
from estimator.data.schema.overrides import build_schema
from estimator.data.splitting import assign_folds, held_out_mask, row_number_masks, split_notes, validation_mask
from estimator.data.stored_columns import read_rows
from estimator.data.stored_table import Table
from estimator.data.target import class_notes, label_notes, read_target
from estimator.errors import ConfigError, Fault, RowError, TrainingError
from estimator.evaluation.threshold import check_threshold
from estimator.features.formulas import Formulas
from estimator.models import Dataset, FitData
from estimator.training.curves import curve_metrics

LARGEST_TARGET = 1e300
# Names of the graph's outputs, which no input may have.
OUTPUTS = ("prediction", "prediction_low", "prediction_high", "prediction_set", "probability", "matrix")


@dataclass(frozen=True, slots=True)
class PreparedData:
    """All labeled rows of a table, the formulas of its columns, and their split.

    `test_mask` marks held-out rows, `training_mask` those that a model may be fitted on: the others, or all for a
    refit. `validation_mask` and `folds` split the training rows. `frame` holds the same rows as they were read. `notes`
    say what was skipped, guessed, converted or left out, from the file to the target.
    """

    schema: Schema
    formulas: Formulas
    task: Task
    rows: Dataset
    test_mask: Mask
    training_mask: Mask
    validation_mask: Mask
    folds: Ints
    n_unlabeled: int
    frame: Table
    notes: tuple[str, ...] = ()

    @property
    def n_training(self) -> int:
        """The number of rows that a model may be fitted on."""
        return int(self.training_mask.sum())

    @property
    def training_rows(self) -> Dataset:
        """The rows that a model may be fitted on."""
        return self.rows.take(self.training_mask)

    @property
    def test_rows(self) -> Dataset:
        """The rows held out for the report."""
        return self.rows.take(self.test_mask)

    @property
    def training_frame(self) -> Table:
        """The rows that a model may be fitted on, as they were read."""
        return self.frame.filter(pl.Series(self.training_mask))

    @property
    def test_frame(self) -> Table:
        """The rows held out for the report, as they were read."""
        return self.frame.filter(pl.Series(self.test_mask))

    def with_folds(self, config: Config) -> PreparedData:
        """Return the same rows, held out alike, with the folds and validation rows of another config."""
        strata = None if self.task.is_regression else self.rows.target[self.training_mask]
        return replace(
            self,
            validation_mask=validation_mask(self.training_frame, config, strata),
            folds=assign_folds(self.training_frame, config, strata),
        )

    def for_refit(self, config: Config) -> PreparedData:
        """Return the same rows to fit on all of them; the held-out ones are still those of the report."""
        strata = None if self.task.is_regression else self.rows.target
        return replace(
            self,
            training_mask=np.ones_like(self.test_mask),
            validation_mask=validation_mask(self.frame, config, strata),
            folds=assign_folds(self.frame, config, strata),
        )

    def fit_data(self, config: Config) -> FitData:
        """Return what a model is given to fit."""
        return FitData(
            self.schema,
            self.task,
            self.training_rows,
            self.validation_mask,
            self.folds,
            None if (self.training_mask & self.test_mask).any() else self.test_rows,
            config.features,
            is_ordered=config.training.split.kind == "time",
            metrics=curve_metrics(config, self.task),
        )


def prepare(
    frame: Table, config: Config, reviewed: Schema | None = None, *, source_notes: Sequence[str] = ()
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
    schema, schema_notes = build_schema(frame, config, reviewed)
    formulas = Formulas.compile(schema, config.features.formulas)
    _check_feature_names(schema, formulas, config.serving.private_columns)
    frame = with_schema_names(schema, frame)
    _check_columns(schema, frame, config)
    labels = read_target(schema.target, frame[schema.target.name], config.data)
    labeled = frame.filter(pl.Series(labels.is_labeled))
    values = labels.values[labels.is_labeled]
    strata = None if labels.task.is_regression else values
    _check_target(schema.target.name, labels.task, values, config)
    test = held_out_mask(labeled, config, strata) if numbered_test is None else numbered_test[used][labels.is_labeled]
    if test.all() or not test.any():
        raise TrainingError(
            f"training.split: expected training and test rows, got {int(test.sum()):,} test rows of {len(test):,}",
            hint="change training.split or training.test_size",
        )
    training, training_strata = labeled.filter(pl.Series(~test)), None if strata is None else strata[~test]
    row_numbers = np.flatnonzero(used)[labels.is_labeled] + 1
    weight_column = config.data.sample_weight
    sample_weights = _sample_weights(labeled, weight_column, test, row_numbers)
    weight_notes = zero_weight_notes(weight_column, sample_weights, row_numbers)
    weights = sample_weights * _class_weights(config, labels.task, values, sample_weights * ~test)
    n_unlabeled = int((~labels.is_labeled).sum())
    target_notes = label_notes(schema.target, labels.missing, n_rows=frame.height, n_missing=n_unlabeled)
    folds = assign_folds(training, config, training_strata)
    batch = read_rows(schema, labeled)
    return PreparedData(
        schema=schema,
        formulas=formulas,
        task=labels.task,
        rows=Dataset(batch, values, weights, sample_weights),
        test_mask=test,
        training_mask=~test,
        validation_mask=validation_mask(training, config, training_strata),
        folds=folds,
        n_unlabeled=n_unlabeled,
        frame=labeled,
        notes=(
            *source_notes,
            *target_notes,
            *class_notes(schema.target, labels.task),
            *schema_notes,
            *formulas.notes(batch),
            *weight_notes,
            *split_notes(labeled, config.training.split),
            *_class_notes(schema.target.name, labels.task, values, test, folds),
        ),
    )


def _check_feature_names(schema: Schema, formulas: Formulas, private_columns: Sequence[str]) -> None:
    """Reject features without a name, those named like an output of the graph, and formulas of private columns."""
    private = {schema.resolve(name) for name in private_columns}
    for formula in formulas:
        if used := [name for name in formula.columns if name in private]:
            raise ConfigError(
                f"features.formulas.{formula.name}: a formula cannot use {used[0]!r}, which is in "
                "serving.private_columns",
                hint="leave it out of the formula",
            )
        if formula.name in OUTPUTS:
            raise ConfigError(
                f"features.formulas: a formula cannot be called {formula.name!r}: the graph has outputs "
                f"{', '.join(OUTPUTS)}",
                hint="choose another name",
            )
    for column in schema.features:
        if not column.name.strip():
            raise ConfigError("a feature has no name", hint="name the column in the table's header")
        if column.name in OUTPUTS:
            raise ConfigError(
                f"a feature cannot be called {column.name!r}: the graph has outputs {', '.join(OUTPUTS)}",
                hint=f"rename the column, or leave it out with data.drop: [{column.name!r}]",
            )


def _check_columns(schema: Schema, frame: Table, config: Config) -> None:
    for name in config.evaluation.fairness_columns:
        if name not in frame.columns:
            raise ConfigError(
                f"evaluation.fairness_columns: no column {name!r} in the table", hint=did_you_mean(name, frame.columns)
            )
    if not schema.features:
        others = [column for column in schema.columns if column.name != schema.target.name]
        kinds = join_names([f"{column.name} ({column.kind})" for column in others], limit=10)
        raise TrainingError(
            f"the table has no features to predict {schema.target.name!r} from; its other columns are: {kinds}",
            hint="add a column that varies, or have one read as a number or category: schema.columns.NAME.kind"
            if others
            else "add columns that are known when you predict",
        )
    faults = [
        Fault(1, name, None, message)
        for message, name in schema.name_faults(set(frame.columns), needs_all=True)
        if name in schema.by_name
    ]
    if faults:
        raise RowError(faults)
    if schema.target.name not in frame.columns:
        raise ConfigError(
            f"data.target: no column {schema.target.name!r} in the table",
            hint=did_you_mean(schema.target.name, frame.columns),
        )


def _check_target(name: str, task: Task, target: Floats, config: Config) -> None:
    check_threshold(config.evaluation, task)
    if task.is_regression and (largest := float(np.abs(target).max(initial=0.0))) > LARGEST_TARGET:
        raise TrainingError(
            f"the target {name!r} holds {largest:.3g}: a double cannot hold the differences of numbers beyond "
            f"{LARGEST_TARGET:.0e}",
            hint=f"divide it by a constant, or add the number to schema.columns.{name}.na_values if it stands for none",
        )


def _sample_weights(frame: Table, name: str | None, test: Mask, row_numbers: Indices) -> Floats:
    weights = read_sample_weights(name, frame, row_numbers)
    for rows, named, purpose in ((~test, "training", "learn"), (test, "held-out", "score")):
        if not weights[rows].any():
            which = f"the weights of all {named} rows are 0" if weights.any() else "all weights are 0"
            raise TrainingError(
                f"data.sample_weight: column {name!r}: {which}, so there is nothing to {purpose}",
                hint="give some rows a weight of more than 0, or leave out data.sample_weight to weigh all rows alike",
            )
    return weights


def _class_notes(name: str, task: Task, target: Floats, test: Mask, folds: Ints) -> tuple[str, ...]:
    """Return which classes have too few rows to be learned in every fold, or to be scored."""
    if task.is_regression:
        return ()
    in_training, in_test = (
        np.bincount(target[mask].astype(np.int64), minlength=task.n_outputs) for mask in (~test, test)
    )
    n_folds, notes = int(folds.max(initial=-1)) + 1, []

    def note(is_concerned: Mask, what: str) -> None:
        if is_concerned.any():
            of_each = [
                f"{task.classes[index]!r} ({in_training[index]:,} training and {in_test[index]:,} test rows)"
                for index in np.flatnonzero(is_concerned).tolist()
            ]
            notes.append(f"{name}: {what}: {join_names(of_each, limit=5)}; give more rows, or merge classes")

    note(in_training == 0, "without a training row, a class is never predicted")
    note((in_test == 0) & (in_training > 0), "without a test row, no score says how well a class is predicted")
    note((in_training > 0) & (in_training < n_folds), f"some of the {n_folds} folds have no row of a class")
    return tuple(notes)


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
