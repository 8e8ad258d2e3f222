"""Units of measure in texts, and their conversion."""

from __future__ import annotations

import re
from collections.abc import Sequence

SQUARE_FOOT, ACRE = 0.09290304, 4046.8564224
# Sizes in square meters, meters, months, seconds and kilograms.
DIMENSIONS: Sequence[dict[str, float]] = (
    {
        **dict.fromkeys(("m2", "m²", "sqm", "sq m", "sq meter", "sq meters", "qm", "square meters"), 1.0),
        **dict.fromkeys(("sq ft", "sqft", "ft2", "ft²", "sf", "square feet"), SQUARE_FOOT),
        **dict.fromkeys(("sq yd", "sq yards"), 9 * SQUARE_FOOT),
        **dict.fromkeys(("acre", "acres"), ACRE),
        **dict.fromkeys(("cents", "cent"), ACRE / 100),
        **dict.fromkeys(("guntha",), ACRE / 40),
        **dict.fromkeys(("perch",), ACRE / 160),
        **dict.fromkeys(("grounds",), 2400 * SQUARE_FOOT),
        **dict.fromkeys(("ha", "hectare", "hectares"), 10_000.0),
    },
    {
        "mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "inch": 0.0254, "ft": 0.3048, "feet": 0.3048,
        "yd": 0.9144, "mi": 1609.344, "mile": 1609.344, "miles": 1609.344,
    },
    # Days to a month or a year are not always the same number.
    {**dict.fromkeys(("month", "months", "mo"), 1.0), **dict.fromkeys(("year", "years", "yr", "yrs"), 12.0)},
    {
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
        **dict.fromkeys(("day", "days"), 86_400.0),
        **dict.fromkeys(("week", "weeks"), 604_800.0),
    },
    {"mg": 1e-6, "g": 0.001, "kg": 1.0, "t": 1000.0, "oz": 0.028349523125, "lb": 0.45359237, "lbs": 0.45359237},
)  # fmt: skip


def convertible(base: str, others: Sequence[str]) -> dict[str, float] | None:
    """Return the factor of each unit to the base unit; None if they do not measure the same quantity."""
    for sizes in DIMENSIONS:
        if all(_normalize(unit) in sizes for unit in (base, *others)):
            return {unit: round(sizes[_normalize(unit)] / sizes[_normalize(base)], 10) for unit in others}
    return None


def is_known(unit: str) -> bool:
    """Whether a text is a known unit."""
    return any(_normalize(unit) in sizes for sizes in DIMENSIONS)


def named_unit(name: str) -> str | None:
    """Return the unit that a column's name ends in, such as sqft of total_sqft."""
    last = re.split(r"[^A-Za-z0-9²]+", name)[-1].lower()
    return last if any(last in sizes and len(last) > 1 for sizes in DIMENSIONS) else None


def _normalize(unit: str) -> str:
    return " ".join(unit.replace(".", " ").split()).lower()
