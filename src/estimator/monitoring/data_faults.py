"""Likely data faults: exchanged columns, lost values, other spellings, unknown codes, a constant, another unit."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.core.text import counted, format_number, join_names
from estimator.drift.kolmogorov_smirnov import largest_distance
from estimator.drift.reference import ColumnReference

MIN_ROWS = 20
# Fits are computed on at most so many rows, of at most so many columns that may be exchanged.
MAX_FITTED_ROWS, MAX_EXCHANGED = 1000, 50
# Distances, from 0 to 1 and beyond chance: a fit is at most the first, and a third of a distance of at least the
# second; of units, the third and the fourth.
MAX_MISFIT, MIN_DISTANCE = 0.1, 0.25
MAX_UNIT_MISFIT, MIN_UNIT_DISTANCE = 0.05, 0.5
# A real change is more likely to look like a small ratio than like a large one, so the fit must be closer.
MAX_SMALL_MISFIT, SMALL_RATIO = 0.03, 4.0
# By how much the fraction of missing values or of other spellings grows, and that of unknown categories.
MIN_GROWTH, MIN_UNKNOWN_GROWTH = 0.1, 0.2
MIN_STANDARD_ERRORS, MIN_ODDS_RATIO = 4.0, 4.0
# From this fraction on, nothing that is known is left.
ALL_UNKNOWN = 0.9
MIN_EXPECTED = 5.0
# Of a constant column, training had at least so many values, and two rows that were equal at most so often.
MIN_VALUES, MAX_EQUAL_PAIRS, MAX_USUAL_PAIRS = 3, 0.5, 0.9
# Rows of one day or place are constant in several columns at once, so more of them are needed then.
MIN_CONSTANT_ROWS, MIN_ROWS_OF_SEVERAL = 30, 100
MIN_EDGES = 10
# Ratios of common units: powers of ten, inches, feet, miles, pounds, ounces, square feet, acres, gallons, km/h, times,
# dozens.
UNIT_FACTORS = (
    10.0, 100.0, 1000.0, 1e4, 1e6, 1e9, 2.54, 0.3048, 1.609344, 0.45359237, 28.349523, 10.7639104, 4046.8564, 3.785412,
    3.6, 60.0, 3600.0, 86_400.0, 24.0, 7.0, 12.0,
)  # fmt: skip
# Of temperatures, what the present unit is multiplied by, and what is added, for the unit of training.
TEMPERATURES = (
    (1.8, 32.0, "degrees Celsius, Fahrenheit in the reference"),
    (1 / 1.8, -32.0 / 1.8, "degrees Fahrenheit, Celsius in the reference"),
    (1.0, -273.15, "kelvins, degrees Celsius in the reference"),
    (1.0, 273.15, "degrees Celsius, kelvins in the reference"),
)
ROUNDING = 1e-4


@dataclass(frozen=True, slots=True)
class CurrentColumn:
    """A column's reference, and its current values of shape (rows,), in the order in which they came."""

    reference: ColumnReference
    values: npt.NDArray[Any]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.reference.name

    @property
    def counts(self) -> Ints:
        """How often each bin of the reference occurs."""
        return self.reference.count(self.reference.codes(self.values))

    @property
    def present(self) -> npt.NDArray[Any]:
        """Values that are not missing."""
        is_present = self.values != "" if self.reference.is_text else ~np.isnan(self.values)
        return np.asarray(self.values[is_present])


def data_faults(columns: Sequence[CurrentColumn]) -> dict[str, str]:
    """Return the likely fault of each column that has one, by name."""
    columns = [column for column in columns if len(column.values) >= MIN_ROWS and column.reference.n_rows]
    faults = _exchanged_columns(columns)
    faults |= {column.name: _constant_message(column) for column in _constant_columns(columns)} | faults
    for column in columns:
        fault = faults.get(column.name) or _missing_fault(column) or _value_fault(column)
        if fault is not None:
            faults[column.name] = fault
    return faults


def _value_fault(column: CurrentColumn) -> str | None:
    if len(column.present) < MIN_ROWS:
        return None
    return _category_fault(column) if column.reference.is_text else _unit_fault(column)


