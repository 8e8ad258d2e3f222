"""Numbers as they are, for trees: NaN for a missing value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.graph.builder import Graph


@dataclass(frozen=True, slots=True)
class Raw(Encoder):
    """An unchanged number."""

    accepts: ClassVar[frozenset[str]] = frozenset({"number", "integer", "boolean", "date", "datetime"})

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        return cls()

    def names(self, column: str) -> tuple[str, ...]:
        return (column,)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        return graph("Concat", *fitted, axis=1)
