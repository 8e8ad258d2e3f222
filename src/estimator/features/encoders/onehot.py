"""Categories for nets and linear models: one column a level, one for gaps; an unseen level is all zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.categories import training_levels, write_positions
from estimator.graph.builder import DOUBLE, Graph


@dataclass(frozen=True, slots=True)
class OneHot(Encoder):
    """One indicator per level of training."""

    accepts: ClassVar[frozenset[str]] = frozenset({"category"})
    levels: tuple[str, ...]
    has_gap: bool
    unseen_is_gap: bool

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        has_gap = bool((learning.values == "").any())
        return cls(training_levels(learning.values), has_gap, learning.unseen_is_gap)

    def names(self, column: str) -> tuple[str, ...]:
        gap = (f"{column}=gap",) if self.has_gap else ()
        return (*(f"{column}={level}" for level in self.levels), *gap) or (f"{column}=none",)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [encoder._indicators(graph, column) for column, encoder in fitted.items()]
        return graph("Cast", graph("Concat", *blocks, axis=1), to=DOUBLE)

    def _indicators(self, graph: Graph, column: str) -> str:
        width = len(self.names(column))
        # A position outside the width switches no indicator on.
        nowhere = width
        gap = len(self.levels) if self.has_gap else nowhere
        found = write_positions(graph, column, self.levels, gap=gap, unseen=gap if self.unseen_is_gap else nowhere)
        flat = graph("Reshape", found, graph.constant([-1], np.int64))
        # onnxruntime has no OneHot in double.
        off_on = graph.constant([0.0, 1.0], np.float32)
        return graph("OneHot", flat, graph.constant([width], np.int64), off_on, axis=-1)
