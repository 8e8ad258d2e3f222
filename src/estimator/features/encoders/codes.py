"""Categories for trees: each level's position as a code, NaN for a gap or an unseen level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.categories import training_levels, write_positions
from estimator.graph.builder import DOUBLE, Graph


@dataclass(frozen=True, slots=True)
class Codes(Encoder):
    """A code that trees split on by sets of levels, not by order."""

    accepts: ClassVar[frozenset[str]] = frozenset({"category"})
    gives_codes: ClassVar[bool] = True
    levels: tuple[str, ...]

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        return cls(training_levels(learning.values))

    def names(self, column: str) -> tuple[str, ...]:
        return (column,)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        found = [
            write_positions(graph, column, encoder.levels, gap=-1, unseen=-1) for column, encoder in fitted.items()
        ]
        codes = graph("Cast", graph("Concat", *found, axis=1), to=DOUBLE)
        absent = graph("Less", codes, graph.constant(0.0, np.float64))
        return graph("Where", absent, graph.constant(np.nan, np.float64), codes)
