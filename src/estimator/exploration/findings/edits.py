"""Texts of a column -> the config edit under which all of them are read as numbers, dates, codes or categories.

An edit is proposed only if the reader of the schema reads all texts with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from estimator.core.date_formats import rival_formats
from estimator.core.text import counted
from estimator.data.schema import NA_VALUES, Column
from estimator.data.schema.column import NA_WORDS
from estimator.data.schema.date_inference import formats_of
from estimator.data.schema.frames import read_series
from estimator.data.schema.text_parsing import strip_blanks
from estimator.data.schema.time_columns import parse_times
from estimator.exploration.findings.numerals import (
    CURRENCY_OF,
    Numeral,
    accounting_negative,
    currencies_of,
    number_signs,
    parse_numeral,
    with_scale,
)
from estimator.exploration.findings.units import convertible, is_known, named_unit

YEAR, SHORT_YEAR = re.compile(r"1[89]\d\d|20\d\d"), re.compile(r"['’]\d\d")
CODE = re.compile(r"(\d{5,})(?:-\d+|\.0)?")
NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
MAX_AFFIXES = 6
MAX_SPELLINGS = 200
MIN_COUNT = 20
DAY_MICROSECONDS = 86_400_000_000
DOTTED_DAY = "%d.%m."


def number_edit(name: str, counts: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the edit that reads every text as its number, or None; `counts` are the number of rows of each text.

    Known units are converted to the unit of the numbers without one, whose values must be of similar size. The edit is
    tried on every text, and each must become the number that `numerals` finds in it.
    """
    spellings = {text: NUMBER_WORDS[text.lower()] for text in counts if text.lower() in NUMBER_WORDS}
    years, ambiguous = _short_years(counts)
    spellings |= years
    numerals = _numerals([text for text in counts if text not in spellings and text not in ambiguous])
    signs = number_signs(list(numerals.values())) if numerals else None
    if not numerals or signs is None or len(spellings) > MAX_SPELLINGS:
        return None
    units = _factors(name, numerals, counts, signs)
    words = {word for numeral in numerals.values() for word in (numeral.before, numeral.after)}
    # The longest first: "month" is a part of "months".
    affixes = sorted(words - {"", *(units or {})}, key=lambda word: (-len(word), word))
    if units is None or len(affixes) > MAX_AFFIXES:
        return None
    settings: dict[str, Any] = {"strip": affixes, "units": units, "thousands": signs[0], "replace": spellings}
    changed = {key: value for key, value in settings.items() if value}
    changed |= {"decimal": signs[1]} if signs[1] != "." else {}
    trial = Column(name, "number", nullable=True, na_values=(*NA_VALUES, *NA_WORDS, *ambiguous), **changed)
    expected = {text: (numeral.value(*signs) or 0.0) for text, numeral in numerals.items()}
    expected = {text: _converted(number, numerals[text], units) for text, number in expected.items()}
    if not _reads(trial, {**expected, **{text: float(number) for text, number in spellings.items()}}, counts):
        return None
    na_values = {"na_values": [*dict.fromkeys((*NA_VALUES, *NA_WORDS)), *ambiguous]} if ambiguous else {}
    return _edit(name, {"kind": "number", **changed, **na_values})


def number_question(counts: Mapping[str, int]) -> str:
    """Return why the texts of a column of numbers cannot be read without a person's word."""
    spelled = {text for text in counts if text.lower() in NUMBER_WORDS}
    unread = [text for text in counts if text not in spelled and parse_numeral(text) is None]
    if unread:
        example = max(unread, key=lambda text: (counts[text], text))
        meant = accounting_negative(example)
        reading = f" (in accounting, {meant!r})" if meant else ""
        more = f", and {len(unread) - 1} more" if len(unread) > 1 else ""
        place = f"in {counted(counts[example], 'row')}"
        return f"what does {example!r:.60}{reading} mean, {place}{more}?"
    numerals = [numeral for text in counts if (numeral := parse_numeral(text)) is not None]
    if len({currency for numeral in numerals for currency in currencies_of(numeral)}) > 1:
        return "they are in several currencies"
    if number_signs(numerals) is None:
        return "does a comma or point separate thousands or decimals?"
    return "their units or signs do not go together"


