"""Slices of a table that a person would name: categories, quartiles of numbers, missing values, and pairs of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Mask
from estimator.core.text import format_number, format_plain
from estimator.data.schema import Column
from estimator.data.schema.column import TIME_KINDS, format_time

MAX_CATEGORIES = 20
# Up to so many different numbers, each is a slice of its own.
MAX_DISTINCT_NUMBERS = 6
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows that match a condition; `parts` are the two conditions that a pair combines."""

    condition: str
    rows: Mask
    parts: tuple[str, ...] = ()

    def both(self, other: Slice) -> Slice:
        """Return the rows that match both conditions."""
        condition = f"{self.condition} and {other.condition}"
        return Slice(condition, self.rows & other.rows, (self.condition, other.condition))


def column_slices(column: Column, values: npt.NDArray[np.generic]) -> list[Slice]:
    """Return the slices of a column's checked values, of shape (rows,); free text has none.

    >>> [part.condition for part in column_slices(Column("city", "category"), np.array(["Oslo", "Bergen", "Oslo"]))]
    ["city is 'Oslo'", "city is 'Bergen'"]
    """
    if column.kind == "text":
        return []
    if column.is_string:
        return _category_slices(column.name, values.astype(str))
    numbers = values.astype(np.float64)
    is_missing = np.isnan(numbers)
    missing = [Slice(f"{column.name} is missing", is_missing)] if is_missing.any() else []
    distinct = np.unique(numbers[~is_missing])
    if len(distinct) <= MAX_DISTINCT_NUMBERS:
        singles = [Slice(f"{column.name} is {_shown(column, value)}", numbers == value) for value in distinct.tolist()]
        return missing + singles
    return missing + _range_slices(column, numbers, distinct, np.quantile(numbers[~is_missing], QUARTILES))


def _category_slices(name: str, values: npt.NDArray[np.str_]) -> list[Slice]:
    categories, counts = np.unique(values, return_counts=True)
    frequent = categories[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]].tolist()
    return [
        Slice(f"{name} is {category!r}" if category else f"{name} is missing", values == category)
        for category in frequent
    ]


def _range_slices(column: Column, numbers: Floats, distinct: Floats, quartiles: Floats) -> list[Slice]:
    # No number exceeds the largest; when most rows have it, it becomes a slice next to all others.
    cuts = np.unique(quartiles)
    edges = [-np.inf, *(cuts[cuts < distinct[-1]].tolist() or [float(distinct[-2])]), np.inf]
    slices = [Slice(_range(column, low, high), (numbers > low) & (numbers <= high)) for low, high in pairwise(edges)]
    return [item for item in slices if item.rows.any()]


def _range(column: Column, low: float, high: float) -> str:
    if low == -np.inf:
        return f"{column.name} up to {_shown(column, high)}"
    if high == np.inf:
        return f"{column.name} above {_shown(column, low)}"
    return f"{column.name} above {_shown(column, low)} up to {_shown(column, high)}"


def _shown(column: Column, value: float) -> str:
    if column.kind in TIME_KINDS:
        return format_time(value)
    if column.kind == "boolean":
        return "true" if value else "false"
    return format_plain(value) if column.kind == "integer" else format_number(value)


def slice_pairs(by_column: Mapping[str, Sequence[Slice]]) -> list[Slice]:
    """Return all pairs of slices of two columns."""
    return [
        first.both(second)
        for left, right in combinations(by_column, 2)
        for first in by_column[left]
        for second in by_column[right]
    ]
