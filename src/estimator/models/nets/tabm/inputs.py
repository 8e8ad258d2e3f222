"""What the net is given: numbers in robust units, with the bins they are coded by, and indicators from 0 to 1.

Their numbers are padded to few different ones, so that folds with a level more or less share a compilation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.graph.builder import FLOAT, Graph, Value

Array = np.ndarray[Any, Any]
NUMBERS_STEP, INDICATORS_STEP = 4, 16
# Interquartile ranges from the median beyond which numbers are no longer told apart.
FARTHEST = 1e4


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Which matrix columns are inputs: first numbers, then indicators; a column of one value is none.

    `places`, `middle`, `factor`, `least` and `most` have one entry per input, which is factor * (column - middle)
    between its least and its most. `lower` and `slope` (numbers, bins) are the bins' lower edges and 1 / widths; a
    bin that a number does not need has slope 0.
    """

    places: Array
    middle: Array
    factor: Array
    least: Array
    most: Array
    lower: Array
    slope: Array

    @classmethod
    def of(cls, matrix: Floats, bins: int) -> Self:
        """Learn from training rows; a column with two distinct values is an indicator."""
        distinct = [np.unique(column) for column in matrix.T]
        numbers = [place for place, values in enumerate(distinct) if len(values) > 2]
        indicators = [place for place, values in enumerate(distinct) if len(values) == 2]
        n_numbers, n_indicators = _up(len(numbers), NUMBERS_STEP), max(1, _up(len(indicators), INDICATORS_STEP))
        # Padding is the first column times 0.
        places, middle, factor = (np.zeros(n_numbers + n_indicators, dtype) for dtype in (np.int64, float, float))
        for row, place in [*enumerate(numbers), *enumerate(indicators, n_numbers)]:
            places[row] = place
            middle[row], factor[row] = _robust(matrix[:, place]) if row < n_numbers else _unit(distinct[place])
        is_number = np.arange(len(places)) < n_numbers
        least, most = np.where(is_number, -FARTHEST, 0.0), np.where(is_number, FARTHEST, 1.0)
        lower, slope = np.zeros((2, n_numbers, bins), np.float32)
        units = cls(places, middle, factor, least, most, lower, slope).values(matrix)
        for row in range(len(numbers)):
            edges = _edges(units[:, row].astype(np.float64), bins)
            lower[row, : len(edges) - 1], slope[row, : len(edges) - 1] = edges[:-1], 1.0 / np.diff(edges)
        return cls(places, middle, factor, least, most, lower, slope)

    @property
    def n_numbers(self) -> int:
        """How many of the inputs are numbers."""
        return len(self.lower)

    def values(self, matrix: Floats) -> Array:
        """Return the inputs of a matrix as float32 of shape (rows, inputs)."""
        scaled = (matrix[:, self.places] - self.middle) * self.factor
        return np.clip(scaled, self.least, self.most).astype(np.float32)

    def nodes(self, graph: Graph, matrix: str) -> tuple[Value, Value]:
        """Write the inputs; return the numbers (rows, numbers) and the indicators (rows, indicators)."""
        picked = Value(graph, graph("Gather", matrix, graph.constant(self.places), axis=1))
        middle, factor, least, most = (
            Value(graph, graph.constant(array[None, :])) for array in (self.middle, self.factor, self.least, self.most)
        )
        values = graph("Cast", ((picked - middle) * factor).op("Max", least).op("Min", most).name, to=FLOAT)
        parts = np.split(np.arange(len(self.places)), [self.n_numbers])
        numbers, indicators = (graph("Gather", values, graph.constant(part), axis=1) for part in parts)
        return Value(graph, numbers, np.float32), Value(graph, indicators, np.float32)


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _robust(values: Floats) -> tuple[float, float]:
    """Return the median and the factor to interquartile ranges (Holzmüller et al., 2024, "Better by default")."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return middle, 1.0 / (high - low) if high > low else 2.0 / (values.max() - values.min())


def _unit(values: Floats) -> tuple[float, float]:
    return values[0], 1.0 / (values[1] - values[0])


def _edges(values: Floats, bins: int) -> Floats:
    """Return at most bins + 1 of the values: quantiles, and where these coincide, quantiles of the values between."""
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, bins + 1), method="nearest"))
    others, n_free = values[~np.isin(values, edges)], bins + 1 - len(edges)
    if n_free and len(others):
        edges = np.union1d(edges, np.quantile(others, np.linspace(0.0, 1.0, n_free), method="nearest"))
    return edges
