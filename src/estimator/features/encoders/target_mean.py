"""Target encoding, for columns of many categories: the smoothed mean of the target in each category.

The smoothing is that of Micci-Barreca (2001), "A preprocessing scheme for high-cardinality categorical attributes":
the overall mean counts as `target_smoothing` rows of each category. A target of more than two classes gets one mean
per class. Means are standardized, so that nets and linear models can use them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.units import DOUBLES, Units
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.categories import category_codes, training_categories, write_codes
from estimator.graph.builder import Graph


@dataclass(frozen=True, slots=True)
class TargetMean(Encoder):
    """Smoothed target means: one row per category, then one for missing values and one for unknown categories."""

    accepts: ClassVar[frozenset[str]] = frozenset({"category"})
    uses_target: ClassVar[bool] = True
    categories: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]
    unknown_is_missing: bool

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        categories = training_categories(training.values)
        # Means are standardized, so neither offset nor scale of the target matters.
        target = target_columns(training)
        target = Units.of(target[:, 0], DOUBLES).apply(target) if training.task.is_regression else target
        overall = target.mean(axis=0)
        deviation = np.where(target.std(axis=0) > 0, target.std(axis=0), 1.0)
        codes = category_codes(training.values, categories)
        sums = np.zeros((len(categories) + 2, target.shape[1]))
        np.add.at(sums, codes, target)
        counts = np.bincount(codes, minlength=len(categories) + 2)[:, None]
        # Even without smoothing, a category that never occurred gets the overall mean.
        smoothing = np.where(counts > 0, training.target_smoothing, max(training.target_smoothing, 1.0))
        means = (sums + smoothing * overall) / (counts + smoothing)
        standardized = (means - overall) / deviation
        return cls(categories, tuple(tuple(row) for row in standardized.tolist()), training.unknown_is_missing)

    def names(self, column: str) -> tuple[str, ...]:
        width = len(self.means[0])
        return (f"{column}=mean",) if width == 1 else tuple(f"{column}=mean {index}" for index in range(width))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [encoder._write_means(graph, column) for column, encoder in fitted.items()]
        return graph("Concat", *blocks, axis=1)

    def _write_means(self, graph: Graph, column: str) -> str:
        missing = len(self.categories)
        unknown = missing if self.unknown_is_missing else missing + 1
        codes = write_codes(graph, column, self.categories, missing=missing, unknown=unknown)
        flat = graph("Reshape", codes, graph.constant([-1], np.int64))
        return graph("Gather", graph.constant(self.means, np.float64), flat, axis=0)


def target_columns(training: EncoderInput) -> Floats:
    """Return the target as columns: numbers of shape (rows, 1), or for many classes one indicator each."""
    if training.task.kind == "multiclass":
        return np.eye(len(training.task.classes))[training.target.astype(np.int64)]
    return training.target.reshape(-1, 1)
