"""Whole numbers that tell a time: days such as 20200131, months, years, and seconds or milliseconds since 1970."""

from __future__ import annotations

from typing import Literal

import numpy as np

from estimator.core.arrays import Floats

Calendar = Literal["day", "month", "year", "seconds", "milliseconds", "microseconds", "nanoseconds"]
EPOCH_UNITS: dict[Calendar, float] = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
FIRST_YEAR, LAST_YEAR = 1800, 2100
# 1990 and 2040: seconds since 1970 of other years look like other numbers.
FIRST_SECOND, LAST_SECOND = 631_152_000.0, 2_208_988_800.0
DAYS_IN_MONTH = np.array([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def calendar_of(values: Floats) -> Calendar | None:
    """Return what time known whole numbers tell, None if they are ordinary numbers.

    >>> calendar_of(np.array([20200131.0, 20200201.0])), calendar_of(np.array([20200132.0, 20200201.0]))
    ('day', None)
    """
    if len(values) == 0 or not (values == np.floor(values)).all():
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        return None
    if low >= FIRST_YEAR and high <= LAST_YEAR:
        return "year"
    month, day = (values // 100) % 100, values % 100
    if low > FIRST_YEAR * 100 and high < (LAST_YEAR + 1) * 100 and ((day >= 1) & (day <= 12)).all():
        return "month"
    is_day = low > FIRST_YEAR * 10_000 and high < (LAST_YEAR + 1) * 10_000 and ((month >= 1) & (month <= 12)).all()
    if is_day and ((day >= 1) & (day <= DAYS_IN_MONTH[month.astype(np.int64) - 1])).all():
        return "day"
    for name, unit in EPOCH_UNITS.items():
        if FIRST_SECOND * unit <= low and high <= LAST_SECOND * unit:
            return name
    return None
