"""Texts of a column -> the config edit under which all of them are read as numbers, dates, codes or categories.

An edit is proposed only if the reader of the schema reads all texts with it.
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
from estimator.data.schema.date_inference import formats_of
from estimator.data.schema.frames import read_series
from estimator.data.schema.text_parsing import strip_blanks
from estimator.data.schema.time_columns import parse_times
from estimator.exploration.findings.units import convertible, is_known, named_unit

NUMBER_WITH_AFFIXES = re.compile(r"^([^\d+\-.,]*)([-+]?\d[\d.,' \u00a0\u202f]*?)([^\d.,' \u00a0\u202f]\D*[23]?)?$")
COMMA_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
POINT_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+(?:,\d+)?")
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
    """Return the edit that reads every text as a number, or None; `counts` are the number of rows of each text.

    Known units are converted to the unit of the numbers without one, whose values must be of similar size.
    """
    spellings = {text: NUMBER_WORDS[text.lower()] for text in counts if text.lower() in NUMBER_WORDS}
    years, ambiguous = _short_years(counts)
    spellings |= years
    parts = {
        text: NUMBER_WITH_AFFIXES.match(text) for text in counts if text not in spellings and text not in ambiguous
    }
    if not parts or any(part is None for part in parts.values()) or len(spellings) > MAX_SPELLINGS:
        return None
    numbers = {text: part.group(2).strip() for text, part in parts.items() if part}
    thousands, decimal = _signs(list(numbers.values()))
    before = {part.group(1).strip() for part in parts.values() if part}
    after = {text: (part.group(3) or "").strip() for text, part in parts.items() if part}
    units = _units(name, after, numbers, counts, (thousands, decimal))
    affixes = sorted(affix for affix in {*before, *after.values()} if affix and affix not in (units or {}))
    if units is None or len(affixes) > MAX_AFFIXES:
        return None
    settings: dict[str, Any] = {"strip": affixes, "units": units, "thousands": thousands, "replace": spellings}
    changed = {key: value for key, value in settings.items() if value}
    changed |= {"decimal": decimal} if decimal != "." else {}
    trial = Column(name, "number", nullable=True, na_values=(*NA_VALUES, *NA_WORDS, *ambiguous), **changed)
    if read_series(trial, pl.Series(list(counts), dtype=pl.String))[1]:
        return None
    na_values = {"na_values": [*dict.fromkeys((*NA_VALUES, *NA_WORDS)), *ambiguous]} if ambiguous else {}
    return _edit(name, {"kind": "number", **changed, **na_values})


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


def _signs(numbers: Collection[str]) -> tuple[str, str]:
    """Return the thousands separator and the decimal sign."""
    commas, points = ([number for number in numbers if sign in number] for sign in ",.")
    if commas and all(map(POINT_THOUSANDS.fullmatch, points)) and points:
        return ".", ","
    if commas and any(map(COMMA_THOUSANDS.fullmatch, commas)) and not _are_decimals(commas, numbers):
        return ",", "."
    if any(re.search(r"\d\s\d{3}", number) for number in numbers):
        return " ", "," if commas else "."
    return "", "," if commas else "."


def _are_decimals(commas: Sequence[str], numbers: Iterable[str]) -> bool:
    """Whether the comma must be a decimal sign for numbers with and without one to be of similar size."""
    rest = [float(number) for number in numbers if "," not in number and re.fullmatch(r"[-+]?\d+(\.\d+)?", number)]
    if not rest or all(map(COMMA_THOUSANDS.fullmatch, commas)):
        return False
    as_decimal = [float(comma.replace(",", ".")) for comma in commas if comma.count(",") == 1 and "." not in comma]
    return bool(as_decimal) and 0.5 < float(np.median(as_decimal)) / max(float(np.median(rest)), 1e-300) < 2.0


def _units(
    name: str, after: Mapping[str, str], numbers: Mapping[str, str], counts: Mapping[str, int], signs: tuple[str, str]
) -> dict[str, float] | None:
    """Return the factor of each unit to the column's base unit; None if the units cannot be converted."""
    weights = Counter(dict.fromkeys(after.values(), 0))
    for text, unit in after.items():
        weights[unit] += counts[text]
    named = [unit for unit in weights if any(letter.isalpha() for letter in unit)]
    if len({unit.rstrip(".").lower() for unit in named}) <= 1 and ("" not in weights or not named):
        return {}
    sizes = {unit: _median(unit, after, numbers, counts, signs) for unit in weights}
    base = _base_unit(name, weights, sizes)
    if base is None:
        return None
    others = [unit for unit in named if unit != base]
    return convertible(base, others) if others else {}


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
        and abs(np.log(sizes[unit] / max(sizes[""], 1e-300))) < (0.35 if is_known(unit) else 0.9)
    ]
    return similar[0] if len(similar) == 1 else None


def _median(
    unit: str, after: Mapping[str, str], numbers: Mapping[str, str], counts: Mapping[str, int], signs: tuple[str, str]
) -> float:
    column = Column("x", "number", nullable=True, thousands=signs[0], decimal=signs[1])
    texts = [text for text in after if after[text] == unit]
    values = read_series(column, pl.Series([numbers[text] for text in texts], dtype=pl.String))[0][:, 0]
    return float(np.nanmedian(np.repeat(values, [counts[text] for text in texts]))) if len(texts) else float("nan")


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
