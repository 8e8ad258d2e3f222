"""One-hot encoding, for nets and linear models: a column per category, and one for missing values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.categories import training_categories, write_codes
from estimator.graph.builder import DOUBLE, Graph


@dataclass(frozen=True, slots=True)
class OneHot(Encoder):
    """One indicator per category of the training rows; an unknown category is all zeros."""

    accepts: ClassVar[frozenset[str]] = frozenset({"category"})
    categories: tuple[str, ...]
    has_missing: bool
    unknown_is_missing: bool

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        has_missing = bool((training.values == "").any())
        return cls(training_categories(training.values), has_missing, training.unknown_is_missing)

    def names(self, column: str) -> tuple[str, ...]:
        missing = (f"{column}=missing",) if self.has_missing else ()
        return (*(f"{column}={category}" for category in self.categories), *missing) or (f"{column}=none",)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [encoder._indicators(graph, column) for column, encoder in fitted.items()]
        return graph("Cast", graph("Concat", *blocks, axis=1), to=DOUBLE)

    def _indicators(self, graph: Graph, column: str) -> str:
        width = len(self.names(column))
        # A code outside the width sets no indicator.
        no_indicator = width
        missing = len(self.categories) if self.has_missing else no_indicator
        unknown = missing if self.unknown_is_missing else no_indicator
        codes = write_codes(graph, column, self.categories, missing=missing, unknown=unknown)
        flat = graph("Reshape", codes, graph.constant([-1], np.int64))
        # onnxruntime has no OneHot in double.
        off_on = graph.constant([0.0, 1.0], np.float32)
        return graph("OneHot", flat, graph.constant([width], np.int64), off_on, axis=-1)
