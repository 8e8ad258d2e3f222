"""The array types of the package, each defined once, and missing values as JSON spells them."""

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


def nan_to_none(value: float) -> float | None:
    """Return a number for JSON, which has neither NaN nor infinity: null stands for both.

    >>> nan_to_none(0.5), nan_to_none(float("nan"))
    (0.5, None)
    """
    return value if math.isfinite(value) else None
