"""Numbers held as text -> how they are written, when one way reads all of them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import polars as pl

from estimator.schema import Column
from estimator.schema.frames import read_series

WRITTEN = re.compile(r"^([^\d+\-.,]*)([-+]?\d[\d.,' \u00a0]*?)([^\d.,' \u00a0][^\d]*)?$")
COMMA_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
POINT_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+(?:,\d+)?")
COMMA_DECIMAL = re.compile(r"[-+]?\d+,\d{1,2}")
MOST_AFFIXES = 6


def number_edit(column: Column, words: pl.Series) -> dict[str, Any] | None:
    """Return the config edit under which every word reads as a number, or None when there is no such way.

    Two units ("sq ft" and "m") in one column are no such way: the numbers do not mean the same.
    """
    parts = [WRITTEN.match(word) for word in words.to_list()]
    if not parts or any(part is None for part in parts):
        return None
    before = Counter(part.group(1).strip() for part in parts if part)
    after = Counter((part.group(3) or "").strip() for part in parts if part)
    units = {unit.rstrip(".").lower() for unit in after if any(letter.isalpha() for letter in unit)}
    affixes = [affix for affix in {**before, **after} if affix]
    if len(units) > 1 or (units and "" in after) or len(affixes) > MOST_AFFIXES:
        return None
    numbers = [part.group(2).strip() for part in parts if part]
    thousands, decimal = _signs(numbers)
    trial = Column(column.name, "number", gaps=("",), affixes=tuple(affixes), thousands=thousands, decimal=decimal)
    if read_series(trial, words)[1]:
        return None
    place = f"schema.columns.{column.name}"
    edit: dict[str, Any] = {f"{place}.kind": "number", f"{place}.affixes": affixes}
    edit |= {f"{place}.thousands": thousands} if thousands else {}
    return edit | ({f"{place}.decimal": decimal} if decimal != "." else {})


def _signs(numbers: list[str]) -> tuple[str, str]:
    """Return the mark of thousands and the decimal sign."""
    if any(COMMA_THOUSANDS.fullmatch(number) for number in numbers):
        return ",", "."
    commas = sum("," in number for number in numbers)
    if commas and any(POINT_THOUSANDS.fullmatch(number) for number in numbers):
        return ".", ","
    return "", "," if commas and any(COMMA_DECIMAL.fullmatch(number) for number in numbers) else "."
