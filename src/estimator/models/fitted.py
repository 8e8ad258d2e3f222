"""Rows before they are encoded, and what has been learned from them: raw columns in, answers out."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from estimator.config import FeatureChoices
from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.task import Task
from estimator.data.schema import Batch, Schema
from estimator.features.matrix import Choice, Encoding, Features
from estimator.graph.builder import Graph

if TYPE_CHECKING:
    from estimator.models.base import Curves, Fitted, MatrixModel


@dataclass(frozen=True, slots=True)
class Labelled:
    """Checked rows with their truth, as numbers or level positions, and their weights, both of shape (rows,)."""

    batch: Batch
    target: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.target)

    def pick(self, which: Mask) -> Labelled:
        """Return the rows of a mask."""
        return Labelled(self.batch.rows(which), self.target[which], self.weights[which])


@dataclass(frozen=True)
class Table:
    """Everything a family may look at while it learns, before encoding.

    `validation` marks rows that early stopping may decide on; `held_out` rows only draw a curve. `folds` has shape
    (repeats, rows) and says which part of the rows each one is in; with `is_ordered`, the parts follow each other in
    time. `threads` is how many a family may use, 0 for all.
    """

    schema: Schema
    task: Task
    rows: Labelled
    validation: Mask
    folds: Ints
    held_out: Labelled | None = None
    features: FeatureChoices = field(default_factory=FeatureChoices)
    is_ordered: bool = False
    threads: int = 0

    @property
    def n_folds(self) -> int:
        """Additions of the rows, 0 when they are not parted."""
        return int(self.folds.max(initial=-1)) + 1

    def pick(self, which: Mask) -> Table:
        """Return the table of some rows only, which are not parted again and leave the processors to others."""
        rows, validation, folds = self.rows.pick(which), self.validation[which], self.folds[:0, which]
        return replace(self, rows=rows, validation=validation, folds=folds, held_out=None, threads=1)

    def encoding(self, model: MatrixModel, settled: Features | None = None) -> Encoding:
        """Learn the encoders that a family wants; settled ones are taken as they are."""
        rows, target_smoothing = self.rows, self.features.target_smoothing
        if settled is not None:
            return Encoding(settled, rows.batch, rows.target, self.task, target_smoothing, is_settled=True)
        named = {name: choice.encoder for name, choice in self.features.columns.items()}
        choice = Choice(model.wants, self.features.max_categories or model.max_categories, target_smoothing, named)
        return Encoding.fit(self.schema, rows.batch, rows.target, self.task, choice)


@dataclass(frozen=True, slots=True)
class Additions:
    """What columns add to the answers of rows, (rows, columns): a row's sum and `base` are its answer."""

    values: Floats
    base: float

    @classmethod
    def weighed(cls, parts: Sequence[tuple[Additions | None, float]]) -> Additions | None:
        """Return the weighted sum of the parts of several models, or None where one has none."""
        known = [(part, weight) for part, weight in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        values = np.sum([weight * part.values for part, weight in known], axis=0)
        return cls(values, sum(weight * part.base for part, weight in known))


@dataclass(frozen=True)
class Learned(ABC):
    """What has been learned: encoders with one fitted model, or with several.

    `out_of_fold` holds the answers for the rows learned from, each by models that had not seen it, where learning gave
    them; their shape is that of `predict`.
    """

    task: Task
    out_of_fold: Floats | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def tolerance(self) -> float:
        """What parity allows."""

    @property
    @abstractmethod
    def curves(self) -> Curves:
        """One entry per epoch or round."""

    @property
    @abstractmethod
    def summary(self) -> Mapping[str, float]:
        """What the fit came to, in numbers."""

    @abstractmethod
    def predict(self, batch: Batch) -> Floats:
        """Return numbers (rows,), or probabilities (rows, levels), by the libraries that fitted."""

    @abstractmethod
    def contributions(self, batch: Batch, background: Batch) -> Additions | None:
        """Return exactly what each feature adds to each row's number, or log odds of the second of two levels.

        None where only sampling can tell.
        """

    @abstractmethod
    def write(self, graph: Graph) -> str:
        """Write encoders and models; return a double of shape (rows, 1) or (rows, levels)."""

    @abstractmethod
    def state(self) -> Mapping[str, bytes]:
        """Return file name -> content of what a warm start needs."""


@dataclass(frozen=True)
class Single(Learned):
    """Encoders and one fitted model."""

    features: Features
    fitted: Fitted

    @property
    def tolerance(self) -> float:
        return self.fitted.tolerance

    @property
    def curves(self) -> Curves:
        return self.fitted.curves

    @property
    def summary(self) -> Mapping[str, float]:
        return self.fitted.summary

    def predict(self, batch: Batch) -> Floats:
        return self.fitted.predict(self.features.matrix(batch))

    def contributions(self, batch: Batch, background: Batch) -> Additions | None:
        return by_feature(self.features, self.fitted, batch, background)

    def write(self, graph: Graph) -> str:
        return self.fitted.nodes(graph, self.features.write(graph))

    def state(self) -> Mapping[str, bytes]:
        encoders = json.dumps(self.features.to_data(), ensure_ascii=False, allow_nan=False).encode()
        return {"features.json": encoders, **self.fitted.state()}


def by_feature(features: Features, fitted: Fitted, batch: Batch, background: Batch) -> Additions | None:
    """Return exactly what each feature adds, the sum over its columns of the matrix; None where only sampling can."""
    found = fitted.contributions(features.matrix(batch), features.matrix(background))
    return None if found is None else Additions(found.values @ features.membership, found.base)
