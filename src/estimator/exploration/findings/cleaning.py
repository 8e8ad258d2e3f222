"""Words of a column -> the config edit under which all of them are read as what they mean, when there is one.

An edit is proposed only after it has been tried on the words with the reader that will obey it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from estimator.data.schema import NA_VALUES, Column
from estimator.data.schema.column import NA_WORDS
from estimator.data.schema.date_formats import DATE_FORMATS, DATETIME_FORMATS
from estimator.data.schema.frames import read_series
from estimator.data.schema.text_parsing import parse_times, strip_blanks
from estimator.exploration.findings.units import convertible, is_known, named_unit

WRITTEN = re.compile(r"^([^\d+\-.,]*)([-+]?\d[\d.,' \u00a0\u202f]*?)([^\d.,' \u00a0\u202f]\D*[23]?)?$")
COMMA_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
POINT_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+(?:,\d+)?")
YEAR, SHORT_YEAR = re.compile(r"1[89]\d\d|20\d\d"), re.compile(r"['’]\d\d")
CODE = re.compile(r"(\d{5,})(?:-\d+|\.0)?")
MORE_FORMATS = ("%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d")
NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
MOST_AFFIXES = 6
MOST_SPELLINGS = 200
ENOUGH = 20
DAY = 86_400_000_000


def number_edit(name: str, counts: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the edit that reads every word as a number, given each word's count, or None.

    Units that are known are converted to that of the bare numbers, which must then be of the same size.
    """
    spellings = {word: NUMBER_WORDS[word.lower()] for word in counts if word.lower() in NUMBER_WORDS}
    years, unclear = _short_years(counts)
    spellings |= years
    parts = {word: WRITTEN.match(word) for word in counts if word not in spellings and word not in unclear}
    if not parts or any(part is None for part in parts.values()) or len(spellings) > MOST_SPELLINGS:
        return None
    numbers = {word: part.group(2).strip() for word, part in parts.items() if part}
    thousands, decimal = _signs(list(numbers.values()))
    before = {part.group(1).strip() for part in parts.values() if part}
    after = {word: (part.group(3) or "").strip() for word, part in parts.items() if part}
    units = _units(name, after, numbers, counts, (thousands, decimal))
    affixes = sorted(affix for affix in {*before, *after.values()} if affix and affix not in (units or {}))
    if units is None or len(affixes) > MOST_AFFIXES:
        return None
    choices: dict[str, Any] = {"strip": affixes, "units": units, "thousands": thousands, "replace": spellings}
    found = {key: value for key, value in choices.items() if value} | ({"decimal": decimal} if decimal != "." else {})
    trial = Column(name, "number", nullable=True, na_values=(*NA_VALUES, *NA_WORDS, *unclear), **found)
    if read_series(trial, pl.Series(list(counts), dtype=pl.String))[1]:
        return None
    gaps = {"na_values": [*dict.fromkeys((*NA_VALUES, *NA_WORDS)), *unclear]} if unclear else {}
    return _edit(name, {"kind": "number", **found, **gaps})


def date_edit(name: str, words: Sequence[str]) -> dict[str, Any] | None:
    """Return the edit that reads every word as a date or time, by as few formats as it takes, or None.

    None, too, when it cannot be told which number is the day and which the month.
    """
    left, formats, whole_days = strip_blanks(pl.Series(words, dtype=pl.String)), [], True
    while len(left):
        read = {form: _moments(left, form) for form in (*DATE_FORMATS, *MORE_FORMATS, *DATETIME_FORMATS)}
        best = max(read, key=lambda form: len(left) - read[form].null_count())
        if read[best].null_count() == len(left) or _is_ambiguous(read, best):
            return None
        formats.append(best)
        whole_days = whole_days and bool((read[best].to_physical() % DAY == 0).all())
        left = left.filter(read[best].is_null())
    return _edit(name, {"kind": "date" if whole_days else "datetime", "date_formats": formats})


