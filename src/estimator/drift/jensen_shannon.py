"""Jensen-Shannon distance (Lin, 1991): how far two distributions are from their mean, from 0 to 1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.drift.frequency import FrequencyTest, effective_size


class JensenShannon(FrequencyTest):
    """The square root of the divergence in bits; eight times the divergence in nats is nearly chi-square.

    >>> effect, statistic = JensenShannon().distance(np.array([50, 50]), np.array([60, 40]))
    >>> round(effect, 3), round(statistic, 3)
    (0.085, 2.024)
    """

    measure: ClassVar[str] = "Jensen-Shannon distance"

    def distance(self, reference: Ints, current: Ints) -> tuple[float, float]:
        before, now = reference / reference.sum(), current / current.sum()
        mean = (before + now) / 2
        nats = max(0.0, (_relative_entropy(before, mean) + _relative_entropy(now, mean)) / 2)
        return float(np.sqrt(nats / np.log(2.0))), 8.0 * nats * effective_size(reference, current)


def _relative_entropy(fractions: Floats, mean: Floats) -> float:
    """Return the Kullback-Leibler divergence, in nats."""
    occurs = fractions > 0
    return float((fractions[occurs] * np.log(fractions[occurs] / mean[occurs])).sum())
