"""Rows that occur twice or only sum up others, and columns that repeat what other columns say."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, nan_to_none
from estimator.core.text import format_number, join_names
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, Severity, drop_edit

MAX_COMPARED_COLUMNS = 60
TOTAL = re.compile(r"^\s*(?:(?:grand|sub)?[-\s]?total|sum|summe|gesamt|somme|totale?|итого)\s*:?\s*$", re.IGNORECASE)


def duplicates(inputs: RuleInput) -> Findings:
    """Duplicate rows and duplicate columns."""
    if inputs.profile.duplicate_rows:
        n = inputs.profile.duplicate_rows
        about = "" if inputs.profile.duplicates_are_exact else "about "
        sentence = f"{about}{n:,} rows are duplicates: a random split can put copies into both training and test set"
        severity: Severity = "medium" if n > 0.01 * inputs.profile.rows else "low"
        yield Finding("duplicate rows", severity, (), sentence, {"rows": n})
    yield from _near_duplicates(inputs)
    names, matrix = inputs.profile.numeric, np.abs(np.nan_to_num(inputs.profile.pearson))
    for i, j in zip(*np.nonzero(np.triu(matrix > 0.99999, 1)), strict=True):
        left, right = names[i], names[j]
        if inputs.profile.target not in (left, right) and _is_linear(inputs.values(left), inputs.values(right)):
            sentence = f"{left} and {right} are linear functions of each other (correlation {matrix[i, j]:.5f})"
            yield Finding("duplicate columns", "low", (left, right), sentence, {}, drop_edit(right))
    yield from _one_to_one(inputs)


def _is_linear(left: Floats, right: Floats) -> bool:
    """Whether one column is a linear function of the other, to the digits."""
    both = ~np.isnan(left) & ~np.isnan(right)
    x, y = left[both] - left[both].mean(), right[both] - right[both].mean()
    slope = float(x @ y) / max(float(x @ x), 1e-300)
    return bool(np.abs(y - slope * x).max(initial=0.0) <= 1e-6 * np.abs(y).max(initial=0.0))


def _near_duplicates(inputs: RuleInput) -> Findings:
    """Rows that differ only in their identifiers."""
    names = [column.name for column in inputs.profile.columns if column.kind == "identifier"]
    rest = inputs.rows.drop(names)
    if not names or rest.width < 3:
        return
    repeated = rest.height - rest.n_unique()
    exact = inputs.rows.height - inputs.rows.n_unique()
    if repeated - exact > max(2, 0.0005 * rest.height):
        sentence = f"{repeated - exact:,} rows differ from another row only in {join_names(names)}: duplicate records?"
        yield Finding("near duplicates", "medium", tuple(names), sentence, {"rows": repeated - exact})


def _one_to_one(inputs: RuleInput) -> Findings:
    """Columns whose values map one to one to each other."""
    narrow = [column.name for column in inputs.features if 2 < column.distinct <= 200][:MAX_COMPARED_COLUMNS]
    codes = {name: _codes(inputs, name) for name in narrow}
    counts = {name: values.n_unique() for name, values in codes.items()}
    for left, right in combinations(narrow, 2):
        if counts[left] == counts[right] == (codes[left] * 2**32 + codes[right]).n_unique():
            sentence = f"the values of {left} and {right} map one to one: one of the columns is enough"
            yield Finding(
                "duplicate columns", "low", (left, right), sentence, {"values": counts[left]}, drop_edit(right)
            )


def _codes(inputs: RuleInput, name: str) -> pl.Series:
    """Return each row's value as a whole number below 2**32; missing counts as a value."""
    column = inputs.schema.by_name[name]
    values = category_names(column, inputs.rows[name]) if column.is_string else pl.Series(inputs.values(name))
    return values.rank("dense").fill_null(0).cast(pl.Int64)


def redundant_categories(inputs: RuleInput) -> Findings:
    """A category that several columns have in the very same rows."""
    columns: dict[tuple[str, int], list[str]] = {}
    for column in inputs.schema.features:
        for category, count in column.categories.items():
            if 0.01 * inputs.profile.rows < count < 0.99 * inputs.profile.rows and len(column.categories) <= 50:
                columns.setdefault((category, count), []).append(column.name)
    for (category, count), names in columns.items():
        rows = [inputs.rows[name] == category for name in names]
        if len(names) > 1 and all((other == rows[0]).all() for other in rows[1:]):
            sentence = f"{join_names(names)} have the category {category!r} in the same {count:,} rows"
            evidence = {"category": category, "rows": count}
            yield Finding("redundant category", "note", tuple(names), sentence, evidence)


def total_rows(inputs: RuleInput) -> Findings:
    """Rows that hold a total of the other rows."""
    texts = inputs.rows.select(pl.col(pl.String))
    if texts.width == 0 or inputs.rows.width < 3:
        return
    labeled = texts.select(pl.any_horizontal(pl.all().str.contains(f"(?i){TOTAL.pattern}"))).to_series()
    empty = inputs.rows.select(pl.sum_horizontal(pl.all().is_null())).to_series() / inputs.rows.width
    count = int((labeled.fill_null(False) & (empty > 0.5)).sum())
    if count:
        sentence = f"{count:,} rows look like totals of the others: mostly empty, with a label such as TOTAL"
        yield Finding("total row", "medium", (), sentence, {"rows": count})


def collinearity(inputs: RuleInput) -> Findings:
    """Columns that other columns predict almost linearly."""
    names, matrix = inputs.profile.numeric, np.abs(np.nan_to_num(inputs.profile.pearson))
    target = inputs.profile.target
    reported = []
    for name, vif in sorted(inputs.profile.vif.items(), key=lambda item: -item[1]):
        row = matrix[names.index(name)]
        others = [(row[j], other) for j, other in enumerate(names) if other not in (name, target)]
        if vif < 5 or not others:
            continue
        strongest, partner = max(others)
        if strongest >= 0.8 and {name, partner} not in reported:
            reported.append({name, partner})
            size = f"VIF {format_number(vif)}" if np.isfinite(vif) else "an exact linear combination of other columns"
            sentence = f"{name} and {partner} are collinear (correlation {strongest:.2f}; {size})"
            evidence = {"correlation": round(float(strongest), 4), "vif": nan_to_none(vif)}
            yield Finding("collinearity", "low", (name, partner), sentence, evidence, drop_edit(name))