def code_edit(name: str, counts: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the edit that keeps the code of words such as 98178, 98178-1234 and 98178.0, or None."""
    parts = [CODE.fullmatch(word) for word in counts]
    lengths = {len(part.group(1)) for part in parts if part}
    bare = sum(count for word, count in counts.items() if word.isdecimal())
    if len(lengths) != 1 or any(part is None for part in parts) or not 0.5 < bare / sum(counts.values()) < 1:
        return None
    return _edit(name, {"kind": "category", "pattern": rf"^(\d{{{lengths.pop()}}})(?:-\d+|\.0)?$"})


def level_edit(name: str, counts: Mapping[str, int]) -> tuple[dict[str, Any] | None, list[list[str]]]:
    """Return the edit that makes variants of a level one, and the variants; they differ by case, blanks or a slip."""
    folded: dict[str, list[str]] = {}
    for word in counts:
        folded.setdefault(" ".join(word.split()).lower(), []).append(word)
    totals = {level: sum(counts[word] for word in words) for level, words in folded.items()}
    slips = _slips(totals)
    variants = [words for words in folded.values() if len(words) > 1] + [[slip, meant] for slip, meant in slips.items()]
    if not variants:
        return None, []
    return _edit(name, {"kind": "category", "ignore_case": True, **({"replace": slips} if slips else {})}), variants


def _edit(name: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    return {f"schema.columns.{name}.{key}": value for key, value in choices.items()}


def _short_years(counts: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return years such as '63 with what they mean, and those that may be of either century."""
    years = [int(word) for word in counts if YEAR.fullmatch(word)]
    short = sorted(word for word in counts if SHORT_YEAR.fullmatch(word))
    if not short or 2 * len(years) < len(counts):
        return {}, []
    meant = {
        word: [
            century + int(word[1:])
            for century in (1800, 1900, 2000)
            if min(years) <= century + int(word[1:]) <= max(years)
        ]
        for word in short
    }
    return {word: str(found[0]) for word, found in meant.items() if len(found) == 1}, [
        word for word, found in meant.items() if len(found) != 1
    ]


def _signs(numbers: Collection[str]) -> tuple[str, str]:
    """Return the mark of thousands and the decimal sign."""
    commas, points = ([number for number in numbers if sign in number] for sign in ",.")
    if commas and all(map(POINT_THOUSANDS.fullmatch, points)) and points:
        return ".", ","
    if commas and any(map(COMMA_THOUSANDS.fullmatch, commas)) and not _are_decimals(commas, numbers):
        return ",", "."
    if any(re.search(r"\d\s\d{3}", number) for number in numbers):
        return " ", "," if commas else "."
    return "", "," if commas else "."


def _are_decimals(commas: Sequence[str], numbers: Iterable[str]) -> bool:
    """Whether numbers with a comma are as large as those without one only when it is a decimal sign."""
    rest = [float(number) for number in numbers if "," not in number and re.fullmatch(r"[-+]?\d+(\.\d+)?", number)]
    if not rest or all(map(COMMA_THOUSANDS.fullmatch, commas)):
        return False
    as_decimal = [float(comma.replace(",", ".")) for comma in commas if comma.count(",") == 1 and "." not in comma]
    return bool(as_decimal) and 0.5 < float(np.median(as_decimal)) / max(float(np.median(rest)), 1e-300) < 2.0


def _units(
    name: str, after: Mapping[str, str], numbers: Mapping[str, str], counts: Mapping[str, int], signs: tuple[str, str]
) -> dict[str, float] | None:
    """Return the factor of every unit that is not the column's own; None when they cannot be brought together."""
    weights = Counter(dict.fromkeys(after.values(), 0))
    for word, unit in after.items():
        weights[unit] += counts[word]
    named = [unit for unit in weights if any(letter.isalpha() for letter in unit)]
    if len({unit.rstrip(".").lower() for unit in named}) <= 1 and ("" not in weights or not named):
        return {}
    sizes = {unit: _median(unit, after, numbers, counts, signs) for unit in weights}
    own = _own_unit(name, weights, sizes)
    if own is None:
        return None
    others = [unit for unit in named if unit != own]
    return convertible(own, others) if others else {}


def _own_unit(name: str, weights: Mapping[str, int], sizes: Mapping[str, float]) -> str | None:
    """Return the unit of the bare numbers: the one the column is named after, or whose numbers are as large.

    A word that is no known unit, such as the rooms of "3 rooms", may differ more: it adds nothing to the number.
    """
    if "" not in weights:
        return max(weights, key=lambda unit: weights[unit])
    if (unit := named_unit(name)) is not None:
        return unit
    alike = [
        unit
        for unit in weights
        if unit
        and min(weights[unit], weights[""]) >= ENOUGH
        and abs(np.log(sizes[unit] / max(sizes[""], 1e-300))) < (0.35 if is_known(unit) else 0.9)
    ]
    return alike[0] if len(alike) == 1 else None


def _median(
    unit: str, after: Mapping[str, str], numbers: Mapping[str, str], counts: Mapping[str, int], signs: tuple[str, str]
) -> float:
    column = Column("x", "number", nullable=True, thousands=signs[0], decimal=signs[1])
    words = [word for word in after if after[word] == unit]
    values = read_series(column, pl.Series([numbers[word] for word in words], dtype=pl.String))[0][:, 0]
    return float(np.nanmedian(np.repeat(values, [counts[word] for word in words]))) if len(words) else float("nan")


def _moments(words: pl.Series, form: str) -> pl.Series:
    """Return words as moments, null where the format does not read them; the year 15 is a year of two digits."""
    moments = parse_times(words, form, time_zone="UTC")
    return moments.set((moments.dt.year() < 1000).fill_null(False), None)


def _is_ambiguous(read: Mapping[str, pl.Series], best: str) -> bool:
    """Whether another format reads as many words, but as other days."""
    found = read[best]
    rivals = [other for form, other in read.items() if form != best and other.null_count() == found.null_count()]
    return any(bool((other != found).any()) for other in rivals)


def _slips(totals: Mapping[str, int]) -> dict[str, str]:
    """Return rare levels that are one letter away from a common one; names with numbers in them are left alone."""
    words = [level for level in totals if len(level) >= 4 and not any(letter.isdecimal() for letter in level)]
    if len(words) > MOST_SPELLINGS:
        return {}
    found = {}
    for rare in words:
        meant = [word for word in words if totals[word] >= 5 * totals[rare] and _is_slip(rare, word)]
        if len(meant) == 1:
            found[rare] = meant[0]
    return found


def _is_slip(left: str, right: str) -> bool:
    """Whether a letter was doubled, not doubled, or swapped with its neighbour: slips of the hand, not other words."""
    shorter, longer = sorted((left, right), key=len)
    if len(longer) - len(shorter) == 1:
        doubled = (place for place, (first, second) in enumerate(pairwise(longer)) if first == second)
        return any(longer[:place] + longer[place + 1 :] == shorter for place in doubled)
    swapped = (left[:place] + b + a + left[place + 2 :] for place, (a, b) in enumerate(pairwise(left)))
    return len(left) == len(right) and right in set(swapped)
