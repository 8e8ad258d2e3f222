"""The contract of a drift test: what training saw and rows seen now -> findings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.drift.reference import ColumnReference, Counts, Current, Reference


@dataclass(frozen=True, slots=True)
class Moved:
    """How far something moved: 0 where it did not, in the units of the test's `measure`.

    `p_value` is how often chance alone would move it so far.
    """

    effect: float
    p_value: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test says of a column, or with `column` None of rows as a whole."""

    column: str | None
    moved: Moved


class DriftTest(ABC):
    """Compares rows seen now with the reference; `measure` names its effect."""

    measure: ClassVar[str]

    @abstractmethod
    def findings(self, reference: Reference, current: Current, *, seed: int = 0) -> list[Finding]:
        """Return a finding per column that the test suits, or one for all; none when there is too little to compare."""


class ColumnTest(DriftTest):
    """Compares one column after the other by its bins."""

    @abstractmethod
    def suits(self, column: ColumnReference) -> bool:
        """Whether the test has something to say of such a column."""

    @abstractmethod
    def moved(self, column: ColumnReference, counts: Counts, *, seed: int = 0) -> Moved | None:
        """Compare counts of rows seen now with the column's; None when there is too little to compare."""

    def findings(self, reference: Reference, current: Current, *, seed: int = 0) -> list[Finding]:
        found = []
        for place, column in enumerate(reference.columns):
            if self.suits(column):
                moved = self.moved(column, column.count(current.codes[:, place]), seed=seed)
                found += [] if moved is None else [Finding(column.name, moved)]
        return found


def pooled(first: Counts, second: Counts, *, least: float) -> tuple[Counts, Counts]:
    """Return counts of two samples, with bins of which the smaller one expects fewer than `least` put together.

    Chi-square is not what the sum is distributed by where little is expected (Cochran, 1954).

    >>> pooled(np.array([50, 50, 1, 1]), np.array([40, 60, 0, 2]), least=5)
    (array([50, 50,  2]), array([40, 60,  2]))
    """
    total = first + second
    enough = total * (min(first.sum(), second.sum()) / max(total.sum(), 1)) >= least
    if not enough.all():
        first, second = (np.append(part[enough], part[~enough].sum()) for part in (first, second))
    kept = first + second > 0
    return first[kept], second[kept]


def tenths(column: ColumnReference, counts: Counts) -> tuple[Floats, Floats]:
    """Return the shares of a column's rows and of counts in about ten bins; gaps and levels stand alone."""
    if column.is_text:
        groups = np.arange(len(counts))
    else:
        solid = np.cumsum(column.counts[1:])
        middle = (solid - column.counts[1:] / 2) / max(solid[-1], 1)
        groups = np.append(0, 1 + np.minimum((middle * 10).astype(np.int64), 9))
    found = [np.bincount(groups, part, minlength=groups.max() + 1) for part in (column.counts, counts)]
    kept = found[0] + found[1] > 0
    return found[0][kept] / max(found[0].sum(), 1), found[1][kept] / max(found[1].sum(), 1)


def rows_beside(column: ColumnReference, counts: Counts) -> float:
    """Return the size that two samples together have in the variance of a difference: n m / (n + m)."""
    n, m = column.rows, int(counts.sum())
    return n * m / max(n + m, 1)
