"""One value -> what the graph takes: the only place where it is decided what a column accepts.

Numbers, booleans and times become a double (a gap is NaN, a time is seconds since 1970-01-01 UTC),
categories and texts become a string (a gap is ""). Whatever a fast path elsewhere cannot read is asked for here, so
that a file, a request and a training table get the same verdict and the same sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np

from estimator.data.schema.column import FALSE_WORDS, TRUE_WORDS, WORD_KINDS, Column

LARGEST_EXACT_INTEGER = 2**53 - 1
BLANK_BETWEEN_THOUSANDS = re.compile(r"(?<=\d)\s(?=\d{3}(?!\d))")
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
    if isinstance(value, str) and not column.is_text:
        value = as_meant(column, value)
    found = _READERS[column.kind](column, value)
    if isinstance(found, float) and column.limits is not None:
        low, high = column.limits
        if (low is not None and found < low) or (high is not None and found > high):
            raise _refusal(column, value)
    if column.has_known_levels and found not in column.levels and isinstance(found, str):
        raise _refusal(column, value)
    return found


def as_meant(column: Column, text: str) -> str:
    """Return what a text means that is no gap: without what does not count, and in its usual spelling."""
    if column.pattern is not None and (match := re.match(column.pattern, text.strip())):
        text = match.group(1) if match.groups() else match.group()
    if column.fold:
        text = " ".join(text.split()).lower()
    return column.spellings.get(text.strip(), text) if column.spellings else text


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
    word, factor = _bare_number(column, value) if isinstance(value, str) else (value, 1.0)
    if isinstance(word, str) and (not word.isascii() or "_" in word):
        raise _refusal(column, value)
    try:
        found = float(word)
    except (ValueError, OverflowError):
        raise _refusal(column, value) from None
    if not math.isfinite(found):
        raise _refusal(column, value)
    return found * factor if factor != 1.0 else found


def _bare_number(column: Column, text: str) -> tuple[str, float]:
    """Return a number's text without what its column lets surround and part it, and the factor of its unit."""
    word, factor = text.strip(), 1.0
    for affix in column.affixes:
        word = word.removeprefix(affix).removesuffix(affix).strip()
    for unit, size in column.units.items():
        if word.endswith(unit):
            word, factor = word.removesuffix(unit).strip(), size
            break
    return _without_thousands(column, word, text), factor


def _without_thousands(column: Column, word: str, text: str) -> str:
    if column.thousands:
        # Blanks of any width part thousands as well as the column's own mark.
        word = BLANK_BETWEEN_THOUSANDS.sub(column.thousands, word)
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


def _words(column: Column, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT_INTEGER:
        value = int(value)
    if not isinstance(value, str | int | float):
        raise _refusal(column, value)
    found = as_meant(column, str(value))
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
    **dict.fromkeys(WORD_KINDS, _words),
    "date": _time,
    "datetime": _time,
}
