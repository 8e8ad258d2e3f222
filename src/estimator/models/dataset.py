"""Rows with their target, before and after they are encoded, and what a model is given to fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from estimator.config import FeatureChoices
from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.stored_matrix import Matrix
from estimator.core.task import Task
from estimator.data.schema import Batch, Schema
from estimator.engine import LOCAL, Engine


@dataclass(frozen=True, slots=True)
class Dataset:
    """Checked rows with their target (numbers or class codes) and two weights, all of shape (rows,).

    A model is fitted with `weights`, the data's own `sample_weights` times the class weights, and scored with
    `sample_weights`.
    """

    batch: Batch
    target: Floats
    weights: Floats
    sample_weights: Floats

    def __len__(self) -> int:
        return len(self.target)

    def take(self, mask: Mask) -> Dataset:
        """Return the rows of a mask."""
        return Dataset(self.batch.rows(mask), self.target[mask], self.weights[mask], self.sample_weights[mask])


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """A `Dataset` after its encoders: `cells` (rows, width), `target` (rows,) and `weights` (rows,)."""

    cells: Matrix
    target: Floats
    weights: Floats

    @property
    def matrix(self) -> Floats:
        """The cells in memory, of shape (rows, width); those that are stored are loaded."""
        return np.asarray(self.cells)

    @property
    def width(self) -> int:
        """The number of columns."""
        return int(self.cells.shape[1])

    def __len__(self) -> int:
        return len(self.target)

    def take(self, mask: Mask) -> EncodedRows:
        """Return the rows of a mask."""
        return EncodedRows(self.cells[mask], self.target[mask], self.weights[mask])

    def loaded(self) -> EncodedRows:
        """Return the same rows in memory."""
        return EncodedRows(self.matrix, self.target, self.weights)


@dataclass(frozen=True)
class CurveMetric:
    """A metric that nets measure after each epoch: `score` takes the target and raw predictions of some rows."""

    name: str
    higher_is_better: bool
    score: Callable[[Floats, Floats], float]

    def undoing(self, undo: Callable[[Floats], Floats]) -> CurveMetric:
        """Return the same metric for a target in other units, which `undo` returns in its own."""
        return replace(self, score=lambda target, raw: self.score(undo(target), undo(raw)))


@dataclass(frozen=True)
class FitData:
    """Everything a model may use to fit, before encoding.

    `validation_mask` marks the rows that early stopping may use; `held_out` rows are only scored, to draw a learning
    curve. `folds` has shape (repeats, rows) and holds each row's fold; with `is_ordered`, folds follow each other in
    time. `threads` is the number of threads a model may use, 0 for all. `metrics` are those to draw curves of or that
    callbacks monitor, by every name they are asked for under. `engine` is where fits of folds run.
    """

    schema: Schema
    task: Task
    rows: Dataset
    validation_mask: Mask
    folds: Ints
    held_out: Dataset | None = None
    features: FeatureChoices = field(default_factory=FeatureChoices)
    is_ordered: bool = False
    threads: int = 0
    metrics: Mapping[str, CurveMetric] = field(default_factory=dict)
    engine: Engine = LOCAL

    @property
    def n_folds(self) -> int:
        """Number of folds, 0 without cross-validation."""
        return int(self.folds.max(initial=-1)) + 1

    def take(self, mask: Mask) -> FitData:
        """Return the rows of a mask without folds and held-out rows, to be fitted here on one thread."""
        return replace(
            self,
            rows=self.rows.take(mask),
            validation_mask=self.validation_mask[mask],
            folds=self.folds[:0, mask],
            held_out=None,
            threads=1,
            engine=LOCAL,
        )


@dataclass(frozen=True, slots=True)
class EncodedFitData:
    """Everything a model that works on one matrix may use to fit.

    `validation_mask` marks the rows of `rows` that early stopping may use; the model may refit on them afterwards.
    `validation_fold` replaces them by rows that are never fitted on: those of a fold. `held_out` rows are only scored,
    to draw a learning curve. `categorical` lists the matrix columns that hold category codes. `threads` is the number
    of threads a model may use, 0 for all. `metrics` are as in `FitData`; without `held_out` rows no curve is drawn, and
    only those that a callback monitors are measured.
    """

    rows: EncodedRows
    validation_mask: Mask
    held_out: EncodedRows | None
    task: Task
    categorical: tuple[int, ...] = ()
    validation_fold: EncodedRows | None = None
    threads: int = 0
    metrics: Mapping[str, CurveMetric] = field(default_factory=dict)

    def drawn(self, n_rows: int, seed: int) -> EncodedFitData:
        """Return the same with at most `n_rows` rows to fit, drawn at random; the rows of a fold stay.

        Rows with a weight come first, among them one of each class, even if that makes more rows.
        """
        if n_rows >= len(self.rows):
            return self
        order = np.random.default_rng([seed, 72]).permutation(len(self.rows))
        order = order[np.argsort(self.rows.weights[order] <= 0, kind="stable")]
        mask = np.zeros(len(self.rows), dtype=np.bool_)
        mask[order[:n_rows]] = True
        if not self.task.is_regression:
            mask[order[np.unique(self.rows.target[order], return_index=True)[1]]] = True
        return replace(self, rows=self.rows.take(mask), validation_mask=self.validation_mask[mask])

    def loaded(self) -> EncodedFitData:
        """Return the same rows in memory, for a library that takes no others."""
        return replace(
            self,
            rows=self.rows.loaded(),
            held_out=self.held_out and self.held_out.loaded(),
            validation_fold=self.validation_fold and self.validation_fold.loaded(),
        )

    @property
    def fit_rows(self) -> EncodedRows:
        """The rows to fit on while the validation rows decide when to stop."""
        return self.rows if self.validation_fold is not None else self.rows.take(~self.validation_mask)

    @property
    def validation_rows(self) -> EncodedRows:
        """The rows that early stopping uses."""
        return self.validation_fold if self.validation_fold is not None else self.rows.take(self.validation_mask)

    @property
    def has_validation(self) -> bool:
        """Whether there are rows that early stopping may use, and others to fit."""
        if self.validation_fold is not None:
            return len(self.validation_fold) > 0
        return bool(self.validation_mask.any()) and not self.validation_mask.all()
