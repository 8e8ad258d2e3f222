"""Rows that are there twice or are no rows at all, and columns that say what others say."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.core.text import format_number, join_names
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.findings.finding import Finding, Found, Seen, Severity, drop

MOST_COMPARED = 60
TOTAL = re.compile(r"^\s*(?:(?:grand|sub)?[-\s]?total|sum|summe|gesamt|somme|totale?|итого)\s*:?\s*$", re.IGNORECASE)


def duplicates(seen: Seen) -> Found:
    """Rows that are there twice, and columns that say the same."""
    if seen.profile.duplicate_rows:
        n = seen.profile.duplicate_rows
        about = "" if seen.profile.duplicates_are_exact else "about "
        told = f"{about}{n:,} rows are repeated: a random split puts the same row into both parts"
        severity: Severity = "medium" if n > 0.01 * seen.profile.rows else "low"
        yield Finding("duplicate rows", severity, (), told, {"rows": n})
    yield from _near_duplicates(seen)
    names, matrix = seen.profile.numeric, np.abs(np.nan_to_num(seen.profile.pearson))
    for i, j in zip(*np.nonzero(np.triu(matrix > 0.99999, 1)), strict=True):
        left, right = names[i], names[j]
        if seen.profile.target not in (left, right) and _is_one_line(seen.values(left), seen.values(right)):
            told = f"{left} and {right} say the same (correlation {matrix[i, j]:.5f})"
            yield Finding("duplicate columns", "low", (left, right), told, {}, drop(right))
    yield from _same_levels(seen)


def _is_one_line(left: Floats, right: Floats) -> bool:
    """Whether one column is the other times something plus something, to the digits."""
    both = ~np.isnan(left) & ~np.isnan(right)
    x, y = left[both] - left[both].mean(), right[both] - right[both].mean()
    slope = float(x @ y) / max(float(x @ x), 1e-300)
    return bool(np.abs(y - slope * x).max(initial=0.0) <= 1e-6 * np.abs(y).max(initial=0.0))


def _near_duplicates(seen: Seen) -> Found:
    """Rows that differ in nothing but what names them."""
    names = [column.name for column in seen.profile.columns if column.kind == "identifier"]
    rest = seen.rows.drop(names)
    if not names or rest.width < 3:
        return
    again = rest.height - rest.n_unique()
    already = seen.rows.height - seen.rows.n_unique()
    if again - already > max(2, 0.0005 * rest.height):
        told = f"{again - already:,} rows differ from another one only in {join_names(names)}: the same thing twice?"
        yield Finding("near duplicates", "medium", tuple(names), told, {"rows": again - already})


def _same_levels(seen: Seen) -> Found:
    """Columns of which each value goes with one value of the other, and the other way round."""
    narrow = [column.name for column in seen.features if 2 < column.distinct <= 200][:MOST_COMPARED]
    codes = {name: _codes(seen, name) for name in narrow}
    counts = {name: values.n_unique() for name, values in codes.items()}
    for left, right in combinations(narrow, 2):
        if counts[left] == counts[right] == (codes[left] * 2**32 + codes[right]).n_unique():
            told = f"{left} and {right} say the same: each value of one goes with one value of the other"
            yield Finding("duplicate columns", "low", (left, right), told, {"values": counts[left]}, drop(right))


def _codes(seen: Seen, name: str) -> pl.Series:
    """Return each row's value as a whole number below 2**32; gaps are a value."""
    column = seen.schema.by_name[name]
    values = category_names(column, seen.rows[name]) if column.is_string else pl.Series(seen.values(name))
    return values.rank("dense").fill_null(0).cast(pl.Int64)


def redundant_levels(seen: Seen) -> Found:
    """A level that several columns have in the very same rows: it says one thing several times."""
    where: dict[tuple[str, int], list[str]] = {}
    for column in seen.schema.features:
        for level, count in column.categories.items():
            if 0.01 * seen.profile.rows < count < 0.99 * seen.profile.rows and len(column.categories) <= 50:
                where.setdefault((level, count), []).append(column.name)
    for (level, count), names in where.items():
        rows = [seen.rows[name] == level for name in names]
        if len(names) > 1 and all((other == rows[0]).all() for other in rows[1:]):
            told = f"{join_names(names)} have the level {level!r} in the same {count:,} rows"
            yield Finding("redundant level", "note", tuple(names), told, {"level": level, "rows": count})


def total_lines(seen: Seen) -> Found:
    """A row that sums up the others."""
    words = seen.rows.select(pl.col(pl.String))
    if words.width == 0 or seen.rows.width < 3:
        return
    named = words.select(pl.any_horizontal(pl.all().str.contains(f"(?i){TOTAL.pattern}"))).to_series().fill_null(False)
    empty = seen.rows.select(pl.sum_horizontal(pl.all().is_null())).to_series() / seen.rows.width
    count = int((named & (empty > 0.5)).sum())
    if count:
        told = f"{count:,} rows look like a total of the others, nearly empty but for a word such as TOTAL"
        yield Finding("total line", "medium", (), told, {"rows": count})


def collinear(seen: Seen) -> Found:
    """Columns that others make up."""
    names, matrix = seen.profile.numeric, np.abs(np.nan_to_num(seen.profile.pearson))
    goal = seen.profile.target
    told_pairs = []
    for name, value in sorted(seen.profile.inflation.items(), key=lambda item: -item[1]):
        place = names.index(name)
        others = [(matrix[place, j], other) for j, other in enumerate(names) if other not in (name, goal)]
        if value < 5 or not others:
            continue
        strongest, partner = max(others)
        if strongest >= 0.8 and {name, partner} not in told_pairs:
            told_pairs.append({name, partner})
            size = f"variance inflation {format_number(value)}" if np.isfinite(value) else "others make it up exactly"
            sentence = f"{name} and {partner} move together (correlation {strongest:.2f}; {size})"
            evidence = {"correlation": round(float(strongest), 4), "inflation": value if np.isfinite(value) else None}
            yield Finding("collinear", "low", (name, partner), sentence, evidence, drop(name))
