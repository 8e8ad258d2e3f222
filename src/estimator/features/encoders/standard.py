"""Numbers for nets and linear models: the median for a gap, zero mean and unit deviation, a flag for gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.graph.builder import DOUBLE, Graph


@dataclass(frozen=True, slots=True)
class Scale:
    """How one matrix column is filled, shifted and divided; `flags_gaps` when training saw gaps."""

    median: float
    mean: float
    deviation: float
    flags_gaps: bool

    @classmethod
    def of(cls, values: Floats) -> Scale:
        """Learn from values with NaN for gaps; a constant keeps deviation 1."""
        solid = values[~np.isnan(values)]
        if len(solid) == 0:
            return cls(0.0, 0.0, 1.0, flags_gaps=False)
        median = float(np.median(solid))
        filled = np.where(np.isnan(values), median, values)
        deviation = float(filled.std())
        near_constant = deviation <= 1e-12 * max(1.0, abs(float(filled.mean())))
        return cls(median, float(filled.mean()), 1.0 if near_constant else deviation, len(solid) < len(values))


def write_scaled(graph: Graph, matrix: str, scales: Sequence[Scale]) -> str:
    """Write the scaling of a double (rows, k); a column's gap flag, where it has one, follows it."""
    gaps = graph("IsNaN", matrix)
    filled = graph("Where", gaps, graph.constant([[scale.median for scale in scales]], np.float64), matrix)
    shifted = graph("Sub", filled, graph.constant([[scale.mean for scale in scales]], np.float64))
    scaled = graph("Div", shifted, graph.constant([[scale.deviation for scale in scales]], np.float64))
    if not any(scale.flags_gaps for scale in scales):
        return scaled
    both = graph("Concat", scaled, graph("Cast", gaps, to=DOUBLE), axis=1)
    order = [
        place + shift
        for place, scale in enumerate(scales)
        for shift in ((0, len(scales)) if scale.flags_gaps else (0,))
    ]
    return graph("Gather", both, graph.constant(order, np.int64), axis=1)


def scaled_names(names: Sequence[str], scales: Sequence[Scale]) -> list[str]:
    """Return the names of what `write_scaled` gives."""
    return [
        text
        for name, scale in zip(names, scales, strict=True)
        for text in ((name, f"{name}=gap") if scale.flags_gaps else (name,))
    ]


@dataclass(frozen=True, slots=True)
class Standard(Encoder):
    """A standardised number."""

    accepts: ClassVar[frozenset[str]] = frozenset({"number", "integer", "boolean"})
    median: float
    mean: float
    deviation: float
    flags_gaps: bool

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        scale = Scale.of(learning.values)
        return cls(scale.median, scale.mean, scale.deviation, scale.flags_gaps)

    @property
    def scale(self) -> Scale:
        """The learned scaling."""
        return Scale(self.median, self.mean, self.deviation, self.flags_gaps)

    def names(self, column: str) -> tuple[str, ...]:
        return tuple(scaled_names([column], [self.scale]))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        matrix = graph("Concat", *fitted, axis=1)
        return write_scaled(graph, matrix, [encoder.scale for encoder in fitted.values()])
