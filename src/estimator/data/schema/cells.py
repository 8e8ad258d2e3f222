"""One value -> what the graph takes: the only place that decides what a column accepts.

Numbers, booleans and times become a double (NaN when missing; a time is in seconds since 1970-01-01 UTC). Categories
and texts become a string ("" when missing). Every fast path hands the values that it cannot read to `read_cell`, so a
file, a request and a training table get the same verdict and the same message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np

from estimator.data.schema.column import EPOCH, FALSE_WORDS, STRING_KINDS, TRUE_WORDS, Column

LARGEST_EXACT_INTEGER = 2**53 - 1
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
    if isinstance(value, np.generic):
        value = value.item()
    if _is_missing(column, value):
        return _read_missing(column, value)
    if isinstance(value, str) and not column.is_string:
        value = normalize(column, value)
    cell = _READERS[column.kind](column, value)
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


def _is_missing(column: Column, value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if not isinstance(value, str):
        return False
    stripped = value.strip()
    return stripped == "" or stripped in column.na_values


def _read_missing(column: Column, value: object) -> float | str:
    if not column.nullable:
        raise CellError(f"expected {column.expectation}, got a missing value ({value!r}); the column is not nullable")
    return "" if column.is_string else math.nan


def _rejection(column: Column, value: object) -> CellError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return CellError(f"expected {column.expectation}, got {shown}; {column.training_summary}")


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
        number = number.removeprefix(affix).removesuffix(affix).strip()
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
        if not re.fullmatch(rf"[-+]?\d{{1,3}}(?:{separator}\d{{3}})+(?:{decimal}\d*)?", number):
            return text
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
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT_INTEGER:
        value = int(value)
    if not isinstance(value, str | int | float):
        raise _rejection(column, value)
    text = normalize(column, str(value))
    if "\x00" in text:
        raise CellError(f"expected {column.expectation} without NUL characters, got {value!r:.80}")
    return text


def _read_time(column: Column, value: object) -> float:
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, date):
        return _seconds(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if not isinstance(value, str):
        raise _rejection(column, value)
    text = value.strip()
    for date_format in column.date_formats:
        try:
            return _seconds(datetime.strptime(text, date_format))
        except ValueError:
            continue
    try:
        return _seconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise _rejection(column, value) from None


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
