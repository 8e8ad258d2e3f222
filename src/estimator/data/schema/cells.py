"""One value -> what the graph takes: the only place that decides what a column accepts.

Numbers, booleans and times become a double (NaN when missing; a time is in seconds since 1970-01-01 UTC). Categories
and texts become a string ("" when missing). Every fast path hands the values that it cannot read to `read_cell`, so a
file, a request and a training table get the same verdict and the same message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache

import numpy as np

from estimator.core.date_formats import read_time, refusal
from estimator.data.schema.column import EPOCH, FALSE_WORDS, NUMERIC_KINDS, STRING_KINDS, TIME_KINDS, TRUE_WORDS, Column

LARGEST_EXACT_INTEGER = 2**53 - 1
# How the message for a missing value ends.
# What pandas has for a missing value and a missing time.
MISSING_TYPES = ("NAType", "NaTType")
NOT_NULLABLE = "the column is not nullable"
BLANK_BETWEEN_THOUSANDS = re.compile(r"(?<=\d)\s(?=\d{3}(?!\d))")


class CellError(ValueError):
    """A value that its column does not accept; the message says what was expected and what was found."""


def read_cell(column: Column, value: object) -> float | str:
    """Return a value as the graph takes it.

    >>> read_cell(Column("price", "number", strip=("$",), thousands=","), "$1,250")
    1250.0
    >>> read_cell(Column("sold", "boolean"), "yes")
    1.0

    Raises
    ------
    CellError: the column does not accept the value.
    """
    value = plain_value(value)
    if _is_missing(column, value):
        return _read_missing(column, value)
    if isinstance(value, str) and not column.is_string:
        value = normalize(column, value)
    cell = _READERS[column.kind](column, value)
    if column.na_values and cell in na_numbers(column):
        return _read_missing(column, value)
    if isinstance(cell, float) and column.range is not None:
        low, high = column.range
        if (low is not None and cell < low) or (high is not None and cell > high):
            raise _rejection(column, value)
    if column.rejects_unknown and cell not in column.categories and isinstance(cell, str):
        raise _rejection(column, value)
    return cell


def normalize(column: Column, text: str) -> str:
    """Return the value that a text stands for, by the column's `pattern`, `ignore_case` and `replace`.

    >>> normalize(Column("zip", "category", pattern=r"(\\d{5})(-\\d+)?"), "98178-0001")
    '98178'
    """
    if column.pattern is not None and (match := re.match(column.pattern, text.strip())):
        text = match.group(1) if match.groups() else match.group()
    if column.ignore_case:
        text = " ".join(text.split()).lower()
    return column.replace.get(text.strip(), text) if column.replace else text


def na_numbers(column: Column) -> frozenset[float]:
    """Return the numbers and times that mean a missing value, because `na_values` spells them; infinities among them.

    >>> sorted(na_numbers(Column("x", "number", na_values=("NA", "-999", "inf"))))
    [-999.0, inf]
    """
    if not column.na_values or column.kind not in (*NUMERIC_KINDS, *TIME_KINDS):
        return frozenset()
    return _na_numbers(column.na_values, column.kind in TIME_KINDS, column.date_formats)


@lru_cache(maxsize=10_000)
def _na_numbers(na_values: tuple[str, ...], is_time: bool, date_formats: tuple[str, ...]) -> frozenset[float]:
    column = Column("x", "datetime" if is_time else "number", date_formats=date_formats)
    numbers = set()
    for text in na_values:
        try:
            numbers.add(float(_READERS[column.kind](column, text)))
        except CellError:
            if not is_time and (infinity := infinity_of(text)) is not None:
                numbers.add(infinity)
    return frozenset(numbers)


def infinity_of(text: str) -> float | None:
    """Return the infinity that a text spells, None for any other text.

    >>> infinity_of("-Infinity"), infinity_of("1e999"), infinity_of("nan")
    (-inf, inf, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isinf(number) else None


def plain_value(value: object) -> object:
    """Return a scalar of numpy as one of Python, and what a table's durations, times of day and decimals become."""
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else float(value / np.timedelta64(1, "us")) / 1e6
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else value.astype("datetime64[us]").item()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        # A member of an enumeration of texts is its text.
        return value if type(value) is str else str.__str__(value)
    if type(value).__name__ in MISSING_TYPES:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, time):
        return timedelta(
            hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
        ).total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    return value