def _exchanged_columns(columns: Sequence[CurrentColumn]) -> dict[str, str]:
    """Return the faults of pairs of columns that fit each other's reference, and not their own."""
    distances = [(_misfit_with_missing(column.reference, column.values), column) for column in columns]
    moved = sorted((item for item in distances if item[0] >= MIN_DISTANCE), key=lambda item: -item[0])
    faults: dict[str, str] = {}
    for (distance, first), (other_distance, second) in combinations(moved[:MAX_EXCHANGED], 2):
        if first.reference.is_text != second.reference.is_text or {first.name, second.name} & set(faults):
            continue
        largest_misfit = min(MAX_MISFIT, distance / 3, other_distance / 3)
        if (
            _misfit_with_missing(second.reference, first.values) <= largest_misfit
            and _misfit_with_missing(first.reference, second.values) <= largest_misfit
        ):
            message = f"{first.name} and {second.name} may be exchanged: each fits the other's values in the reference"
            faults |= {first.name: message, second.name: message}
    return faults


def _missing_fault(column: CurrentColumn) -> str | None:
    """Return a fault if missing values have grown beyond chance; with the fractions of both halves if they still do."""
    is_missing = column.reference.codes(column.values) == 0
    before, now = float(column.reference.fractions[0]), float(is_missing.mean())
    chance = MIN_STANDARD_ERRORS * _standard_error(now, len(is_missing))
    if now - before < max(MIN_GROWTH, chance) or _odds(now) < MIN_ODDS_RATIO * _odds(before):
        return None
    message = f"{column.name} is missing in {now:.0%} of the rows, {before:.1%} in the reference"
    first, last = (float(half.mean()) for half in np.array_split(is_missing, 2))
    # The difference of two halves has twice the standard error of the whole.
    if last - first >= max(MIN_GROWTH, 2 * chance):
        message += f", and growing: {first:.0%} of the first half of these rows, {last:.0%} of the second"
    return message


def _odds(fraction: float) -> float:
    return fraction / max(1.0 - fraction, 1e-9)


def _standard_error(fraction: float, n_rows: int) -> float:
    return float(np.sqrt(fraction * (1.0 - fraction) / n_rows))


def _constant_columns(columns: Sequence[CurrentColumn]) -> list[CurrentColumn]:
    """Return the columns that had many values and now have one."""
    constant = [
        column
        for column in columns
        if _equal_pairs(column.reference) < MAX_USUAL_PAIRS and _is_one_value(column.present)
    ]
    n_rows = MIN_CONSTANT_ROWS if len(constant) == 1 else MIN_ROWS_OF_SEVERAL
    return [
        column
        for column in constant
        if len(column.present) >= n_rows
        and _equal_pairs(column.reference) <= MAX_EQUAL_PAIRS
        and (column.reference.counts[1:] > 0).sum() >= MIN_VALUES
    ]


def _is_one_value(present: npt.NDArray[Any]) -> bool:
    return len(present) > 0 and bool((present == present[0]).all())


def _equal_pairs(reference: ColumnReference) -> float:
    """Return how often two rows of training were equal, of those that had a value."""
    counts = reference.counts[1:]
    return float(((counts / max(counts.sum(), 1)) ** 2).sum())


def _constant_message(column: CurrentColumn) -> str:
    value = column.present[0]
    shown = repr(value) if column.reference.is_text else format_number(float(value))
    return f"{column.name} is constant: {shown} in {counted(len(column.present), 'row')}"


def _category_fault(column: CurrentColumn) -> str | None:
    """Return a fault if categories come in another case or punctuation, or as unknown codes, and known ones vanish."""
    counts, present = column.reference.counts[1:], column.present
    usual = dict(zip(column.reference.categories, (counts / max(counts.sum(), 1)).tolist(), strict=False))
    names, current = np.unique(present.astype(str), return_counts=True)
    now = dict(zip(names.tolist(), (current / len(present)).tolist(), strict=True))
    return _spelling_fault(column, usual, now) or _unknown_fault(column, usual, now)


def _spelling_fault(column: CurrentColumn, usual: Mapping[str, float], now: Mapping[str, float]) -> str | None:
    by_spelling = {_normalized(category): category for category in usual}
    usual_spellings = {
        name: by_spelling[_normalized(name)] for name in now if name not in usual and _normalized(name) in by_spelling
    }
    fraction = sum(now[name] for name in usual_spellings)
    lost = sum(max(0.0, usual[name] - now.get(name, 0.0)) for name in set(usual_spellings.values()))
    if fraction < MIN_GROWTH or lost < fraction / 2:
        return None
    example = max(usual_spellings, key=lambda name: now[name])
    where = f"in {fraction:.0%} of the rows"
    return f"{column.name} has another spelling: {example!r} was {usual_spellings[example]!r} in the reference, {where}"


