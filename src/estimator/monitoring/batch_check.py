"""Rows seen now against what training saw, by all tests together, at one level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.drift import SHELF, Current, Finding, Reference

SMALLEST = 1e-15


@dataclass(frozen=True, slots=True)
class Check:
    """What tests said of rows: `p_value` is of all together, and there is drift where it is at most `level`.

    `findings` are each test's, by its kind, the smallest p-value first.
    """

    rows: int
    findings: Mapping[str, Sequence[Finding]]
    p_value: float
    level: float

    @property
    def drifted(self) -> bool:
        """Whether so much would be rare by chance."""
        return self.p_value <= self.level

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "drifted": self.drifted}


def check(reference: Reference, current: Current, tests: Sequence[str], *, level: float, seed: int = 0) -> Check:
    """Compare rows by some tests.

    Columns are taken together by Simes's rule (1986), that and each test of whole rows by Cauchy's (Liu and Xie, 2020):
    neither minds much how tests hang together.
    """
    found = {
        kind: sorted(
            SHELF.load(kind)().findings(reference, current, seed=seed), key=lambda finding: finding.moved.p_value
        )
        for kind in tests
    }
    findings = [finding for each in found.values() for finding in each]
    columns = [finding.moved.p_value for finding in findings if finding.column is not None]
    rows = [finding.moved.p_value for finding in findings if finding.column is None]
    together = [*([simes(columns)] if columns else []), *rows]
    return Check(len(current), found, cauchy(together) if together else 1.0, level)


def simes(p_values: Sequence[float]) -> float:
    """Return one p-value for "nothing moved" (Simes, 1986).

    >>> simes([0.01, 0.5, 0.9])
    0.03
    """
    ordered = np.sort(p_values)
    return float(min(1.0, (ordered * len(ordered) / np.arange(1, len(ordered) + 1)).min()))


def cauchy(p_values: Sequence[float]) -> float:
    """Return one p-value by the mean of Cauchy's quantiles (Liu and Xie, 2020).

    >>> round(cauchy([0.01, 0.5]), 4)
    0.02
    """
    # A p-value of 1 would weigh against any other, however small.
    quantiles = [math.tan((0.5 - min(max(p, SMALLEST), 1.0 - 1e-6)) * math.pi) for p in p_values]
    mean = sum(quantiles) / len(quantiles)
    return math.atan2(1.0, mean) / math.pi
