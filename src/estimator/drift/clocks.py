"""The hours of the day of a column of times, as numbers that are binned like others: dates move, their hours do not."""

from __future__ import annotations

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.clock import SECONDS_PER_DAY

SECONDS_PER_HOUR = 3600.0
HOURS_PER_DAY = 24
# Bins end with these: midnight to the second, the rest of the first hour, and each later hour.
HOUR_EDGES = np.array([0.0, 0.5, *range(1, HOURS_PER_DAY)])


def hours_of_day(seconds: Floats) -> Floats:
    """Return the hour of each time, from 0 to 23: 0 is midnight to the second, 0.5 what follows within an hour.

    >>> hours_of_day(np.array([86_400.0, 86_401.0, 2 * 86_400.0 - 1.0, np.nan])).tolist()
    [0.0, 0.5, 23.0, nan]
    """
    hours = np.mod(seconds, SECONDS_PER_DAY) / SECONDS_PER_HOUR
    return np.where((hours > 0.0) & (hours < 1.0), 0.5, np.floor(hours))


def counts_by_hour(counts: Ints) -> Ints:
    """Return the counts of the 24 hours of the bins that `HOUR_EDGES` ends, of which the first are missing times."""
    return np.append(counts[1] + counts[2], counts[3 : len(HOUR_EDGES) + 1])
