"""Formats of dates and times: one table of directives, from which single values, columns and the model page are read.

A format is a text such as `%d/%m/%Y %H:%M`, in the letters of C's strptime. It becomes a regular expression that Python
and JavaScript understand alike, and a list of the parts that its groups hold. `moment_of` computes the moment from
the parts; it takes integers and arrays. No locale is asked: names are English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHORT_MONTHS = {name[:3]: number for number, name in enumerate(MONTHS, start=1)} | {"sept": 9}
# What each word stands for; the value of a weekday, and of a zone without an offset, is not used.
WORDS: Mapping[str, Mapping[str, int]] = {
    "B": {name: number for number, name in enumerate(MONTHS, start=1)},
    "b": SHORT_MONTHS,
    "A": dict.fromkeys(WEEKDAYS, 0),
    "a": dict.fromkeys((name[:3] for name in WEEKDAYS), 0),
    "p": {"am": 0, "pm": 1},
    "Z": dict.fromkeys(("utc", "gmt", "ut", "z"), 0),
}
DIGITS = {"Y": "4", "y": "2", "f": "1,9", **dict.fromkeys("mdHIMS", "1,2")}
EXACT_DIGITS = {**DIGITS, "f": "6", **dict.fromkeys("mdHIMS", "2")}
SHORTHANDS = {"T": "%H:%M:%S", "R": "%H:%M", "F": "%Y-%m-%d", "D": "%m/%d/%y", "e": "%d", "h": "%b"}
OFFSET = "[Zz]|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?"
# A zone's name next to an offset only repeats it.
ZONE_NAME = "[A-Za-z][A-Za-z0-9_/+ -]*"
# All that str.strip removes.
BLANKS = "".join(map(chr, (*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)))) + (
    "\u2028\u2029\u202f\u205f\u3000"
)
BLANK = f"[{BLANKS}]"
# Two-digit years from here on are of the 20th century, as POSIX has it.
PIVOT_YEAR = 69
DAY_SECONDS = 86_400
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
TOKEN = re.compile(rf"%([-_0^#]?.)|({BLANK}+)|(.)", re.DOTALL)
# What a part needs next to it, and what may be there only once.
NEEDS = {"d": "mbB", "M": "HI", "S": "M", "f": "S", "p": "I", "I": "p", "z": "HI", "Z": "HI"}
ALTERNATIVES = ("Yy", "mbB", "HI", "aA")


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """A format as a regular expression; `letters` are the directives that its groups hold."""

    text: str
    pattern: str
    letters: tuple[str, ...]
    regex: re.Pattern[str]

    def microseconds(self, text: str) -> int | None:
        """Return the microseconds since 1970 UTC of a text without outer blanks, or None if it has another format."""
        match = self.regex.fullmatch(text)
        if match is None:
            return None
        parts = {letter: group for letter, group in zip(self.letters, match.groups(), strict=True) if group is not None}
        values = {letter: _value(letter, part) for letter, part in parts.items()}
        days, seconds, is_valid = moment_of(values)
        return (days * DAY_SECONDS + seconds) * 1_000_000 + values.get("f", 0) if is_valid else None


@cache
def compile_format(text: str) -> TimeFormat:
    """Return a format by its text.

    >>> compile_format("%d/%m/%Y").microseconds("31/1/1970")
    2592000000000

    Raises
    ------
    ValueError: a directive is not supported, or the format does not determine a day; the message is a sentence.
    """
    tokens = TOKEN.findall(_expanded(text.strip(BLANKS)))
    letters = [letter for letter, _, _ in tokens if letter and letter != "%"]
    _check_letters(text, letters)
    patterns = []
    for index, (letter, blanks, literal) in enumerate(tokens):
        neighbors = (*tokens[max(index - 1, 0) : index], *tokens[index + 1 : index + 2])
        is_exact = any(other in DIGITS or char.isdecimal() for other, _, char in neighbors)
        if letter and letter != "%":
            patterns.append(f"({_pattern(letter, is_exact=is_exact, has_offset='z' in letters)})")
        else:
            patterns.append(f"{BLANK}+" if blanks else _any_case(letter or literal))
    pattern = "".join(patterns)
    return TimeFormat(text, pattern, tuple(letters), re.compile(pattern))


def read_time(text: str, date_formats: Sequence[str], *, with_iso: bool = True) -> float | None:
    """Return the seconds since 1970 UTC of a text by the first format that reads it, at last by ISO 8601; or None."""
    for date_format in (*map(compile_format, date_formats), *([ISO_8601] if with_iso else [])):
        microseconds = date_format.microseconds(text)
        if microseconds is not None:
            return microseconds // 1_000_000 + microseconds % 1_000_000 / 1e6
    return None


def moment_of(parts: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the days since 1970, the seconds to add in UTC, and whether there is such a moment, of integers or arrays.

    24:00 is the next midnight, as in ISO 8601. A leap second, 23:59:60 UTC, is the next second, as in POSIX.
    """
    year, month, day = _year(parts), parts.get("m", parts.get("b", parts.get("B", 1))), parts.get("d", 1)
    minute, second, offset = parts.get("M", 0), parts.get("S", 0), parts.get("z", 0)
    hour = parts["I"] % 12 + 12 * parts["p"] if "I" in parts else parts.get("H", 0)
    is_valid = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= _month_days(year, month))
    days, seconds = _days(year, month, day), hour * 3600 + minute * 60 + second - offset
    if "H" in parts or "I" in parts:
        is_valid &= (hour < 24) | ((hour == 24) & (minute + second + parts.get("f", 0) == 0))
        is_valid &= (minute < 60) & ((second < 60) | ((second == 60) & (seconds % DAY_SECONDS == 0)))
        is_valid &= offset != INVALID_OFFSET
        is_valid &= ((days > FIRST_DAY) | (seconds >= 0)) & ((days < LAST_DAY) | (seconds < DAY_SECONDS))
    if "I" in parts:
        is_valid &= (parts["I"] >= 1) & (parts["I"] <= 12)
    return days, seconds, is_valid