def _unknown_fault(column: CurrentColumn, usual: Mapping[str, float], now: Mapping[str, float]) -> str | None:
    unknown = {name: fraction for name, fraction in now.items() if name not in usual}
    fraction, n_rows = sum(unknown.values()), len(column.present)
    growth = fraction - column.reference.counts[-1] / max(column.reference.counts[1:].sum(), 1)
    if growth < MIN_UNKNOWN_GROWTH:
        return None
    vanished = [name for name, expected in usual.items() if name not in now and expected * n_rows >= MIN_EXPECTED]
    if fraction < ALL_UNKNOWN and sum(usual[name] for name in vanished) < growth / 2:
        return None
    example = max(unknown, key=lambda name: unknown[name])
    message = f"{column.name} has unknown categories, such as {example!r}, in {fraction:.0%} of the rows"
    gone = join_names((repr(name) for name in sorted(vanished, key=lambda name: -usual[name])), limit=3)
    return f"{message}; gone: {gone}" if vanished else message


def _normalized(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if letter.isalnum()) or text


def _unit_fault(column: CurrentColumn) -> str | None:
    """Return a fault if all of the distribution fits once values are converted from another unit."""
    reference, numbers = column.reference, column.present.astype(np.float64)
    distance = _misfit(reference, numbers)
    if len(reference.edges) < MIN_EDGES or distance < MIN_UNIT_DISTANCE:
        return None
    fits = [
        (_misfit(reference, conversion.values - _rounding(reference, conversion.values)), conversion)
        for conversion in _conversions(numbers)
    ]
    misfit, best = min(fits, key=lambda fit: fit[0])
    is_fit = misfit <= min(MAX_UNIT_MISFIT if best.is_large else MAX_SMALL_MISFIT, distance / 3)
    return f"{column.name} may be in another unit: {best.message}" if is_fit else None


@dataclass(frozen=True, slots=True)
class _Conversion:
    """Values in the unit of training, what their present unit is, and whether the units differ by much."""

    values: Floats
    message: str
    is_large: bool


def _conversions(numbers: Floats) -> Iterator[_Conversion]:
    for factor in (ratio for unit in UNIT_FACTORS for ratio in (unit, 1.0 / unit)):
        message = f"values are {format_number(factor)} times those of the reference"
        yield _Conversion(numbers / factor, message, not 1 / SMALL_RATIO < factor < SMALL_RATIO)
    for factor, offset, message in TEMPERATURES:
        yield _Conversion(numbers * factor + offset, message, is_large=False)


def _rounding(reference: ColumnReference, values: Floats) -> Floats:
    """Return how far below themselves values belong: they may be rounded, and bins end with their edge."""
    return np.minimum(ROUNDING * np.abs(values), 100 * ROUNDING * reference.scale)


def _misfit_with_missing(reference: ColumnReference, values: npt.NDArray[Any]) -> float:
    """Return how far values are from a reference, or the fraction of missing ones where that is further."""
    sample = _sampled(values)
    before, now = float(reference.fractions[0]), float((reference.codes(sample) == 0).mean())
    return max(_misfit(reference, values), abs(now - before) - _standard_error(before, len(sample)))


def _misfit(reference: ColumnReference, values: npt.NDArray[Any]) -> float:
    """Return how far values that are not missing are from a reference, from 0 to 1, beyond what chance would leave.

    Of numbers it is the largest distance of the distribution functions, of categories half the change of all fractions.
    """
    counts = reference.count(reference.codes(_sampled(values)))
    usual, now = reference.counts[1:], counts[1:]
    if not usual.sum() or not now.sum():
        return 0.0
    size = 1.0 / usual.sum() + 1.0 / now.sum()
    if reference.is_text:
        fractions = usual / usual.sum()
        distance = float(np.abs(now / now.sum() - fractions).sum() / 2)
        chance = 0.4 * float(np.sqrt(fractions * (1.0 - fractions) * size).sum())
    else:
        distance, chance = largest_distance(reference, counts)[0], 0.87 * float(np.sqrt(size))
    return max(distance - chance, 0.0)


def _sampled(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values[:: max(1, len(values) // MAX_FITTED_ROWS)]
