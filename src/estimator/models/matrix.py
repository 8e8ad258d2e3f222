"""Models that work on one matrix: the contract of their fit, and encoders with one fitted model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from estimator.config import Callback, Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.data.schema import Batch
from estimator.errors import TrainingError
from estimator.features.matrix import CrossFittedFeatures, EncoderRules, Features
from estimator.graph.builder import Graph, Value
from estimator.models.base import AdditiveContributions, Curves, FittedModel, Model, WarmStart
from estimator.models.dataset import EncodedFitData, EncodedRows, FitData
from estimator.models.progress import Progress, silent


@dataclass(frozen=True)
class FittedMatrixModel(ABC):
    """A model fitted to a matrix, without its encoders.

    `curves` has one entry per epoch or boosting round; `tolerance` is the relative difference that parity allows.
    """

    tolerance: ClassVar[float]
    task: Task
    curves: Curves = field(default=(), kw_only=True)
    summary: Mapping[str, float] = field(default_factory=dict, kw_only=True)

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
        return self.members[0].tolerance

    def predict(self, matrix: Floats) -> Floats:
        mean: Floats = np.mean([member.predict(matrix) for member in self.members], axis=0)
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
class SingleModel(FittedModel):
    """Encoders and one fitted model."""

    features: Features
    model: FittedMatrixModel

    @property
    def tolerance(self) -> float:
        return self.model.tolerance

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
    the config has none.
    """

    matrix_kind: ClassVar[Literal["scaled", "raw"]]
    max_categories: ClassVar[int]
    default_callbacks: ClassVar[tuple[Callback, ...]] = ()

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
                f"this kind of model cannot continue from version {start.version}", hint="train without --from"
            )
        encoding = self.encoding(data, None if start is None else start.features_for(data.schema))
        features, held_out = encoding.features, data.held_out
        everything = np.ones(len(data.rows), dtype=np.bool_)
        encoded = EncodedFitData(
            EncodedRows(encoding.training_matrix(everything), data.rows.target, data.rows.weights),
            data.validation_mask,
            None
            if held_out is None
            else EncodedRows(features.matrix(held_out.batch), held_out.target, held_out.weights),
            data.task,
            features.categorical,
            threads=data.threads,
        )
        state = None if start is None else start.state
        return SingleModel(data.task, features, self.fit_matrix(encoded, training, progress=progress, start=state))

    def encoding(self, data: FitData, fitted: Features | None = None) -> CrossFittedFeatures:
        """Fit the encoders that this model needs; `fitted` encoders are used as they are."""
        rows, target_smoothing = data.rows, data.features.target_smoothing
        if fitted is not None:
            return CrossFittedFeatures(fitted, rows.batch, rows.target, data.task, target_smoothing, is_fixed=True)
        encoders = {name: choice.encoder for name, choice in data.features.columns.items()}
        max_categories = data.features.max_categories or self.max_categories
        rules = EncoderRules(self.matrix_kind, max_categories, target_smoothing, encoders)
        return CrossFittedFeatures.fit(data.schema, rows.batch, rows.target, data.task, rules)


def feature_contributions(
    features: Features, model: FittedMatrixModel, batch: Batch, background: Batch
) -> AdditiveContributions | None:
    """Return what each feature adds, exactly: the sum over its matrix columns; None where only sampling can."""
    by_column = model.contributions(features.matrix(batch), features.matrix(background))
    if by_column is None:
        return None
    return AdditiveContributions(by_column.values @ features.membership, by_column.base)
