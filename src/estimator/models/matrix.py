"""Models that work on one matrix: the contract of their fit, and encoders with one fitted model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Callback, Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.core.units import SINGLES, Arithmetic
from estimator.data.schema import Batch
from estimator.errors import TrainingError
from estimator.features.matrix import CrossFittedFeatures, EncoderRules, Features
from estimator.graph.builder import Graph, Value
from estimator.models.base import AdditiveContributions, Curves, FittedModel, Model, WarmStart
from estimator.models.cost import FitCost, FitShape, LibraryCost
from estimator.models.dataset import EncodedFitData, EncodedRows, FitData
from estimator.models.progress import Progress, TrainingStep, silent
from estimator.models.units import STATE_FILE as UNITS_FILE
from estimator.models.units import MatrixUnits


@dataclass(frozen=True)
class FittedMatrixModel(ABC):
    """A model fitted to a matrix, without its encoders.

    `curves` has one entry per epoch or boosting round; `tolerance` is the relative difference that parity allows.
    """

    tolerance: ClassVar[float]
    task: Task
    curves: Curves = field(default=(), kw_only=True)
    summary: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    @property
    def offset(self) -> float:
        """What is added to the output of the library: 0 for an ordinary target."""
        return 0.0

    @abstractmethod
    def predict(self, matrix: Floats) -> Floats:
        """Return numbers (rows,) or probabilities (rows, classes), by the library that fitted."""

    @abstractmethod
    def write(self, graph: Graph, matrix: str) -> str:
        """Write the model; return a double of shape (rows, 1) or (rows, classes)."""

    @abstractmethod
    def state(self) -> Mapping[str, bytes]:
        """Return file name -> content of what a warm start needs; empty where it is not supported."""

    def contributions(self, matrix: Floats, background: Floats) -> AdditiveContributions | None:
        """Return what each matrix column adds, exactly, to each row's number or log odds of the positive class.

        None where only sampling can estimate it. `background` are rows that a model may compare with.
        """
        return None

    @classmethod
    def mean_of(cls, models: Sequence[FittedMatrixModel]) -> FittedMatrixModel:
        """Return one model that predicts the mean of several models of this class."""
        return models[0] if len(models) == 1 else AveragedModel(models[0].task, tuple(models))


@dataclass(frozen=True)
class AveragedModel(FittedMatrixModel):
    """The mean prediction of several models of one family, such as those of the folds."""

    members: tuple[FittedMatrixModel, ...] = ()

    @property
    def tolerance(self) -> float:  # type: ignore[override] # that of its members
        return max(member.tolerance for member in self.members)

    @property
    def offset(self) -> float:
        return sum(member.offset for member in self.members) / len(self.members)

    def predict(self, matrix: Floats) -> Floats:
        predictions = [member.predict(matrix) for member in self.members]
        # Far outside the training range, members may predict infinity of either sign, as they do in the graph.
        with np.errstate(over="ignore", invalid="ignore"):
            mean: Floats = np.mean(predictions, axis=0)
        return mean

    def write(self, graph: Graph, matrix: str) -> str:
        total = Value(graph, self.members[0].write(graph, matrix))
        for member in self.members[1:]:
            total = total + Value(graph, member.write(graph, matrix))
        return (total / float(len(self.members))).name

    def contributions(self, matrix: Floats, background: Floats) -> AdditiveContributions | None:
        # A mean of probabilities is not a mean of log odds.
        terms = [member.contributions(matrix, background) for member in self.members if self.task.is_regression]
        return AdditiveContributions.weighted_sum([(term, 1.0 / len(terms)) for term in terms])

    def state(self) -> Mapping[str, bytes]:
        states = [member.state() for member in self.members]
        return {f"{index}/{name}": content for index, state in enumerate(states) for name, content in state.items()}


@dataclass(frozen=True)
class RescaledModel(FittedMatrixModel):
    """A model fitted in other units; `width` is that of the matrix."""

    inner: FittedMatrixModel
    units: MatrixUnits = field(default_factory=MatrixUnits)
    width: int = 0

    @property
    def tolerance(self) -> float:  # type: ignore[override] # that of the model
        return self.inner.tolerance

    @property
    def offset(self) -> float:
        return self.units.target.offset

    def predict(self, matrix: Floats) -> Floats:
        predictions = self.inner.predict(self.units.matrix(matrix))
        return self.units.target.undo(predictions) if self.task.is_regression else predictions

    def write(self, graph: Graph, matrix: str) -> str:
        value = Value(graph, self.inner.write(graph, self.units.write_matrix(graph, matrix, self.width)))
        target = self.units.target
        if target.offset != 0.0:
            value = value + target.offset * target.scale
        return value.name if target.scale == 1.0 else (value / target.scale).name

    def contributions(self, matrix: Floats, background: Floats) -> AdditiveContributions | None:
        inner = self.inner.contributions(self.units.matrix(matrix), self.units.matrix(background))
        if inner is None:
            return None
        target = self.units.target
        return AdditiveContributions(inner.values / target.scale, inner.base / target.scale + target.offset)

    def state(self) -> Mapping[str, bytes]:
        return {**self.inner.state(), UNITS_FILE: json.dumps(self.units.to_data()).encode()}

    @classmethod
    def mean_of(cls, models: Sequence[FittedMatrixModel]) -> FittedMatrixModel:
        rescaled = [model for model in models if isinstance(model, cls)]
        if len({model.units for model in rescaled}) > 1:
            return AveragedModel(models[0].task, tuple(models))
        return replace(rescaled[0], inner=mean_model([model.inner for model in rescaled]))


def mean_model(models: Sequence[FittedMatrixModel]) -> FittedMatrixModel:
    """Return one model that predicts the mean of several models, such as those of the folds."""
    kind = type(models[0])
    if all(type(model) is kind for model in models):
        return kind.mean_of(models)
    return AveragedModel(models[0].task, tuple(models))


@dataclass(frozen=True)
class SingleModel(FittedModel):
    """Encoders and one fitted model."""

    features: Features
    model: FittedMatrixModel

    @property
    def tolerance(self) -> float:
        return self.model.tolerance

    @property
    def offset(self) -> float:
        return self.model.offset

    @property
    def curves(self) -> Curves:
        return self.model.curves

    @property
    def summary(self) -> Mapping[str, float]:
        return self.model.summary

    def predict(self, batch: Batch) -> Floats:
        return self.model.predict(self.features.matrix(batch))

    def contributions(self, batch: Batch, background: Batch) -> AdditiveContributions | None:
        return feature_contributions(self.features, self.model, batch, background)

    def write(self, graph: Graph) -> str:
        return self.model.write(graph, self.features.write(graph))

    def state(self) -> Mapping[str, bytes]:
        encoders = json.dumps(self.features.to_data(), ensure_ascii=False, allow_nan=False).encode()
        return {"features.json": encoders, **self.model.state()}


class MatrixModel(Model):
    """A family that fits one matrix: `matrix_kind` says how columns are encoded for it.

    Categories with more than `max_categories` values become target means. `default_callbacks` end a fit in folds when
    the config has none. The arithmetics are those in which the library holds the target and the matrix; None leaves
    them as they are.
    """

    matrix_kind: ClassVar[Literal["scaled", "raw"]]
    max_categories: ClassVar[int]
    default_callbacks: ClassVar[tuple[Callback, ...]] = ()
    target_arithmetic: ClassVar[Arithmetic] = SINGLES
    matrix_arithmetic: ClassVar[Arithmetic | None] = None
    library_cost: ClassVar[LibraryCost] = LibraryCost()
    # The library takes a matrix in blocks; for the others, one that is not in memory is loaded.
    reads_blocks: ClassVar[bool] = False
    max_rows: Annotated[int, Field(ge=1)] | None = Field(
        None, description="fit to at most this many rows, drawn at random; to all when left out"
    )

    @property
    def ignores_offset(self) -> bool:
        """Whether the fit to a target less a number is the same fit, less that number."""
        return False

    @property
    def loss_degree(self) -> int | None:
        """How often a factor of the target is one of the loss, such as 2 for squares.

        None where the fit to a multiple of the target is not that multiple of the fit.
        """
        return None

    def fit_cost(self, shape: FitShape, training: Training) -> FitCost:
        """Return about what one fit costs; a kind that costs more than a few looks at each cell knows it better."""
        return FitCost(1e-8 * shape.n_rows * shape.width, 1e-8 * shape.width)

    @abstractmethod
    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedMatrixModel:
        """Fit a matrix; with `start`, the state of an earlier version, continue from it.

        Raises
        ------
        TrainingError: the settings do not suit the task, or the start does not fit the settings.
        """

    def fit(
        self, data: FitData, training: Training, *, progress: Progress = silent, start: WarmStart | None = None
    ) -> SingleModel:
        if start is not None and not self.supports_warm_start:
            raise TrainingError(
                f"this kind of model cannot continue from version {start.version}", hint="leave out training.pretrained"
            )
        encoding = self.encoding(data, None if start is None else start.features_for(data))
        features, held_out = encoding.features, data.held_out
        everything = np.ones(len(data.rows), dtype=np.bool_)
        encoded = EncodedFitData(
            EncodedRows(encoding.training_matrix(everything), data.rows.target, data.rows.weights),
            data.validation_mask,
            None
            if held_out is None
            else EncodedRows(features.stored_matrix(held_out.batch), held_out.target, held_out.weights),
            data.task,
            features.categorical,
            threads=data.threads,
            metrics=data.metrics,
        )
        state = None if start is None else start.state
        return SingleModel(data.task, features, self.fit_rescaled(encoded, training, progress=progress, start=state))

    def fit_rescaled(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
        units: MatrixUnits | None = None,
    ) -> FittedMatrixModel:
        """Fit a matrix in units that keep the digits of its numbers: `units`, those of `start`, or its own.

        A matrix and a target near zero and of ordinary size are fitted as they are.
        """
        if self.max_rows is not None:
            data = data.drawn(self.max_rows, training.seed)
        data = data if self.reads_blocks else data.loaded()
        units = units or (self.units(data) if start is None else MatrixUnits.from_state(start))
        if units.are_plain:
            return self.fit_matrix(data, training, progress=progress, start=start)
        with np.errstate(over="ignore"):
            factor = float(np.float64(units.target.scale) ** -(self.loss_degree or 0))

        def report(step: TrainingStep) -> None:
            progress(replace(step, values=_times(step.values, factor)))

        rescaled = units.data(data)
        if data.task.is_regression:
            undone = {name: metric.undoing(units.target.undo) for name, metric in data.metrics.items()}
            rescaled = replace(rescaled, metrics=undone)
        inner = self.fit_matrix(rescaled, training, progress=report, start=start)
        curves = tuple(_times(losses, factor) for losses in inner.curves)
        return RescaledModel(data.task, inner, units, data.rows.width, curves=curves, summary=inner.summary)

    def units(self, data: EncodedFitData) -> MatrixUnits:
        """Return the units to fit rows in, as far as the loss allows."""
        return MatrixUnits.of(
            data,
            target=self.target_arithmetic if data.task.is_regression else None,
            with_offset=self.ignores_offset,
            with_scale=self.loss_degree is not None,
            columns=self.matrix_arithmetic,
        )

    def encoding(self, data: FitData, fitted: Features | None = None) -> CrossFittedFeatures:
        """Fit the encoders that this model needs; `fitted` encoders are used as they are."""
        rows, target_smoothing = data.rows, data.features.target_smoothing
        if fitted is not None:
            encoding = CrossFittedFeatures(fitted, rows.batch, rows.target, data.task, target_smoothing, is_fixed=True)
            return replace(encoding, keeps_matrix=self.reads_blocks)
        encoders = {name: choice.encoder for name, choice in data.features.columns.items()}
        max_categories = data.features.max_categories or self.max_categories
        rules = EncoderRules(self.matrix_kind, max_categories, target_smoothing, encoders, data.features.formulas)
        encoding = CrossFittedFeatures.fit(data.schema, rows.batch, rows.target, data.task, rules)
        return replace(encoding, keeps_matrix=self.reads_blocks)


def feature_contributions(
    features: Features, model: FittedMatrixModel, batch: Batch, background: Batch
) -> AdditiveContributions | None:
    """Return what each feature adds, exactly: the sum over its matrix columns; None where only sampling can."""
    by_column = model.contributions(features.matrix(batch), features.matrix(background))
    if by_column is None:
        return None
    names = tuple(column.name for column in features.columns)
    return AdditiveContributions(by_column.values @ features.membership, by_column.base, names)


def _times(values: Mapping[str, float], factor: float) -> dict[str, float]:
    """Return losses times a factor; metrics are measured in the target's own units."""
    return {name: value * factor if name in ("loss", "val_loss") else value for name, value in values.items()}
