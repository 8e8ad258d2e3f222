"""How values are written: gaps, sentinels, variants of a level, numbers, dates and codes held as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import polars as pl

from estimator.core.text import join_names
from estimator.data.schema import Column
from estimator.data.schema.column import NA_WORDS, NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.inference import NUMBER_AS_TEXT
from estimator.data.schema.text_parsing import strip_blanks
from estimator.exploration.findings.cleaning import NUMBER_WORDS, code_edit, date_edit, level_edit, number_edit
from estimator.exploration.findings.finding import Finding, Found, Seen, Severity

SENTINELS = (-999.0, -9999.0, -99.0, 999.0, 9999.0, 99999.0, 999999.0, -1.0)
SENTINEL_DAYS = ("1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01", "2099-12-31", "9999-12-31")
FEW_LEVELS = 20
YEAR = 365.25 * 86_400
DATE_AS_TEXT = re.compile(
    r"^\s*(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-](?:\d{1,2}|[A-Za-z]{3})[./-]\d{2,4}"
    r"|\d{8}T\d{6}|[A-Z][a-z]+ \d{1,2}, \d{4}|\d{1,2} [A-Z][a-z]+ \d{4})"
)


def sentinels(seen: Seen) -> Found:
    """Numbers that stand for a gap: far from all others, at the end, and there often."""
    for column in seen.features:
        if column.kind not in NUMERIC_KINDS or column.distinct < 5:
            continue
        values = np.sort(seen.numbers(column.name))
        for end, others in ((values[-1:], values < values[-1:]), (values[:1], values > values[:1])):
            if len(end) == 0 or float(end[0]) not in SENTINELS or not others.any():
                continue
            rest, count = values[others], int((~others).sum())
            distance = np.abs(rest - end[0]).min()
            if count >= 3 and distance > max(np.ptp(rest), 1e-9):
                word = f"{end[0]:g}"
                others_are = f"far from all else ({rest.min():g} to {rest.max():g})"
                told = f"{column.name} is {word} in {count:,} rows, {others_are}: a gap?"
                edit = {f"schema.columns.{column.name}.na_values": _gaps_with(seen.schema.by_name[column.name], [word])}
                yield Finding("sentinel", "medium", (column.name,), told, {"value": float(end[0]), "rows": count}, edit)


def sentinel_days(seen: Seen) -> Found:
    """Days that stand for a gap: the first or last a program knows, years away from all others."""
    for column in seen.schema.features:
        if column.kind not in TIME_KINDS:
            continue
        moments = seen.values(column.name)
        for day in SENTINEL_DAYS:
            at = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
            here, rest = moments == at, moments[(moments != at) & ~np.isnan(moments)]
            if here.sum() < 3 or len(rest) == 0 or np.abs(rest - at).min() < 2 * YEAR:
                continue
            spelled = sorted(set(seen.rows[column.name].cast(pl.String).filter(pl.Series(here)).to_list()))
            told = f"{column.name} is {day} in {int(here.sum()):,} rows, years away from all else: a gap?"
            edit = {f"schema.columns.{column.name}.na_values": _gaps_with(column, spelled)}
            yield Finding("sentinel", "medium", (column.name,), told, {"rows": int(here.sum())}, edit)


def spellings(seen: Seen) -> Found:
    """Gaps with several spellings, and levels that differ only by case, blanks or a slip."""
    for column in seen.schema.columns:
        words = list(column.na_values)
        further = sorted(set(column.categories) & set(NA_WORDS))
        if further:
            told = f"{column.name} has the level {join_names(map(repr, further))}, which may be a gap"
            edit = {f"schema.columns.{column.name}.na_values": _gaps_with(column, further)}
            yield Finding("gap spellings", "low", (column.name,), told, {"spellings": [*words, *further]}, edit)
        elif len(words) > 1:
            told = (
                f"{column.name} spells a gap in {len(words)} ways: {join_names(map(repr, words))}; all are read as one"
            )
            yield Finding("gap spellings", "note", (column.name,), told, {"spellings": words})
        counts = {level: count for level, count in column.categories.items() if level not in NA_WORDS}
        edit_or_none, variants = level_edit(column.name, counts) if not column.ignore_case else (None, [])
        if variants and edit_or_none is not None:
            told = f"{column.name} writes a level in several ways: {join_names(map(repr, variants[0]))}"
            told += f", and {len(variants) - 1} more" if len(variants) > 1 else ""
            evidence = {"levels": variants[:10]}
            yield Finding("level spellings", "medium", (column.name,), told, evidence, edit_or_none)
        untidy = [level for level in counts if level != " ".join(level.split())]
        if untidy and not variants and not column.ignore_case:
            told = f"{column.name} has levels with double or outer blanks, such as {untidy[0]!r}"
            tidy = {f"schema.columns.{column.name}.kind": "category", f"schema.columns.{column.name}.ignore_case": True}
            yield Finding("level spellings", "low", (column.name,), told, {"levels": untidy[:10]}, tidy)


def texts(seen: Seen) -> Found:
    """Numbers, dates and codes that are held as text; a target that is one would be taken for levels."""
    for column in (seen.schema.target, *seen.schema.columns):
        if column.kind not in ("category", "text", "identifier") or seen.rows[column.name].dtype != pl.String:
            continue
        counts = _word_counts(column, seen.rows[column.name])
        if len(counts) < 5 or all(word.isdecimal() for word in counts) or column.pattern is not None:
            continue
        total = sum(counts.values())
        shares = {what: sum(counts[word] for word in counts if is_so(word)) / total for what, is_so in LOOKS.items()}
        shown = join_names(map(repr, list(counts)[:3]))
        if shares["date"] >= 0.9:
            edit = date_edit(column.name, list(counts))
            told = f"{column.name} holds dates in several forms, such as {shown}"
            yield Finding("mixed dates", "medium", (column.name,), told, {"share": round(shares["date"], 3)}, edit)
        elif (edit := code_edit(column.name, counts)) is not None:
            told = f"{column.name} writes a code in several ways, such as {shown}"
            yield Finding("code spellings", "medium", (column.name,), told, {}, edit)
        elif shares["number"] >= 0.9 and not shares["code"] and shares["house number"] < 0.01:
            told = f"{column.name} holds numbers as text, such as {shown}"
            severity: Severity = "high" if column is seen.schema.target else "medium"
            edit = number_edit(column.name, counts)
            if edit is None and len(counts) <= FEW_LEVELS:
                continue
            yield Finding("number as text", severity, (column.name,), told, {"share": round(shares["number"], 3)}, edit)


LOOKS: Mapping[str, Callable[[str], bool]] = {
    "date": lambda word: DATE_AS_TEXT.match(word) is not None,
    "number": lambda word: NUMBER_AS_TEXT.match(word) is not None or word.lower() in NUMBER_WORDS,
    "house number": lambda word: re.fullmatch(r"\d+ ?[A-Za-z]", word) is not None,
    "code": lambda word: re.fullmatch(r"0\d+", word) is not None,
}


def _word_counts(column: Column, series: pl.Series) -> Mapping[str, int]:
    """Return word -> count, longest words first, without what spells a gap."""
    counts = strip_blanks(series.drop_nulls()).value_counts(name="count")
    solid = counts.filter(~counts[series.name].is_in(["", *column.na_values, *NA_WORDS]))
    return dict(solid.sort(pl.col(series.name).str.len_chars(), series.name, descending=[True, False]).iter_rows())


def _gaps_with(column: Column, words: list[str]) -> list[str]:
    """Return a column's spellings of a gap with some more."""
    return list(dict.fromkeys([*column.na_values, *words]))
