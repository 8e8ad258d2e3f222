"""An e-detector for "the mean of bounded values is above its usual one".

Stakes of several sizes bet on it, value after value; a new capital starts with every period, and the sum of all is an
e-detector (Shin, Ramdas and Rinaldo, 2024): while the mean of no value, given those before, is above the usual one, it
takes on average at least `threshold` periods to reach `threshold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Ints

# Stakes as fractions of the largest one that cannot lose more than the capital, and their shares of it.
FRACTIONS = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 0.8])
SHARES = np.array([0.3, 0.14, 0.14, 0.14, 0.14, 0.14])
# Part of all capital that is shared out again after each label: a stake that has lost must be able to win later.
REDISTRIBUTED_FRACTION = 0.001
MAX_CAPITAL = 1e200


@dataclass
class MeanDetector:
    """E-detector for "the mean of values in [0, 1] is above `usual`".

    So many values as `design_effect` count as one. `mean` and `n_rows` are those of the values since the evidence began
    to grow.

    >>> detector = MeanDetector(0.1)
    >>> e_values = detector.update(np.array([1.0] * 8), np.zeros(8, np.int64))
    >>> bool(e_values[-1] > 1000), detector.mean, detector.n_rows
    (True, 1.0, 8)
    """

    usual: float
    design_effect: float = 1.0
    capital: Floats = field(default_factory=lambda: np.zeros(len(FRACTIONS)))
    period: int | None = None
    n_rows: int = 0
    total: float = 0.0

    @property
    def e_value(self) -> float:
        """The evidence so far."""
        return float(self.capital.sum())

    @property
    def mean(self) -> float:
        """The mean since the evidence began to grow."""
        return self.total / max(self.n_rows, 1)

    def update(self, values: Floats, periods: Ints) -> Floats:
        """Add values of shape (rows,); NaN is skipped. Return the e-value after each."""
        e_values, stakes = np.empty(len(values)), FRACTIONS / max(self.usual, 1e-9)
        part = 1.0 / self.design_effect
        for index, (value, period) in enumerate(zip(values.tolist(), periods.tolist(), strict=True)):
            if period != self.period:
                self.period = period
                self.capital = self.capital + SHARES
            if value == value:  # not NaN
                shared = REDISTRIBUTED_FRACTION * part * (self.capital.sum() * SHARES - self.capital)
                payoffs = (1.0 + stakes * (value - self.usual)) ** part
                self.capital = np.minimum((self.capital + shared) * payoffs, MAX_CAPITAL)
                self.n_rows, self.total = self.n_rows + 1, self.total + value
                if self.total <= self.usual * self.n_rows:
                    self.n_rows, self.total = 0, 0.0
            e_values[index] = self.e_value
        return e_values

    def restart(self) -> None:
        """Start over after an alarm."""
        self.capital, self.period, self.n_rows, self.total = np.zeros(len(FRACTIONS)), None, 0, 0.0

    def to_data(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""
        return {**asdict(self), "capital": self.capital.tolist()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from the state that `to_data` returned; what is usual stays."""
        self.capital, self.period = np.array(data["capital"]), data["period"]
        self.n_rows, self.total = data["n_rows"], data["total"]