# No place on Earth is that far ahead.
INVALID_OFFSET = 10 * DAY_SECONDS


def offset_seconds(sign: Any, hours: Any, minutes: Any, seconds: Any) -> Any:
    """Return the seconds that a zone such as +02:00 is ahead, of integers or of arrays of them."""
    is_valid = (hours < 24) & (minutes < 60) & (seconds < 60)
    return is_valid * (sign * (hours * 3600 + minutes * 60 + seconds)) + (1 - is_valid) * INVALID_OFFSET


def are_rivals(one: str, other: str) -> bool:
    """Whether two formats differ only in the order of day, month and two-digit year.

    >>> are_rivals("%d/%m/%Y", "%m/%d/%Y"), are_rivals("%d.%m.%Y", "%m/%d/%Y")
    (True, False)
    """
    return one != other and _without_order(one) == _without_order(other)


def rival_formats(date_formats: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two formats of a list that read the same text as different days, or None."""
    pairs = ((one, other) for index, one in enumerate(date_formats) for other in date_formats[index + 1 :])
    return next((pair for pair in pairs if are_rivals(*pair)), None)


def refusal(text: str) -> str | None:
    """Return what a text is that is like a date and is not read, or None.

    >>> refusal("2020-W05-3")
    'a week date of ISO 8601: write it as year, month and day'
    """
    return next((sentence for pattern, sentence in REFUSALS.items() if re.fullmatch(pattern, text)), None)


REFUSALS = {
    r"[0-9]{4}-?[Ww][0-9]{2}(?:-?[0-9])?(?:[Tt ].*)?": "a week date of ISO 8601: write it as year, month and day",
    r"[0-9]{4}-[0-9]{3}(?:[Tt ].*)?": "an ordinal date of ISO 8601: write it as year, month and day",
    r"1900[-/.]0?1[-/.]00?(?:[Tt ].*)?|(?:0?1[/.-]00?|00?[/.-]0?1)[/.-](?:19)?00(?: .*)?": (
        "day 0 of Excel, which it shows for an empty cell: add it to na_values"
    ),
    r".*[0-9]:[0-9]{2}(?: ?[AaPp][Mm])? ?(?!UTC|GMT)(?:[A-Z]{3,5}|[A-Z][a-z]+/[A-Z][A-Za-z_]+)": (
        "a time with a zone whose name does not tell its offset: write the offset, such as +01:00"
    ),
}


def _year(parts: Mapping[str, Any]) -> Any:
    if "Y" in parts:
        return parts["Y"]
    return parts["y"] + 2000 - 100 * (parts["y"] >= PIVOT_YEAR)


def _days(year: Any, month: Any, day: Any) -> Any:
    """Return the days since 1970, by Hinnant's algorithm: years begin in March, an era is 400 years."""
    is_early = 1 * (month <= 2)
    march_year = year - is_early
    era = march_year // 400
    year_of_era = march_year - era * 400
    day_of_year = (153 * (month + 12 * is_early - 3) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def _month_days(year: Any, month: Any) -> Any:
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return 30 + (month + month // 8) % 2 - (month == 2) * (2 - is_leap)


def _value(letter: str, part: str) -> int:
    if letter == "z":
        # Z, UTC or GMT.
        if part[0] not in "+-":
            return 0
        digits = f"{part[1:].replace(':', '')}0000"
        return int(offset_seconds(1 if part[0] == "+" else -1, int(digits[:2]), int(digits[2:4]), int(digits[4:6])))
    if letter == "f":
        return int(part[:6].ljust(6, "0"))
    # The name of a zone, and of a weekday, is not used.
    return WORDS[letter].get(part.lower(), 0) if letter in WORDS else int(part)


def _expanded(text: str) -> str:
    return re.sub(r"%([TRFDeh])", lambda match: SHORTHANDS[match.group(1)], re.sub(r"%-([dmHIyeMS])", r"%\1", text))


def _pattern(letter: str, *, is_exact: bool, has_offset: bool) -> str:
    if letter in DIGITS:
        return f"[0-9]{{{(EXACT_DIGITS if is_exact else DIGITS)[letter]}}}"
    if letter == "z":
        return OFFSET
    if letter == "Z" and has_offset:
        return ZONE_NAME
    return "|".join(_any_case(word) for word in sorted(WORDS[letter], key=len, reverse=True))


def _any_case(text: str) -> str:
    """Return a pattern of a text in any case of its English letters."""
    letters = (f"[{char.upper()}{char.lower()}]" if re.match("[a-zA-Z]", char) else re.escape(char) for char in text)
    return "".join(letters)


def _without_order(text: str) -> str:
    return re.sub("%[dmy]", "%d", _expanded(text))


def _check_letters(text: str, letters: Sequence[str]) -> None:
    """Raise a ValueError unless the directives are known, complete, and no part of a date is there twice."""
    known = "".join(DIGITS) + "".join(WORDS) + "z"
    for letter in letters:
        if letter not in known:
            raise ValueError(
                f"{text!r}: %{letter} is not supported; the directives are {' '.join(f'%{item}' for item in known)}"
            )
    for group in (*ALTERNATIVES, *known):
        doubled = [letter for letter in letters if letter in group]
        if len(doubled) > 1:
            raise ValueError(f"{text!r}: expected one of {' and '.join(f'%{item}' for item in doubled)}, not both")
    for letter, needed in NEEDS.items():
        if letter in letters and not set(needed) & set(letters):
            raise ValueError(f"{text!r}: %{letter} needs {' or '.join(f'%{item}' for item in needed)} next to it")
    if "%" in TOKEN.sub(lambda match: match.group(3) or "", text):
        raise ValueError(f"{text!r}: expected a letter after its last %; a percent sign is written %%")
    if not {"Y", "y"} & set(letters):
        raise ValueError(f"{text!r}: expected a year, %Y or %y")


_CLOCK = "([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
_ZONE = f"(?:{BLANK}?({OFFSET}|UTC|GMT)(?:{BLANK}[A-Za-z]+|\\[{ZONE_NAME}\\])?)?"
_DAY = "([0-9]{4})(?:-([0-9]{2})-([0-9]{2})|([0-9]{2})([0-9]{2}))"
_ISO_PATTERN = f"{_DAY}(?:(?:[Tt]|{BLANK}){_CLOCK}{_ZONE})?"
# Every usual form of ISO 8601, which each time column reads besides its own formats.
ISO_8601 = TimeFormat("ISO 8601", _ISO_PATTERN, tuple("YmdmdHMSfz"), re.compile(_ISO_PATTERN))
