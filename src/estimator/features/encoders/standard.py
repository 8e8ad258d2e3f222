"""Standardized numbers, for nets and linear models: the median for a missing value, and a flag for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.units import DOUBLES, MAX_EXPONENT, NOISE_STEPS, Units
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.graph.builder import DOUBLE, Graph

SMALLEST_SUBTRACTED, LARGEST_SUBTRACTED = 1e-30, 1e295
HUGE_EXPONENT = 60


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
    means, deviations = np.array([[[scale.mean, scale.deviation] for scale in scales]]).transpose(2, 0, 1)
    is_tiny = (np.abs(means) < SMALLEST_SUBTRACTED) & (means != 0.0)
    is_huge = np.maximum(np.abs(means), deviations) > LARGEST_SUBTRACTED
    if (is_tiny | is_huge).any():
        # onnxruntime leaves out the subtraction of a number below 1e-45, and that of the largest numbers overflows.
        exponents = np.where(
            is_tiny, np.maximum(np.frexp(means)[1], -MAX_EXPONENT), np.where(is_huge, HUGE_EXPONENT, 0)
        )
        means, deviations = np.ldexp(means, -exponents), np.ldexp(deviations, -exponents)
        imputed = graph("Mul", imputed, graph.constant(np.ldexp(1.0, -exponents)))
    shifted = graph("Sub", imputed, graph.constant(means, np.float64))
    scaled = graph("Div", shifted, graph.constant(deviations, np.float64))
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
