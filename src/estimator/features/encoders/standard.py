"""Standardized numbers, for nets and linear models: the median for a missing value, and a flag for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.units import DOUBLES, NOISE_STEPS, Units
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.graph.builder import DOUBLE, Graph


@dataclass(frozen=True, slots=True)
class Scale:
    """How one matrix column is imputed and standardized; `flags_missing` if training had missing values.

    Values that differ by no more than the rounding of sums are a constant, whatever their size.
    """

    median: float
    mean: float
    deviation: float
    flags_missing: bool

    @classmethod
    def of(cls, values: Floats) -> Scale:
        """Learn from values with NaN for a missing one; a constant gets deviation 1."""
        present = values[~np.isnan(values)]
        if len(present) == 0:
            return cls(0.0, 0.0, 1.0, flags_missing=False)
        # Squares of ordinary numbers neither overflow nor vanish: there, the scale is 1.
        scale = Units.of(present, DOUBLES).scale
        scaled = values * scale
        median = float(np.median(scaled[~np.isnan(values)]))
        imputed = np.where(np.isnan(values), median, scaled)
        mean, deviation = float(imputed.mean()), float(imputed.std())
        is_constant = present.min() == present.max() or deviation <= NOISE_STEPS * np.spacing(abs(mean))
        restored = (median / scale, mean / scale, 1.0 if is_constant else deviation / scale)
        return cls(*restored, flags_missing=len(present) < len(values))


def write_scaled(graph: Graph, matrix: str, scales: Sequence[Scale]) -> str:
    """Write the scaling of a double (rows, k); the flag of a column, if it has one, follows the column."""
    is_missing = graph("IsNaN", matrix)
    medians = graph.constant([[scale.median for scale in scales]], np.float64)
    imputed = graph("Where", is_missing, medians, matrix)
    shifted = graph("Sub", imputed, graph.constant([[scale.mean for scale in scales]], np.float64))
    scaled = graph("Div", shifted, graph.constant([[scale.deviation for scale in scales]], np.float64))
    if not any(scale.flags_missing for scale in scales):
        return scaled
    both = graph("Concat", scaled, graph("Cast", is_missing, to=DOUBLE), axis=1)
    order = []
    for index, scale in enumerate(scales):
        order += [index, index + len(scales)] if scale.flags_missing else [index]
    return graph("Gather", both, graph.constant(order, np.int64), axis=1)


def scaled_names(names: Sequence[str], scales: Sequence[Scale]) -> list[str]:
    """Return the names of the columns that `write_scaled` writes."""
    result = []
    for name, scale in zip(names, scales, strict=True):
        result += [name, f"{name}=missing"] if scale.flags_missing else [name]
    return result


@dataclass(frozen=True, slots=True)
class Standard(Encoder):
    """A standardized number."""

    accepts: ClassVar[frozenset[str]] = frozenset({"number", "integer", "boolean"})
    median: float
    mean: float
    deviation: float
    flags_missing: bool

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        scale = Scale.of(training.values)
        return cls(scale.median, scale.mean, scale.deviation, scale.flags_missing)

    @property
    def scale(self) -> Scale:
        """The learned scaling."""
        return Scale(self.median, self.mean, self.deviation, self.flags_missing)

    def names(self, column: str) -> tuple[str, ...]:
        return tuple(scaled_names([column], [self.scale]))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        matrix = graph("Concat", *fitted, axis=1)
        return write_scaled(graph, matrix, [encoder.scale for encoder in fitted.values()])
