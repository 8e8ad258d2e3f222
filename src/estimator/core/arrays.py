"""The array types of the package, each defined once, missing values as JSON spells them, and histograms."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# True for the rows (or columns) that are selected.
Mask = npt.NDArray[np.bool_]
# Row numbers from 0, as `np.flatnonzero` returns them.
Indices = npt.NDArray[np.intp]

MAX_DOUBLE = float(np.finfo(np.float64).max)


def nan_to_none(value: float) -> float | None:
    """Return a number for JSON, which has neither NaN nor infinity: null stands for both.

    >>> nan_to_none(0.5), nan_to_none(float("nan"))
    (0.5, None)
    """
    return value if math.isfinite(value) else None


def equal_width_bins(values: Floats, bins: int, *, span: tuple[float, float] | None = None) -> tuple[Indices, Floats]:
    """Return counts and edges of bins of equal width from the smallest to the largest value, or over a span.

    There are fewer bins where the doubles between the ends are fewer; `numpy.histogram` raises then.

    >>> equal_width_bins(np.array([0.3, 0.30000000000000004]), 2)[0].tolist()
    [2]
    """
    low, high = span or (float(values.min()), float(values.max()))
    if low == high:
        # Half a unit to each side, as numpy does, unless the doubles of this size are further apart.
        margin = max(0.5, float(np.spacing(abs(low))))
        low, high = max(low - margin, -MAX_DOUBLE), min(high + margin, MAX_DOUBLE)
    steps = np.linspace(0.0, 1.0, bins + 1)
    # The difference of two doubles can be infinite where a mean of them is not.
    edges = np.linspace(low, high, bins + 1) if np.isfinite(high - low) else low * (1.0 - steps) + high * steps
    edges = np.unique(edges)
    return np.histogram(values, bins=edges)[0], edges
