"""A drift check: current rows against the reference by several tests, combined into one p-value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.text import counted
from estimator.drift import SHELF, CurrentRows, DriftReference, DriftResult

MIN_P_VALUE = 1e-15
# A p-value near 1 has a quantile that would outweigh the smallest of the others.
MAX_P_VALUE = 0.99


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """The results of several tests; `p_value` combines them, and rows have drifted where it is at most `alpha`.

    `results` are those of each test, by its kind, smallest p-value first.
    """

    n_rows: int
    results: Mapping[str, Sequence[DriftResult]]
    p_value: float
    alpha: float

    @property
    def drifted(self) -> bool:
        """Whether rows have drifted."""
        return self.p_value <= self.alpha

    @property
    def message(self) -> str:
        """The check in a sentence."""
        verdict = "drift" if self.drifted else "no drift"
        return f"{verdict}: p = {self.p_value:.2g} on {counted(self.n_rows, 'row')} (alpha = {self.alpha:.2g})"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "drifted": self.drifted}


def check_drift(
    reference: DriftReference, current: CurrentRows, tests: Sequence[str], *, alpha: float, seed: int = 0
) -> DriftCheck:
    """Compare rows with the reference by some tests of the shelf.

    Columns are combined by Simes's rule (1986); that, and each test of whole rows, by Cauchy's (Liu and Xie, 2020).
    Both are valid for tests that depend on each other, as these do, and neither lets a large p-value hide a small one.
    """
    results = {
        kind: sorted(SHELF.load(kind)().compare(reference, current, seed=seed), key=lambda result: result.p_value)
        for kind in tests
    }
    everything = [result for kind_results in results.values() for result in kind_results]
    columns = [result.p_value for result in everything if result.column is not None]
    whole_rows = [result.p_value for result in everything if result.column is None]
    p_values = [*([simes(columns)] if columns else []), *whole_rows]
    return DriftCheck(len(current), results, cauchy(p_values) if p_values else 1.0, alpha)


def simes(p_values: Sequence[float]) -> float:
    """Return one p-value for "no column has changed" (Simes, 1986).

    >>> simes([0.01, 0.5, 0.9])
    0.03
    """
    ordered = np.sort(p_values)
    return float(min(1.0, (ordered * len(ordered) / np.arange(1, len(ordered) + 1)).min()))


def cauchy(p_values: Sequence[float]) -> float:
    """Return one p-value by the mean of Cauchy quantiles (Liu and Xie, 2020).

    It is at most that of Bonferroni's rule, the number of tests times the smallest p-value: no test can hide what
    another has found. Where nothing has changed, that adds 2 % to false alarms at 0.01, and 7 to 9 % at 0.05.

    >>> round(cauchy([0.01, 0.5]), 4), cauchy([0.01, 1.0])
    (0.02, 0.02)
    """
    quantiles = [math.tan((0.5 - min(max(p, MIN_P_VALUE), MAX_P_VALUE)) * math.pi) for p in p_values]
    mean = sum(quantiles) / len(quantiles)
    return min(math.atan2(1.0, mean) / math.pi, len(p_values) * min(p_values))
