"""Wide categories: each level becomes its target's mean, drawn towards the overall mean when it is rare.

The target_smoothing is that of Micci-Barreca (2001), "A preprocessing scheme for high-cardinality categorical
attributes", with m rows' worth of the overall mean. Classifications with more than two levels get one mean
per level. Values are standardised, so that nets and linear models can use them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.categories import positions, training_levels, write_positions
from estimator.graph.builder import Graph


@dataclass(frozen=True, slots=True)
class TargetMean(Encoder):
    """Smoothed target means: one row per level, then one for gaps and one for unseen levels."""

    accepts: ClassVar[frozenset[str]] = frozenset({"category"})
    uses_target: ClassVar[bool] = True
    levels: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]
    unseen_is_gap: bool

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        levels = training_levels(learning.values)
        truth = goals(learning)
        overall = truth.mean(axis=0)
        deviation = np.where(truth.std(axis=0) > 0, truth.std(axis=0), 1.0)
        places = positions(learning.values, levels)
        sums = np.zeros((len(levels) + 2, truth.shape[1]))
        np.add.at(sums, places, truth)
        counts = np.bincount(places, minlength=len(levels) + 2)[:, None]
        # Without target_smoothing, what never occurred is still drawn to the overall mean.
        pull = np.where(counts > 0, learning.target_smoothing, max(learning.target_smoothing, 1.0))
        means = (sums + pull * overall) / (counts + pull)
        table = (means - overall) / deviation
        return cls(levels, tuple(tuple(row) for row in table.tolist()), learning.unseen_is_gap)

    def names(self, column: str) -> tuple[str, ...]:
        width = len(self.means[0])
        return (f"{column}=mean",) if width == 1 else tuple(f"{column}=mean {place}" for place in range(width))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [encoder._means(graph, column) for column, encoder in fitted.items()]
        return graph("Concat", *blocks, axis=1)

    def _means(self, graph: Graph, column: str) -> str:
        gap = len(self.levels)
        found = write_positions(graph, column, self.levels, gap=gap, unseen=gap if self.unseen_is_gap else gap + 1)
        flat = graph("Reshape", found, graph.constant([-1], np.int64))
        return graph("Gather", graph.constant(self.means, np.float64), flat, axis=0)


def goals(learning: EncoderInput) -> Floats:
    """Return what is averaged, of shape (rows, 1) or (rows, levels)."""
    if learning.task.kind == "multiclass":
        return np.eye(len(learning.task.classes))[learning.target.astype(np.int64)]
    return learning.target.reshape(-1, 1)