def _numerals(texts: Sequence[str]) -> dict[str, Numeral]:
    """Return the number in each text; empty if one has none, or they are of several currencies."""
    numerals = {text: numeral for text in texts if (numeral := parse_numeral(text)) is not None}
    currencies = {currency for numeral in numerals.values() for currency in currencies_of(numeral)}
    return with_scale(numerals) if len(numerals) == len(texts) and len(currencies) <= 1 else {}


def _converted(number: float, numeral: Numeral, units: Mapping[str, float]) -> float:
    """Return a number in the unit of the column; a multiplier is a part of the number already."""
    return number if numeral.factor != 1.0 else number * units.get(numeral.after, 1.0)


def _reads(column: Column, expected: Mapping[str, float], counts: Mapping[str, int]) -> bool:
    """Whether the schema's reader makes of every text the expected number."""
    texts = list(counts)
    values, faults = read_series(column, pl.Series(texts, dtype=pl.String))
    if faults:
        return False
    wanted = np.array([expected.get(text, np.nan) for text in texts])
    return bool(np.allclose(values[:, 0], wanted, rtol=1e-9, atol=0.0, equal_nan=True))


def date_edit(name: str, texts: Sequence[str]) -> dict[str, Any] | None:
    """Return the edit that reads every text as a date or time, by as few formats as possible, or None.

    None also if day and month cannot be distinguished.
    """
    unread, formats, whole_days = strip_blanks(pl.Series(texts, dtype=pl.String)), [], True
    while len(unread):
        counts = Counter(form for text in unread.to_list() for form in formats_of(text))
        if not counts:
            return None
        read = {form: parse_times(unread, [form]) for form in counts}
        best = max(counts, key=lambda form: counts[form])
        if _is_ambiguous(read, best):
            return None
        formats.append(best)
        whole_days = whole_days and bool((read[best].to_physical() % DAY_MICROSECONDS == 0).all())
        unread = unread.filter(read[best].is_null())
    if rival_formats(formats) is not None:
        return None
    return _edit(name, {"kind": "date" if whole_days else "datetime", "date_formats": formats})


