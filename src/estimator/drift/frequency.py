"""The frame of tests that compare how often bins occur: pool the bins, measure a distance, read chi-square's law."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from estimator.core.arrays import Ints
from estimator.drift.base import ColumnTest, DriftResult
from estimator.drift.reference import ColumnReference
from estimator.errors import needs_extra


class FrequencyTest(ColumnTest):
    """A distance between two samples of counts whose statistic follows chi-square with one degree less than bins.

    Where neighbors are alike, it is divided by the design effect (Rao and Scott, 1981).
    """

    @abstractmethod
    def distance(self, reference: Ints, current: Ints) -> tuple[float, float]:
        """Return the effect and its chi-square statistic, of the counts of at least two bins."""

    def suits(self, column: ColumnReference) -> bool:
        return True

    def pool(self, column: ColumnReference, counts: Ints) -> tuple[Ints, Ints]:
        """Return the counts of reference and current rows in the bins that are compared, here about ten."""
        return decile_counts(column, counts)

    def compare_column(self, column: ColumnReference, counts: Ints, *, seed: int = 0) -> DriftResult | None:
        with needs_extra("monitor", "testing for drift"):
            from scipy.special import chdtrc
        reference, current = self.pool(column, counts)
        if len(reference) < 2 or effective_size(reference, current) < 1:
            return None
        effect, statistic = self.distance(reference, current)
        p_value = float(chdtrc(len(reference) - 1, statistic / column.design_effect))
        return DriftResult(column.name, effect, p_value, largest_change(column, counts))


def decile_counts(column: ColumnReference, counts: Ints) -> tuple[Ints, Ints]:
    """Return a column's counts and others in about ten bins; missing values and categories have bins of their own."""
    if column.is_text:
        groups = np.arange(len(counts))
    else:
        cumulative = np.cumsum(column.counts[1:])
        middles = (cumulative - column.counts[1:] / 2) / max(cumulative[-1], 1)
        groups = np.append(0, 1 + np.minimum((middles * 10).astype(np.int64), 9))
    reference, current = (
        np.bincount(groups, sample, minlength=groups.max() + 1).astype(np.int64) for sample in (column.counts, counts)
    )
    occurs = reference + current > 0
    return reference[occurs], current[occurs]


def pool_rare_bins(first: Ints, second: Ints, *, min_expected: float) -> tuple[Ints, Ints]:
    """Return the counts of two samples with the bins of which the smaller one expects too few put together.

    Chi-square is not the law of the statistic where little is expected (Cochran, 1954).

    >>> pool_rare_bins(np.array([50, 50, 1, 1]), np.array([40, 60, 0, 2]), min_expected=5)
    (array([50, 50,  2]), array([40, 60,  2]))
    """
    total = first + second
    enough = total * (min(first.sum(), second.sum()) / max(total.sum(), 1)) >= min_expected
    if not enough.all():
        first, second = (np.append(sample[enough], sample[~enough].sum()) for sample in (first, second))
    occurs = first + second > 0
    return first[occurs], second[occurs]


def effective_size(first: Ints, second: Ints) -> float:
    """Return n m / (n + m), the size that two samples together have in the variance of a difference.

    >>> effective_size(np.array([50, 50]), np.array([200, 200]))
    80.0
    """
    n, m = int(first.sum()), int(second.sum())
    return n * m / max(n + m, 1)


def largest_change(column: ColumnReference, counts: Ints) -> str:
    """Return a phrase about the bin whose fraction has changed most."""
    before, now = column.fractions, counts / max(counts.sum(), 1)
    code = int(np.abs(now - before).argmax())
    return f"{column.bin_name(code)}: {before[code]:.1%} in the reference, {now[code]:.1%} now"
