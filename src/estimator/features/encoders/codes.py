"""Category codes, for trees: NaN for a missing value or an unknown category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.categories import training_categories, write_codes
from estimator.graph.builder import DOUBLE, Graph


@dataclass(frozen=True, slots=True)
class Codes(Encoder):
    """A code per category, which trees split by sets of categories, not by order."""

    accepts: ClassVar[frozenset[str]] = frozenset({"category"})
    gives_codes: ClassVar[bool] = True
    categories: tuple[str, ...]

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        return cls(training_categories(training.values))

    def names(self, column: str) -> tuple[str, ...]:
        return (column,)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        columns = [
            write_codes(graph, column, encoder.categories, missing=-1, unknown=-1) for column, encoder in fitted.items()
        ]
        codes = graph("Cast", graph("Concat", *columns, axis=1), to=DOUBLE)
        is_missing = graph("Less", codes, graph.constant(0.0, np.float64))
        return graph("Where", is_missing, graph.constant(np.nan, np.float64), codes)
