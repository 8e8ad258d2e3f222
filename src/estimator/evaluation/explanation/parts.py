"""The parts of a table that a person would name: levels, quarters of numbers, gaps, and two of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Mask
from estimator.core.text import format_number, format_plain
from estimator.data.schema import Column
from estimator.data.schema.column import TIME_KINDS, format_time

MOST_LEVELS = 20
# Numbers of so few values are named one by one.
FEW = 6
QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that a condition in words holds for; `halves` are the conditions that it was put together from."""

    words: str
    rows: Mask
    halves: tuple[str, ...] = ()

    def both(self, other: Part) -> Part:
        """Return the rows that two conditions hold for."""
        return Part(f"{self.words} and {other.words}", self.rows & other.rows, (self.words, other.words))


def parts_of(column: Column, values: npt.NDArray[np.generic]) -> list[Part]:
    """Return the parts of a column of checked values, of shape (rows,); free text has none."""
    name = column.name
    if column.kind == "text":
        return []
    if column.is_string:
        return _levels(name, values.astype(str), gap="")
    numbers = values.astype(np.float64)
    is_gap = np.isnan(numbers)
    found = [Part(f"{name} has a gap", is_gap)] if is_gap.any() else []
    known = np.unique(numbers[~is_gap])
    if len(known) <= FEW:
        return found + [Part(f"{name} is {_said(column, value)}", numbers == value) for value in known.tolist()]
    cuts = np.unique(np.quantile(numbers[~is_gap], QUARTERS))
    # Nothing lies above the largest value; when most rows have it, the others are a part.
    edges = [-np.inf, *(cuts[cuts < known[-1]].tolist() or [float(known[-2])]), np.inf]
    for low, high in pairwise(edges):
        rows = (numbers > low) & (numbers <= high)
        if rows.any():
            found.append(Part(_range(column, low, high), rows))
    return found


def _levels(name: str, values: npt.NDArray[np.str_], *, gap: str) -> list[Part]:
    levels, counts = np.unique(values, return_counts=True)
    common = levels[np.argsort(-counts, kind="stable")[:MOST_LEVELS]].tolist()
    return [Part(f"{name} has a gap" if level == gap else f"{name} is {level!r}", values == level) for level in common]


def _range(column: Column, low: float, high: float) -> str:
    if low == -np.inf:
        return f"{column.name} up to {_said(column, high)}"
    if high == np.inf:
        return f"{column.name} above {_said(column, low)}"
    return f"{column.name} above {_said(column, low)} up to {_said(column, high)}"


def _said(column: Column, value: float) -> str:
    if column.kind in TIME_KINDS:
        return format_time(value)
    if column.kind == "boolean":
        return "true" if value else "false"
    return format_plain(value) if column.kind == "integer" else format_number(value)


def pairs_of(parts: Mapping[str, Sequence[Part]]) -> list[Part]:
    """Return all pairs of parts of two columns, from parts by column."""
    names = list(parts)
    return [
        one.both(other)
        for place, name in enumerate(names)
        for later in names[place + 1 :]
        for one in parts[name]
        for other in parts[later]
    ]
