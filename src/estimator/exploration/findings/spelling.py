"""How values are spelled: missing values, sentinels, variants of a category, and numbers or dates stored as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from estimator.core.text import counted, join_names
from estimator.data.schema import NA_VALUES, Column
from estimator.data.schema.column import NA_WORDS, NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.inference import NUMBER_AS_TEXT
from estimator.data.schema.notes import boolean_synonyms, unicode_twins
from estimator.data.schema.points import thousands_edit
from estimator.data.schema.text_parsing import strip_blanks
from estimator.exploration.findings.edits import (
    NUMBER_WORDS,
    category_edit,
    code_edit,
    date_edit,
    number_edit,
    number_question,
)
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, Severity
from estimator.exploration.findings.numerals import accounting_negative, parse_numeral

MAX_AFFIX_LENGTH = 4
SENTINELS = (-999.0, -9999.0, -99.0, 999.0, 9999.0, 99999.0, 999999.0, -1.0)
# The first or last day of Excel, SQL Server, Unix and others.
PLACEHOLDER_DATES = ("1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01", "2099-12-31", "9999-12-31")
FEW_CATEGORIES = 20
YEAR_SECONDS = 365.25 * 86_400
DATE_AS_TEXT = re.compile(
    r"^\s*(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-](?:\d{1,2}|[A-Za-z]{3})[./-]\d{2,4}"
    r"|(?:[A-Z][a-z]{2,8}|0?[1-9]|1[0-2])[-/. ](?:19|20)\d\d$|(?:19|20)\d\d[-/ ](?:[A-Z][a-z]{2,8}|0?[1-9]|1[0-2])$"
    r"|\d{8}T\d{6}|[A-Z][a-z]+ \d{1,2}, \d{4}|\d{1,2} [A-Z][a-z]+ \d{4})"
)


def sentinel_values(inputs: RuleInput) -> Findings:
    """Numbers such as -999 that stand for a missing value: frequent, extreme, and far from all others."""
    for column in inputs.features:
        name = column.name
        if column.kind not in NUMERIC_KINDS or column.distinct < 5:
            continue
        values = np.sort(inputs.known_values(name))
        for extreme, others in ((values[-1:], values < values[-1:]), (values[:1], values > values[:1])):
            if len(extreme) == 0 or float(extreme[0]) not in SENTINELS or not others.any():
                continue
            rest, count = values[others], int((~others).sum())
            distance = np.abs(rest - extreme[0]).min()
            if count >= 3 and distance > max(np.ptp(rest), 1e-9):
                spelling = f"{extreme[0]:g}"
                sentence = f"{name} is {spelling} in {counted(count, 'row')}, far from all other values "
                sentence += f"({rest.min():g} to {rest.max():g}): does it mean missing?"
                edit = _na_values_edit(inputs.schema.by_name[name], [spelling])
                evidence = {"value": float(extreme[0]), "rows": count}
                plural = f"far from all other values, does it mean missing? {spelling} in {{names}}"
                detail = f"{counted(count, 'row')}; others {rest.min():g} to {rest.max():g}"
                yield Finding(
                    "sentinel value", "medium", (name,), sentence, evidence, edit, plural=plural, detail=detail
                )


def placeholder_dates(inputs: RuleInput) -> Findings:
    """Dates that stand for a missing value: the first or last day of some software, years from all others."""
    for column in inputs.schema.features:
        if column.kind not in TIME_KINDS:
            continue
        moments = inputs.values(column.name)
        for day in PLACEHOLDER_DATES:
            moment = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
            is_day, rest = moments == moment, moments[(moments != moment) & ~np.isnan(moments)]
            if is_day.sum() < 3 or len(rest) == 0 or np.abs(rest - moment).min() < 2 * YEAR_SECONDS:
                continue
            spellings = sorted(set(inputs.rows[column.name].cast(pl.String).filter(pl.Series(is_day)).to_list()))
            count = int(is_day.sum())
            sentence = (
                f"{column.name} is {day} in {counted(count, 'row')}, years from all other dates: does it mean missing?"
            )
            edit = _na_values_edit(column, spellings)
            yield Finding("sentinel value", "medium", (column.name,), sentence, {"rows": count}, edit)


def spelling_variants(inputs: RuleInput) -> Findings:
    """Several spellings of a missing value, and categories that differ only by case, blanks or a typo."""
    for column in inputs.schema.columns:
        yield from _missing_value_spellings(column)
        yield from _category_spellings(column)


def _missing_value_spellings(column: Column) -> Findings:
    name, spellings = column.name, list(column.na_values)
    candidates = sorted(set(column.categories) & set(NA_WORDS))
    if candidates:
        sentence = f"{name} has the category {join_names(map(repr, candidates))}: does it mean missing?"
        edit, evidence = _na_values_edit(column, candidates), {"spellings": [*spellings, *candidates]}
        plural = f"{{names}} have the category {join_names(map(repr, candidates))}: does it mean missing?"
        yield Finding("missing-value spellings", "low", (name,), sentence, evidence, edit, plural=plural)
    elif len(spellings) > 1:
        sentence = f"{name} spells a missing value in {len(spellings)} ways: {join_names(map(repr, spellings))}; "
        sentence += "all are read as missing"
        plural, detail = "a missing value is spelled in several ways in {names}", join_names(map(repr, spellings))
        evidence = {"spellings": spellings}
        yield Finding("missing-value spellings", "note", (name,), sentence, evidence, plural=plural, detail=detail)


def _category_spellings(column: Column) -> Findings:
    if column.ignore_case:
        return
    name = column.name
    counts = {category: count for category, count in column.categories.items() if category not in NA_WORDS}
    if same := boolean_synonyms(column):
        sentence = f"{name} spells a boolean in several ways: {' and '.join(map(repr, same))} may mean the same"
        as_boolean = {f"schema.columns.{name}.kind": "boolean"}
        yield Finding("boolean spellings", "medium", (name,), sentence, {"words": same}, as_boolean)
        return
    if twins := unicode_twins(counts):
        sentence = f"{name} spells {next(iter(twins.values()))!r} in two Unicode forms, which are two categories"
        sentence += f"; {len(twins):,} categories are written so" if len(twins) > 1 else ""
        evidence = {"categories": sorted([*twins, *twins.values()])[:20]}
        joined = {f"schema.columns.{name}.kind": "category", f"schema.columns.{name}.replace": twins}
        yield Finding("category spellings", "medium", (name,), sentence, evidence, joined)
        return
    edit, variants = category_edit(name, counts)
    if variants and edit is not None:
        sentence = f"{name} spells a category in several ways: {join_names(map(repr, variants[0]))}"
        sentence += f", and {len(variants) - 1} more" if len(variants) > 1 else ""
        yield Finding("category spellings", "medium", (name,), sentence, {"categories": variants[:10]}, edit)
    untidy = [category for category in counts if category != " ".join(category.split())]
    if untidy and not variants:
        sentence = f"{name} has categories with extra blanks, such as {untidy[0]!r}"
        tidy = {f"schema.columns.{name}.kind": "category", f"schema.columns.{name}.ignore_case": True}
        plural, detail = "categories with extra blanks: {names}", f"{untidy[0]!r:.60}"
        evidence = {"categories": untidy[:10]}
        yield Finding("category spellings", "low", (name,), sentence, evidence, tidy, plural=plural, detail=detail)


def mistyped_columns(inputs: RuleInput) -> Findings:
    """Numbers, dates and codes stored as text; a target like that would be taken for classes."""
    for column in (inputs.schema.target, *inputs.schema.columns):
        if not column.used or inputs.rows[column.name].dtype != pl.String:
            continue
        if column.kind not in ("category", "text", "identifier"):
            continue
        counts = _text_counts(column, inputs.rows[column.name])
        if len(counts) < 5 or all(text.isdecimal() for text in counts) or column.pattern is not None:
            continue
        finding = _mistyped(column, counts, is_target=column is inputs.schema.target)
        if finding is not None:
            yield finding


def points_in_numbers(inputs: RuleInput) -> Findings:
    """Numbers whose points may separate thousands."""
    for name, question in inputs.point_questions.items():
        if name == inputs.schema.target.name or inputs.schema.by_name[name].is_feature:
            yield Finding("points in numbers", "high", (name,), f"{name}: {question}", {}, thousands_edit(name))


def words_among_numbers(inputs: RuleInput) -> Findings:
    """A few texts in a column of numbers or dates, which were read as missing until a person decides."""
    for column in (inputs.schema.target, *inputs.schema.features):
        values = inputs.odd_values.get(column.name)
        if values is None:
            continue
        name = column.name
        severity: Severity = "high" if column is inputs.schema.target else "medium"
        is_text = column.kind in NUMERIC_KINDS and inputs.rows[name].dtype == pl.String
        counts = _text_counts(replace(column, na_values=NA_VALUES), inputs.rows[name]) if is_text else {}
        edit = number_edit(name, counts) if counts else None
        if edit is not None:
            sentence = f"{name}: {values}: the edit reads them as numbers, otherwise they are missing"
            yield Finding("number as text", severity, (name,), sentence, {}, edit)
            continue
        words = [text for text in column.na_values if text not in (*NA_VALUES, *NA_WORDS)]
        # A text with a digit in it may be a value that is written in another way.
        is_doubtful = any(letter.isdecimal() for word in words for letter in word)
        question = number_question(counts) if counts and is_doubtful else "is that a missing value?"
        missing = {f"schema.columns.{name}.na_values": list(column.na_values)}
        yield Finding(
            "words among numbers", severity, (name,), f"{name}: {values}: {question}", {},
            None if is_doubtful else missing,
        )  # fmt: skip


def _mistyped(column: Column, counts: Mapping[str, int], *, is_target: bool) -> Finding | None:
    name, total = column.name, sum(counts.values())
    fractions = {
        form: sum(counts[text] for text in counts if has_form(text)) / total for form, has_form in FORMS.items()
    }
    examples = join_names(map(repr, list(counts)[:3]))
    if fractions["date"] >= 0.9:
        edit = date_edit(name, list(counts))
        sentence = f"{name} mixes date formats, such as {examples}"
        if edit is not None and len(edit[f"schema.columns.{name}.date_formats"]) == 1:
            sentence = f"{name} stores dates as text, such as {examples}"
        evidence = {"fraction": round(fractions["date"], 3)}
        return Finding("mixed date formats", "medium", (name,), sentence, evidence, edit)
    if (edit := code_edit(name, counts)) is not None:
        sentence = f"{name} spells a code in several ways, such as {examples}"
        return Finding("code spellings", "medium", (name,), sentence, {}, edit)
    if fractions["number"] < 0.9 or fractions["code"] or fractions["house number"] >= 0.01:
        return None
    edit = number_edit(name, counts)
    if edit is None and len(counts) <= FEW_CATEGORIES:
        return None
    severity: Severity = "high" if is_target else "medium"
    evidence = {"fraction": round(fractions["number"], 3)}
    stored = f"numbers as text, such as {examples}"
    if edit is None:
        sentence = f"{name} stores {stored}: {number_question(counts)}"
        return Finding("number as text", severity, (name,), sentence, evidence)
    # Columns that are read by the same settings share one line.
    settings = "; ".join(f"{key.rpartition('.')[2]} {value!r}" for key, value in edit.items())
    plural = f"{{names}} store numbers as text; read them with {settings}"
    return Finding("number as text", severity, (name,), f"{name} stores {stored}", evidence, edit, plural=plural)


def _is_number(text: str) -> bool:
    if NUMBER_AS_TEXT.match(text) is not None or text.lower() in NUMBER_WORDS:
        return True
    numeral = parse_numeral(text)
    is_short = numeral is not None and len(numeral.before + numeral.after) <= MAX_AFFIX_LENGTH
    return is_short or accounting_negative(text) is not None


FORMS: Mapping[str, Callable[[str], bool]] = {
    "date": lambda text: DATE_AS_TEXT.match(text) is not None,
    "number": lambda text: _is_number(text),
    "house number": lambda text: re.fullmatch(r"\d+ ?[A-Za-z]", text) is not None,
    "code": lambda text: re.fullmatch(r"0\d+", text) is not None,
}


def _text_counts(column: Column, series: pl.Series) -> Mapping[str, int]:
    """Return text -> count, longest texts first, without spellings of a missing value."""
    counts = strip_blanks(series.drop_nulls()).alias("text").value_counts(name="count")
    texts = counts.filter(~counts["text"].is_in(["", *column.na_values, *NA_WORDS]))
    return dict(texts.sort(pl.col("text").str.len_chars(), "text", descending=[True, False]).iter_rows())


def _na_values_edit(column: Column, spellings: list[str]) -> dict[str, list[str]]:
    """Return the edit that adds spellings of a missing value to a column."""
    return {f"schema.columns.{column.name}.na_values": list(dict.fromkeys([*column.na_values, *spellings]))}