def _is_missing(column: Column, value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value != value or (bool(column.na_values) and _is_missing_number(column, value))
    if not isinstance(value, str):
        return False
    text = value.strip()
    if text == "" or text in column.na_values:
        return True
    infinity = infinity_of(text) if column.na_values and column.kind in NUMERIC_KINDS else None
    return infinity is not None and infinity in na_numbers(column)


def _is_missing_number(column: Column, value: float) -> bool:
    return number_text(value) in column.na_values if column.is_string else value in na_numbers(column)


def _read_missing(column: Column, value: object) -> float | str:
    if not column.accepts_missing:
        raise CellError(f"expected {column.expectation}, got a missing value ({value!r}); {NOT_NULLABLE}")
    return "" if column.is_string else math.nan


def _rejection(column: Column, value: object, remark: str | None = None) -> CellError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return CellError(
        f"expected {column.expectation}, got {shown}{f', {remark}' if remark else ''}; {column.training_summary}"
    )


def _read_number(column: Column, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _rejection(column, value)
    literal, factor = _bare_number(column, value) if isinstance(value, str) else (value, 1.0)
    if isinstance(literal, str) and (not literal.isascii() or "_" in literal):
        raise _rejection(column, value)
    try:
        number = float(literal)
    except (ValueError, OverflowError):
        raise _rejection(column, value) from None
    if not math.isfinite(number):
        raise _rejection(column, value)
    return number * factor if factor != 1.0 else number


def _bare_number(column: Column, text: str) -> tuple[str, float]:
    """Return a number's text without affixes, unit and thousands separators, and the factor of its unit."""
    number, factor = text.strip(), 1.0
    for affix in column.strip:
        # A sign may stand before the sign of a currency.
        sign = number[:1] if number[:1] in ("-", "+") and number[1:].lstrip().startswith(affix) else ""
        number = sign + number.removeprefix(sign).strip().removeprefix(affix).removesuffix(affix).strip()
    for unit, unit_factor in column.units.items():
        if number.endswith(unit):
            number, factor = number.removesuffix(unit).strip(), unit_factor
            break
    return _without_thousands(column, number, text), factor


def _without_thousands(column: Column, number: str, text: str) -> str:
    if column.thousands:
        # A blank of any width separates thousands as well as the column's own separator.
        number = BLANK_BETWEEN_THOUSANDS.sub(column.thousands, number)
    if column.thousands and column.thousands in number:
        # Where a comma separates thousands, "12,5" is not 125.
        separator, decimal = re.escape(column.thousands), re.escape(column.decimal)
        # In India, the groups before the last one have two digits.
        groups = rf"(?:\d{{1,3}}(?:{separator}\d{{3}})+|\d{{1,2}}(?:{separator}\d\d)+{separator}\d{{3}})"
        if not re.fullmatch(rf"[-+]?{groups}(?:{decimal}\d*)?", number):
            # Where a point separates thousands, "12.5" is not 12.5 either.
            return text if column.decimal == "." else ""
        number = number.replace(column.thousands, "")
    return number if column.decimal == "." else number.replace(column.decimal, ".")


def _read_integer(column: Column, value: object) -> float:
    number = _read_number(column, value)
    if number != math.floor(number) or abs(number) > LARGEST_EXACT_INTEGER:
        raise _rejection(column, value)
    return number


def _read_boolean(column: Column, value: object) -> float:
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    if word in TRUE_WORDS:
        return 1.0
    if word in FALSE_WORDS:
        return 0.0
    raise _rejection(column, value)


def _read_string(column: Column, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise _rejection(column, value)
    text = normalize(column, value if isinstance(value, str) else number_text(value))
    if "\x00" in text:
        raise CellError(f"expected {column.expectation} without NUL characters, got {value!r:.80}")
    return text


def number_text(value: float) -> str:
    """Return a number as a category: a whole one without a fraction."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT_INTEGER:
        value = int(value)
    return str(value)


def _read_time(column: Column, value: object) -> float:
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, date):
        return _seconds(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _rejection(column, value)
    # A number such as 20200131 is read by the column's own formats only.
    is_text = isinstance(value, str)
    text = value.strip() if isinstance(value, str) else number_text(value)
    seconds = read_time(text, column.date_formats, with_iso=is_text)
    if seconds is None:
        raise _rejection(column, value, refusal(text) if is_text else None)
    return seconds


def _seconds(moment: datetime) -> float:
    # A time without a zone is taken as UTC.
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH).total_seconds()


_READERS: dict[str, Callable[[Column, object], float | str]] = {
    "number": _read_number,
    "integer": _read_integer,
    "boolean": _read_boolean,
    **dict.fromkeys(STRING_KINDS, _read_string),
    "date": _read_time,
    "datetime": _read_time,
}
