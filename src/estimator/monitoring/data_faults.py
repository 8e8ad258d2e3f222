"""Likely data faults in a drifted column: lost values, another spelling, unknown codes, another unit, a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.core.text import format_number
from estimator.drift.kolmogorov_smirnov import largest_distance
from estimator.drift.reference import ColumnReference

# A fraction of missing or unknown values that appears where training had hardly any.
MIN_FAULT_FRACTION = 0.2
MAX_USUAL_FRACTION = 0.02
MIN_VALUES = 8
MIN_EDGES = 10
# Ratios of common units: powers of ten, inches, feet, pounds, square feet, acres, minutes, hours, days, dozens.
UNIT_FACTORS = (
    10.0, 100.0, 1000.0, 1e4, 1e6, 2.54, 0.3048, 0.45359237, 10.7639, 4046.86, 60.0, 24.0, 7.0, 12.0, 3600.0,
)  # fmt: skip
# A real change seldom moves a column this far.
MIN_DISTANCE = 0.75


def data_fault(column: ColumnReference, counts: Ints, values: npt.NDArray[Any]) -> str | None:
    """Return a likely fault in a column's current values of shape (rows,), None where none shows."""
    before, now = column.fractions, counts / max(counts.sum(), 1)
    if now[0] > MIN_FAULT_FRACTION and before[0] < MAX_USUAL_FRACTION:
        return f"{column.name} is missing in {now[0]:.0%} of the rows, {before[0]:.1%} in training"
    fault = _category_fault(column, counts, values) if column.is_text else _unit_fault(column, values)
    if fault is None and now.max() == 1.0 and before.max() < 0.9 and counts.sum() >= MIN_VALUES:
        return f"{column.name} is constant: {column.bin_name(int(now.argmax()))}"
    return fault


def _category_fault(column: ColumnReference, counts: Ints, values: npt.NDArray[Any]) -> str | None:
    """Return a fault if known categories come in another case or punctuation, or many are unknown."""
    if (
        not counts.sum()
        or counts[-1] / counts.sum() < MIN_FAULT_FRACTION
        or column.counts[-1] / max(column.n_rows, 1) > MAX_USUAL_FRACTION
    ):
        return None
    category_by_spelling = {_normalized(category): category for category in column.categories}
    unknown = [value for value in values.tolist() if value and value not in column.categories]
    respelled = sorted({value for value in unknown if _normalized(value) in category_by_spelling})
    if respelled:
        value = respelled[0]
        usual = repr(category_by_spelling[_normalized(value)])
        return f"{column.name} has another spelling: {value!r} was {usual} in training"
    fraction = len(unknown) / len(values)
    return f"{column.name} has unknown categories, such as {unknown[0]!r}, in {fraction:.0%} of the rows"


def _normalized(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _unit_fault(column: ColumnReference, values: npt.NDArray[Any]) -> str | None:
    """Return a fault if values fit the training distribution once they are divided by a ratio of two units."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    if len(numbers) < MIN_VALUES or len(column.edges) < MIN_EDGES or not column.median:
        return None
    distance = _distance(column, numbers)
    if distance < MIN_DISTANCE:
        return None
    growth = float(np.median(numbers)) / column.median
    for factor in (ratio for unit in UNIT_FACTORS for ratio in (unit, 1.0 / unit)):
        if abs(growth / factor - 1.0) < 0.3 and _distance(column, numbers / factor) < distance / 3.0:
            return f"{column.name} may be in another unit: values are {format_number(factor)} times those of training"
    return None


def _distance(column: ColumnReference, values: Floats) -> float:
    return largest_distance(column, column.count(column.codes(values)))[0]
