"""The contract of a model family: settings that fit, and a fitted model that writes itself into the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from estimator.config import Config, Section, Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.data.schema import Batch, Schema
from estimator.errors import TrainingError
from estimator.features.matrix import Features
from estimator.graph.builder import Graph
from estimator.models.dataset import FitData
from estimator.models.progress import Progress, silent

Curves = tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class AdditiveContributions:
    """What each column adds to each row's prediction, (rows, columns): `base` + a row's sum is its prediction.

    `columns` names the features, of which a formula is one; it is empty for those of a matrix.
    """

    values: Floats
    base: float
    columns: tuple[str, ...] = ()

    @classmethod
    def weighted_sum(cls, terms: Sequence[tuple[AdditiveContributions | None, float]]) -> AdditiveContributions | None:
        """Return the sum of (contributions, weight) of several models, or None where a model has none."""
        present = [(term, weight) for term, weight in terms if term is not None]
        if not present or len(present) < len(terms):
            return None
        values = np.sum([weight * term.values for term, weight in present], axis=0)
        return cls(values, sum(weight * term.base for term, weight in present), present[0][0].columns)


@dataclass(frozen=True)
class FittedModel(ABC):
    """A fitted model with its encoders: raw columns in, predictions out.

    `out_of_fold` holds a prediction for every training row by models that were not fitted on it, in the shape of
    `predict`; None where the fit did not cross-validate.
    """

    task: Task
    out_of_fold: Floats | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def tolerance(self) -> float:
        """The largest relative difference between graph and library that parity allows."""

    @property
    def offset(self) -> float:
        """What is added to the outputs of the libraries: 0 for an ordinary target."""
        return 0.0

    @property
    @abstractmethod
    def curves(self) -> Curves:
        """Losses by name, one entry per epoch or boosting round."""

    @property
    @abstractmethod
    def summary(self) -> Mapping[str, float]:
        """Numbers about the fit for the manifest, such as the best epoch."""

    @abstractmethod
    def predict(self, batch: Batch) -> Floats:
        """Return numbers (rows,) or probabilities (rows, classes), by the libraries that fitted."""

    def predict_all(self, batch: Batch) -> Floats:
        """Return the same as `predict` for rows that may not be in memory."""
        return np.concatenate([self.predict(block) for block in batch.blocks()])

    @abstractmethod
    def contributions(self, batch: Batch, background: Batch) -> AdditiveContributions | None:
        """Return what each feature adds, exactly, to each row's number or log odds of the positive class.

        None where only sampling can estimate it.
        """

    @abstractmethod
    def write(self, graph: Graph) -> str:
        """Write encoders and models; return a double of shape (rows, 1) or (rows, classes)."""

    @abstractmethod
    def state(self) -> Mapping[str, bytes]:
        """Return file name -> content of what a warm start needs."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What an earlier version passes to the next: its schema, fitted encoders and model state."""

    version: str
    schema: Schema
    features: Features
    state: Mapping[str, bytes]

    def features_for(self, data: FitData) -> Features:
        """Return the fitted encoders for a table with the same columns and formulas.

        Raises
        ------
        TrainingError: the columns or formulas differ.
        """
        before, now = _uses(self.schema), _uses(data.schema)
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if not changed:
            self._check_formulas(data.features.formulas)
            return self.features.with_schema(data.schema)
        changes = ", ".join(
            f"{name} ({before.get(name, 'absent')} -> {now.get(name, 'absent')})" for name in changed[:5]
        )
        raise TrainingError(
            f"version {self.version} was trained on other columns than this table has: {changes}",
            hint="train without training.pretrained (--from), or restore the columns",
        )

    def _check_formulas(self, now: Mapping[str, str]) -> None:
        before = {formula.name: formula.text for formula in self.features.formulas}
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if changed:
            changes = ", ".join(
                f"{name} ({before.get(name, 'absent')} -> {now.get(name, 'absent')})" for name in changed[:5]
            )
            raise TrainingError(
                f"version {self.version} was trained with other features.formulas: {changes}",
                hint="train without training.pretrained (--from), or restore the formulas",
            )


def _uses(schema: Schema) -> dict[str, str]:
    """Return what each feature is, and whether only formulas use it."""
    return {
        column.name: f"{column.kind}, only in formulas" if column.only_in_formulas else column.kind
        for column in schema.features
    }


class Model(Section, ABC):
    """The settings of a kind of model. They are frozen: fitting returns a new value.

    `default_space` is what a search tries when the config names no space, in the form of `tuning.space`.
    `distributions` names the packages that fit it, whose versions go into the manifest; a plug-in's model also names
    the plug-in's package.
    """

    supports_warm_start: ClassVar[bool]
    default_space: ClassVar[Mapping[str, Any]] = {}
    distributions: ClassVar[tuple[str, ...]] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """The packages that fit this model, by their names on PyPI."""
        return self.distributions

    @abstractmethod
    def fit(
        self, data: FitData, training: Training, *, progress: Progress = silent, start: WarmStart | None = None
    ) -> FittedModel:
        """Fit to rows; with `start`, continue from an earlier version.

        Raises
        ------
        TrainingError: the settings do not suit the task, or the start does not fit the rows.
        """


def model_of(config: Config) -> Model:
    """Return the settings of the model that a resolved config names."""
    model: Model = config.model  # type: ignore[assignment] # `resolve` makes it a kind of the shelf
    return model
