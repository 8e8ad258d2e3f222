"""Wasserstein distance (1969): how far values must move on average to turn one sample into the other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.text import format_number
from estimator.drift.base import ColumnTest, DriftResult
from estimator.drift.reference import ColumnReference

N_PERMUTATIONS = 400


class Wasserstein(ColumnTest):
    """For numbers, in robust standard deviations; values beyond the last bin edge count as lying on it.

    The p-value comes from samples of both sizes that are drawn from the two pooled.
    """

    measure: ClassVar[str] = "distance in standard deviations"

    def suits(self, column: ColumnReference) -> bool:
        return not column.is_text and column.scale > 0 and len(column.edges) > 1

    def compare_column(self, column: ColumnReference, counts: Ints, *, seed: int = 0) -> DriftResult | None:
        before, now = column.counts[1:], counts[1:]
        n, m = int(before.sum()), int(now.sum())
        if min(n, m) < 2:
            return None
        # Samples of rows of which so many count as one.
        n_drawn, m_drawn = (max(1, round(size / column.design_effect)) for size in (n, m))
        widths = np.diff(column.edges) / column.scale
        distance = float(_distances(before[None, :], now[None, :], widths)[0])
        generator, pooled = np.random.default_rng([seed, 71]), (before + now) / (n + m)
        first, second = (generator.multinomial(size, pooled, N_PERMUTATIONS) for size in (n_drawn, m_drawn))
        null_distances = _distances(first, second, widths)
        p_value = (1 + int((null_distances >= distance).sum())) / (1 + N_PERMUTATIONS)
        message = f"values moved by {format_number(distance * column.scale)} on average"
        return DriftResult(column.name, distance, p_value, message)


def _distances(first: Ints, second: Ints, widths: Floats) -> Floats:
    """Return the areas between the distribution functions of counts of shape (samples, bins)."""
    cumulative = [counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True) for counts in (first, second)]
    areas: Floats = np.abs((cumulative[0] - cumulative[1])[:, : len(widths)]) @ widths
    return areas