def code_edit(name: str, counts: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the edit that extracts the code from texts such as 98178, 98178-1234 and 98178.0, or None."""
    parts = [CODE.fullmatch(text) for text in counts]
    lengths = {len(part.group(1)) for part in parts if part}
    bare = sum(count for text, count in counts.items() if text.isdecimal())
    if len(lengths) != 1 or any(part is None for part in parts) or not 0.5 < bare / sum(counts.values()) < 1:
        return None
    return _edit(name, {"kind": "category", "pattern": rf"^(\d{{{lengths.pop()}}})(?:-\d+|\.0)?$"})


def category_edit(name: str, counts: Mapping[str, int]) -> tuple[dict[str, Any] | None, list[list[str]]]:
    """Return the edit that merges spelling variants of a category, and the variants: other case, blanks or a typo."""
    variants_of: dict[str, list[str]] = {}
    for text in counts:
        variants_of.setdefault(" ".join(text.split()).lower(), []).append(text)
    totals = {category: sum(counts[text] for text in texts) for category, texts in variants_of.items()}
    typos = _typos(totals)
    variants = [texts for texts in variants_of.values() if len(texts) > 1]
    variants += [[typo, intended] for typo, intended in typos.items()]
    if not variants:
        return None, []
    return _edit(name, {"kind": "category", "ignore_case": True, **({"replace": typos} if typos else {})}), variants


def _edit(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {f"schema.columns.{name}.{key}": value for key, value in settings.items()}


def _short_years(counts: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return the full year of texts such as '63, and the texts whose century is ambiguous."""
    years = [int(text) for text in counts if YEAR.fullmatch(text)]
    short = sorted(text for text in counts if SHORT_YEAR.fullmatch(text))
    if not short or 2 * len(years) < len(counts):
        return {}, []
    candidates = {
        text: [
            century + int(text[1:])
            for century in (1800, 1900, 2000)
            if min(years) <= century + int(text[1:]) <= max(years)
        ]
        for text in short
    }
    full = {text: str(options[0]) for text, options in candidates.items() if len(options) == 1}
    return full, [text for text in short if text not in full]


def _factors(
    name: str, numerals: Mapping[str, Numeral], counts: Mapping[str, int], signs: tuple[str, str]
) -> dict[str, float] | None:
    """Return the factor of each word after a number to the column's base unit; None if they do not go together."""
    multipliers = {numeral.after: numeral.factor for numeral in numerals.values() if numeral.factor != 1.0}
    rest = {text: numeral for text, numeral in numerals.items() if numeral.factor == 1.0}
    units = _units(name, rest, counts, signs) if rest else {}
    return None if units is None or (multipliers and units) else {**multipliers, **units}


def _units(
    name: str, numerals: Mapping[str, Numeral], counts: Mapping[str, int], signs: tuple[str, str]
) -> dict[str, float] | None:
    """Return the factor of each unit to the column's base unit; None if the units cannot be converted."""
    weights: Counter[str] = Counter()
    for text, numeral in numerals.items():
        weights[_unit(numeral)] += counts[text]
    named = [unit for unit in weights if unit]
    if len({unit.rstrip(".").lower() for unit in named}) <= 1 and ("" not in weights or not named):
        return {}
    sizes = {unit: _median(unit, numerals, counts, signs) for unit in weights}
    base = _base_unit(name, weights, sizes)
    if base is None:
        return None
    others = [unit for unit in named if unit != base]
    return convertible(base, others) if others else {}


def _unit(numeral: Numeral) -> str:
    """Return the unit of a number: what stands after it, unless that is its currency."""
    return "" if all(word in CURRENCY_OF for word in numeral.after.split()) else numeral.after


def _base_unit(name: str, weights: Mapping[str, int], sizes: Mapping[str, float]) -> str | None:
    """Return the unit of numbers without one: the unit in the column's name, or the one with values of similar size.

    The values may differ more for a suffix that is not a unit, such as "rooms" in "3 rooms".
    """
    if "" not in weights:
        return max(weights, key=lambda unit: weights[unit])
    if (unit := named_unit(name)) is not None:
        return unit
    similar = [
        unit
        for unit in weights
        if unit
        and min(weights[unit], weights[""]) >= MIN_COUNT
        and abs(np.log(sizes[unit] / max(sizes[""], 1e-300))) < (0.35 if is_known(unit) or unit == "%" else 0.9)
    ]
    return similar[0] if len(similar) == 1 else None


def _median(unit: str, numerals: Mapping[str, Numeral], counts: Mapping[str, int], signs: tuple[str, str]) -> float:
    """Return the median of the numbers with a unit, over rows."""
    of_unit = {text: numeral for text, numeral in numerals.items() if _unit(numeral) == unit}
    values = [numeral.value(*signs) or 0.0 for numeral in of_unit.values()]
    return float(np.median(np.repeat(values, [counts[text] for text in of_unit]))) if of_unit else float("nan")


def _is_ambiguous(read: Mapping[str, pl.Series], best: str) -> bool:
    """Whether another format reads as many texts, but as other days; with dots, the day comes before the month."""
    if best.startswith(DOTTED_DAY):
        return False
    times = read[best]
    rivals = [other for form, other in read.items() if form != best and other.null_count() == times.null_count()]
    return any(bool((other != times).any()) for other in rivals)


def _typos(totals: Mapping[str, int]) -> dict[str, str]:
    """Return rare category -> the common one it is a typo of; names with digits are left alone."""
    texts = [text for text in totals if len(text) >= 4 and not any(letter.isdecimal() for letter in text)]
    if len(texts) > MAX_SPELLINGS:
        return {}
    typos = {}
    for rare in texts:
        intended = [text for text in texts if totals[text] >= 5 * totals[rare] and _is_typo(rare, text)]
        if len(intended) == 1:
            typos[rare] = intended[0]
    return typos


def _is_typo(left: str, right: str) -> bool:
    """Whether a letter is doubled, not doubled, or swapped with its neighbor."""
    shorter, longer = sorted((left, right), key=len)
    if len(longer) - len(shorter) == 1:
        doubled = (index for index, (first, second) in enumerate(pairwise(longer)) if first == second)
        return any(longer[:index] + longer[index + 1 :] == shorter for index in doubled)
    swapped = (left[:index] + b + a + left[index + 2 :] for index, (a, b) in enumerate(pairwise(left)))
    return len(left) == len(right) and right in set(swapped)
