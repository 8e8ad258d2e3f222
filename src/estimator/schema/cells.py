"""One value -> what the graph takes: the only place where it is decided what a column accepts.

Numbers, booleans and times become a double (a gap is NaN, a time is seconds since 1970-01-01 UTC),
categories become a string (a gap is ""). Whatever a fast path elsewhere cannot read is asked for here, so
that a file, a request and a training table get the same verdict and the same sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np

from estimator.schema.column import FALSE_WORDS, TRUE_WORDS, Column

LARGEST_EXACT_INTEGER = 2**53 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CellError(ValueError):
    """The value does not fit; the text says what was expected and what was found."""


def read_cell(column: Column, value: object) -> float | str:
    """Return the value as the graph takes it.

    Raises
    ------
    CellError: the value breaks the column's contract.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if _is_gap(column, value):
        return _gap(column, value)
    found = _READERS[column.kind](column, value)
    if isinstance(found, float) and column.limits is not None:
        low, high = column.limits
        if (low is not None and found < low) or (high is not None and found > high):
            raise _refusal(column, value)
    if isinstance(found, str) and found not in column.levels and column.unseen == "error":
        raise _refusal(column, value)
    return found


def _is_gap(column: Column, value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if not isinstance(value, str):
        return False
    word = value.strip()
    return word == "" or (word in column.gaps)


def _gap(column: Column, value: object) -> float | str:
    if not column.gaps:
        raise CellError(f"expected {column.wish}, got a gap ({value!r}); gaps are refused in this column")
    return "" if column.is_text else math.nan


def _refusal(column: Column, value: object) -> CellError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return CellError(f"expected {column.wish}, got {shown}; {column.saw}")


def _number(column: Column, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _refusal(column, value)
    word = _bare_number(column, value) if isinstance(value, str) else value
    if isinstance(word, str) and (not word.isascii() or "_" in word):
        raise _refusal(column, value)
    try:
        found = float(word)
    except (ValueError, OverflowError):
        raise _refusal(column, value) from None
    if not math.isfinite(found):
        raise _refusal(column, value)
    return found


def _bare_number(column: Column, text: str) -> str:
    """Return a number's text without the affixes, the marks of thousands and the decimal sign of its column."""
    word = text.strip()
    for affix in column.affixes:
        word = word.removeprefix(affix).removesuffix(affix).strip()
    if column.thousands and column.thousands in word:
        # Where a comma parts thousands, "12,5" is no 125.
        mark, decimal = re.escape(column.thousands), re.escape(column.decimal)
        if not re.fullmatch(rf"[-+]?\d{{1,3}}(?:{mark}\d{{3}})+(?:{decimal}\d*)?", word):
            return text
        word = word.replace(column.thousands, "")
    return word if column.decimal == "." else word.replace(column.decimal, ".")


def _integer(column: Column, value: object) -> float:
    found = _number(column, value)
    if found != math.floor(found) or abs(found) > LARGEST_EXACT_INTEGER:
        raise _refusal(column, value)
    return found


def _boolean(column: Column, value: object) -> float:
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    if word in TRUE_WORDS:
        return 1.0
    if word in FALSE_WORDS:
        return 0.0
    raise _refusal(column, value)


def _category(column: Column, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT_INTEGER:
        value = int(value)
    if not isinstance(value, str | int | float):
        raise _refusal(column, value)
    found = str(value)
    if "\x00" in found:
        raise CellError(f"expected {column.wish} without NUL characters, got {value!r:.80}")
    return found


def _time(column: Column, value: object) -> float:
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, date):
        return _seconds(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if not isinstance(value, str):
        raise _refusal(column, value)
    word = value.strip()
    for form in column.formats:
        try:
            return _seconds(datetime.strptime(word, form))
        except ValueError:
            continue
    try:
        return _seconds(datetime.fromisoformat(word))
    except (ValueError, OverflowError):
        raise _refusal(column, value) from None


def _seconds(moment: datetime) -> float:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH).total_seconds()


_READERS: dict[str, Callable[[Column, object], float | str]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "category": _category,
    "date": _time,
    "datetime": _time,
}
