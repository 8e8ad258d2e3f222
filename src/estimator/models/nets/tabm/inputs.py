"""The inputs of the net: numbers in robust units with the bins that encode them, and indicators from 0 to 1.

The number of inputs is padded to few different values, so that folds with a category more or less share a compilation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.graph.builder import FLOAT, Graph, Value

NumpyArray = np.ndarray[Any, Any]
NUMBERS_STEP, INDICATORS_STEP = 4, 16
# Numbers are clipped this many interquartile ranges from the median.
MAX_DISTANCE = 1e4
# The inverse of a smaller number is infinite.
SMALLEST_WIDTH = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Which matrix columns are inputs: first numbers, then indicators; a column of one value is left out.

    `columns`, `center`, `factor`, `low` and `high` have one entry per input, which is factor * (column - center),
    clipped to low and high. `lower` and `slope` (numbers, bins) are the bins' lower edges and 1 / widths; an unused
    bin has slope 0.
    """

    columns: NumpyArray
    center: NumpyArray
    factor: NumpyArray
    low: NumpyArray
    high: NumpyArray
    lower: NumpyArray
    slope: NumpyArray

    @classmethod
    def of(cls, matrix: Floats, bins: int) -> Self:
        """Fit to training rows; a column with two distinct values is an indicator."""
        distinct = [np.unique(column) for column in matrix.T]
        numbers = [column for column, values in enumerate(distinct) if len(values) > 2]
        indicators = [column for column, values in enumerate(distinct) if len(values) == 2]
        n_numbers, n_indicators = (
            _rounded_up(len(numbers), NUMBERS_STEP),
            max(1, _rounded_up(len(indicators), INDICATORS_STEP)),
        )
        # Padding repeats the first column times 0.
        columns, center, factor = (np.zeros(n_numbers + n_indicators, dtype) for dtype in (np.int64, float, float))
        for index, column in [*enumerate(numbers), *enumerate(indicators, n_numbers)]:
            columns[index] = column
            center[index], factor[index] = _robust(matrix[:, column]) if index < n_numbers else _unit(distinct[column])
        is_number = np.arange(len(columns)) < n_numbers
        low, high = np.where(is_number, -MAX_DISTANCE, 0.0), np.where(is_number, MAX_DISTANCE, 1.0)
        lower, slope = np.zeros((2, n_numbers, bins), np.float32)
        units = cls(columns, center, factor, low, high, lower, slope).values(matrix)
        for index in range(len(numbers)):
            edges = _edges(units[:, index].astype(np.float64), bins)
            lower[index, : len(edges) - 1], slope[index, : len(edges) - 1] = edges[:-1], 1.0 / np.diff(edges)
        return cls(columns, center, factor, low, high, lower, slope)

    @property
    def n_numbers(self) -> int:
        """The number of inputs that are numbers."""
        return len(self.lower)

    def values(self, matrix: Floats) -> NumpyArray:
        """Return the inputs of a matrix as float32 of shape (rows, inputs)."""
        scaled = (matrix[:, self.columns] - self.center) * self.factor
        return np.clip(scaled, self.low, self.high).astype(np.float32)

    def nodes(self, graph: Graph, matrix: str) -> tuple[Value, Value]:
        """Write the inputs; return the numbers (rows, numbers) and the indicators (rows, indicators)."""
        picked = Value(graph, graph("Gather", matrix, graph.constant(self.columns), axis=1))
        center, factor, low, high = (
            Value(graph, graph.constant(array[None, :])) for array in (self.center, self.factor, self.low, self.high)
        )
        values = graph("Cast", ((picked - center) * factor).op("Max", low).op("Min", high).name, to=FLOAT)
        parts = np.split(np.arange(len(self.columns)), [self.n_numbers])
        numbers, indicators = (graph("Gather", values, graph.constant(part), axis=1) for part in parts)
        return Value(graph, numbers, np.float32), Value(graph, indicators, np.float32)


def _rounded_up(count: int, step: int) -> int:
    return -(-count // step) * step


def _robust(values: Floats) -> tuple[float, float]:
    """Return the median and the factor to interquartile ranges (Holzmüller et al., 2024, "Better by default")."""
    low, center, high = np.quantile(values, [0.25, 0.5, 0.75])
    return center, _inverse(high - low) if high > low else 2.0 * _inverse(values.max() - values.min())


def _unit(values: Floats) -> tuple[float, float]:
    return values[0], _inverse(values[1] - values[0])


def _inverse(width: float) -> float:
    """Return 1 / width; a width whose inverse overflows counts as the smallest that has one."""
    return 1.0 / max(float(width), SMALLEST_WIDTH)


def _edges(values: Floats, bins: int) -> Floats:
    """Return at most bins + 1 of the values: quantiles, and where some coincide, quantiles of the remaining values."""
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, bins + 1), method="nearest"))
    others, n_free = values[~np.isin(values, edges)], bins + 1 - len(edges)
    if n_free and len(others):
        edges = np.union1d(edges, np.quantile(others, np.linspace(0.0, 1.0, n_free), method="nearest"))
    return edges
