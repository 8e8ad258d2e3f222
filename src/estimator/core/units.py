"""Units in which an arithmetic keeps the digits of values: less an offset, times a power of two.

A library that computes in single precision sees steps of 128 in seconds since 1970, and takes 1e-46 for 0. Values near
zero and of ordinary size are left as they are, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from estimator.core.arrays import Floats

# Numbers of an arithmetic may be this fraction of the values' spread apart before an offset is taken off.
MAX_LOST_FRACTION = 1e-3
# The largest power of two.
MAX_EXPONENT = 1023
# What differs by fewer steps of a double is the noise of sums, such as 0.1 + 0.2 next to 0.3.
NOISE_STEPS = 4
# More rows would not change the quartiles, only the time to find them.
MAX_SAMPLED = 10_000


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a library computes in: its numbers' binary digits, the spreads it learns from, the largest it can square."""

    digits: int = 53
    min_spread: float = 1e-100
    max_spread: float = 1e100
    max_size: float = 1e150


SINGLES, DOUBLES = Arithmetic(24, 1e-15, 1e15, 1e18), Arithmetic()


@dataclass(frozen=True, slots=True)
class Units:
    """Values less `offset`, times `scale`, which is a power of two and so costs no digit.

    The scale is applied first and undone last: onnxruntime leaves out the addition of a number below 1e-45.
    """

    offset: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, values: Floats, arithmetic: Arithmetic) -> Self:
        """Return the units for values, NaN where one is missing.

        The offset is the median, where the arithmetic's numbers at the median are more than a thousandth of the
        interquartile range apart; else it is 0. Where quartiles are equal, the standard deviation takes the place of
        that range. The scale brings the range near 1 where it is outside the arithmetic's spreads, and the largest
        value to the largest size where it is beyond; else it is 1.

        >>> Units.of(np.array([2010.0, 2015.0, 2020.0]), SINGLES)
        Units(offset=0.0, scale=1.0)
        >>> Units.of(np.array([1.7e9, 1.7e9 + 1, 1.7e9 + 2]), SINGLES)
        Units(offset=1700000001.0, scale=1.0)
        """
        present = values[np.isfinite(values)]
        largest = float(np.abs(present).max(initial=0.0))
        if largest == 0.0:
            return cls()
        exponent = math.frexp(largest)[1]
        # Below 1, so that no difference and no square overflows.
        sizes = np.ldexp(present, -exponent)
        median, spread = _quartiles(sizes)
        step = math.ldexp(1.0, math.frexp(median)[1] - arithmetic.digits)
        offset = median if step > spread * MAX_LOST_FRACTION and not _is_exact(median, spread, arithmetic) else 0.0
        return cls(math.ldexp(offset, exponent), _scale(sizes - offset, spread, exponent, arithmetic))

    @property
    def are_plain(self) -> bool:
        """Whether they leave values as they are."""
        return self == Units()

    def apply(self, values: Floats) -> Floats:
        """Return values in these units."""
        with np.errstate(over="ignore"):
            return values * self.scale - self.offset * self.scale

    def undo(self, values: Floats) -> Floats:
        """Return values from these units."""
        with np.errstate(over="ignore"):
            return (values + self.offset * self.scale) / self.scale


PLAIN = Units()


def mean_and_deviation(values: Floats, *, ddof: int = 0) -> tuple[Floats, Floats]:
    """Return the mean and the standard deviation over the first axis, of numbers of any size.

    >>> [round(float(value) / 1e300, 3) for value in mean_and_deviation(np.array([1e300, 3e300]))]
    [2.0, 1.0]
    """
    scale = Units.of(values.ravel(), DOUBLES).scale
    scaled = values * scale
    return np.asarray(scaled.mean(axis=0) / scale), np.asarray(scaled.std(axis=0, ddof=ddof) / scale)


def _quartiles(values: Floats) -> tuple[float, float]:
    """Return the median and the spread.

    The median is one of the values: its difference to another is exact where both are of one size.
    """
    sample = values[:: max(1, len(values) // MAX_SAMPLED)]
    low, median, high = np.quantile(sample, [0.25, 0.5, 0.75], method="lower")
    if low == high:
        return float(median), float(values.std()) if values.min() < values.max() else 0.0
    return float(median), float(high - low)


def _is_exact(value: float, spread: float, arithmetic: Arithmetic) -> bool:
    """Whether all values are the same, and the arithmetic has that number."""
    return spread == 0.0 and math.ldexp(math.frexp(value)[0], arithmetic.digits).is_integer()


def _scale(sizes: Floats, spread: float, exponent: int, arithmetic: Arithmetic) -> float:
    if not sizes.any():
        return 1.0
    # Of equal values, which lost no offset, their size counts.
    spread_exponent = math.frexp(spread or float(np.abs(sizes).max()))[1] + exponent
    largest_exponent = math.frexp(float(np.abs(sizes).max()))[1] + exponent
    low, high, top = (_exponent(end) for end in (arithmetic.min_spread, arithmetic.max_spread, arithmetic.max_size))
    wanted = 0 if low <= spread_exponent <= high else -spread_exponent
    wanted = min(wanted, top - largest_exponent) if largest_exponent + wanted > top else wanted
    return math.ldexp(1.0, max(-MAX_EXPONENT, min(wanted, MAX_EXPONENT)))


def _exponent(value: float) -> int:
    return math.frexp(value)[1] if math.isfinite(value) else 2 * MAX_EXPONENT
