"""Population stability index (PSI): the sum of (q - p) log(q / p) over about ten bins (Siddiqi, 2006)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from estimator.core.arrays import Ints
from estimator.drift.frequency import FrequencyTest, effective_size


class PopulationStability(FrequencyTest):
    """With a p-value (Yurdakul, 2018), as rules such as "above 0.2" raise false alarms in small samples.

    >>> effect, statistic = PopulationStability().distance(np.array([50, 50]), np.array([60, 40]))
    >>> round(effect, 3), round(statistic, 3)
    (0.04, 1.987)
    """

    measure: ClassVar[str] = "PSI"

    def distance(self, reference: Ints, current: Ints) -> tuple[float, float]:
        # Half a row in every bin: an empty one would make the index infinite.
        before, now = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (reference, current))
        index = float(((now - before) * np.log(now / before)).sum())
        return index, index * effective_size(reference, current)
