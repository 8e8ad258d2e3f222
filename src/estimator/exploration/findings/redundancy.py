"""Rows that occur twice or only sum up others, and columns that repeat what other columns say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, nan_to_none
from estimator.core.text import format_number, join_names
from estimator.data.schema.frames import select_columns
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, Severity, drop_edit

MAX_COMPARED_COLUMNS = 60
# Trees choose either of two columns alike; a mean of many models hardly depends on which.
LINEAR_MODELS = frozenset({"linear", "dense", "tabm"})
TOTAL = re.compile(r"^\s*(?:(?:grand|sub)?[-\s]?total|sum|summe|gesamt|somme|totale?|итого)\s*:?\s*$", re.IGNORECASE)


def duplicates(inputs: RuleInput) -> Findings:
    """Duplicate rows and duplicate columns."""
    if inputs.profile.duplicate_rows:
        n = inputs.profile.duplicate_rows
        about = "" if inputs.profile.duplicates_are_exact else "about "
        repeats = "1 row is a duplicate" if n == 1 else f"{n:,} rows are duplicates"
        sentence = f"{about}{repeats}: a random split can put copies into both training and test set"
        severity: Severity = "medium" if n > 0.01 * inputs.profile.rows else "low"
        yield Finding("duplicate rows", severity, (), sentence, {"rows": n})
    yield from _near_duplicates(inputs)
    linear = _linear_groups(inputs)
    for names in linear:
        sentence = f"{join_names(names)} are linear functions of each other: one of them is enough"
        yield _alike("duplicate columns", names, sentence, {"columns": len(names)})
    for names in _one_to_one_groups(inputs):
        # A linear function maps one to one as well.
        if not any(set(names) <= set(group) for group in linear):
            sentence = f"the values of {join_names(names)} map one to one: one of the columns is enough"
            yield _alike("duplicate columns", names, sentence, {"columns": len(names)})


def _alike(rule: str, names: Sequence[str], sentence: str, evidence: dict[str, Any]) -> Finding:
    """Return the finding that columns say the same; the first is kept."""
    return Finding(rule, "low", tuple(names), sentence, evidence, drop_edit(*names[1:]), alike=tuple(names))


def _linear_groups(inputs: RuleInput) -> list[list[str]]:
    names, matrix = inputs.profile.numeric, np.abs(np.nan_to_num(inputs.profile.pearson))
    used = {column.name for column in inputs.features}
    pairs = []
    for i, j in zip(*np.nonzero(np.triu(matrix > 0.99999, 1)), strict=True):
        left, right = names[i], names[j]
        if used.issuperset((left, right)) and _is_linear(inputs.values(left), inputs.values(right)):
            pairs.append((left, right))
    return connected(pairs)


def connected(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of names that pairs connect, each in the order in which its names came.

    >>> connected([("a", "b"), ("c", "d"), ("b", "e")])
    [['a', 'b', 'e'], ['c', 'd']]
    """
    groups: list[list[str]] = []
    for pair in pairs:
        touched = [group for group in groups if set(group) & set(pair)]
        joined = list(dict.fromkeys(name for group in [*touched, pair] for name in group))
        groups = [group for group in groups if group not in touched]
        groups.append(joined)
    return sorted(groups, key=lambda group: group[0])


def _is_linear(left: Floats, right: Floats) -> bool:
    """Whether one column is a linear function of the other, to the digits."""
    both = ~np.isnan(left) & ~np.isnan(right)
    x, y = left[both] - left[both].mean(), right[both] - right[both].mean()
    slope = float(x @ y) / max(float(x @ x), 1e-300)
    return bool(np.abs(y - slope * x).max(initial=0.0) <= 1e-6 * np.abs(y).max(initial=0.0))


def _near_duplicates(inputs: RuleInput) -> Findings:
    """Rows that differ only in their identifiers."""
    names = [column.name for column in inputs.profile.columns if column.kind == "identifier"]
    rest = select_columns(inputs.rows, [name for name in inputs.rows.columns if name not in names])
    if not names or rest.width < 3:
        return
    repeated = rest.height - rest.n_unique()
    exact = inputs.rows.height - inputs.rows.n_unique()
    if repeated - exact > max(2, 0.0005 * rest.height):
        sentence = f"{repeated - exact:,} rows differ from another row only in {join_names(names)}: duplicate records?"
        yield Finding("near duplicates", "medium", tuple(names), sentence, {"rows": repeated - exact})


def _one_to_one_groups(inputs: RuleInput) -> list[list[str]]:
    """Return the columns whose values map one to one to each other."""
    # Where nearly every row has a value of its own, all columns map one to one.
    most = min(200, inputs.profile.rows // 5)
    narrow = [column.name for column in inputs.features if 2 < column.distinct <= most][:MAX_COMPARED_COLUMNS]
    codes = {name: _codes(inputs, name) for name in narrow}
    counts = {name: values.n_unique() for name, values in codes.items()}
    return connected(
        (left, right)
        for left, right in combinations(narrow, 2)
        if counts[left] == counts[right] == (codes[left] * 2**32 + codes[right]).n_unique()
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
    shared: dict[tuple[str, ...], dict[str, int]] = {}
    for (category, count), names in columns.items():
        rows = [inputs.rows[name] == category for name in names]
        if len(names) > 1 and all((other == rows[0]).all() for other in rows[1:]):
            shared.setdefault(tuple(names), {})[category] = count
    for shared_names, counts in shared.items():
        listed = join_names(f"{category!r:.60} ({count:,})" for category, count in counts.items())
        sentence = f"{join_names(shared_names)} have {listed} in the same rows"
        yield Finding("redundant category", "note", shared_names, sentence, {"categories": counts})


def total_rows(inputs: RuleInput) -> Findings:
    """Rows that hold a total of the other rows."""
    texts = inputs.rows.select(pl.col(pl.String))
    if texts.width == 0 or inputs.rows.width < 3:
        return
    labeled = texts.select(pl.any_horizontal(pl.all().str.contains(f"(?i){TOTAL.pattern}"))).to_series()
    empty = inputs.rows.select(pl.sum_horizontal(pl.all().is_null())).to_series() / inputs.rows.width
    count = int((labeled.fill_null(False) & (empty > 0.5)).sum())
    if count:
        what = "1 row looks like a total" if count == 1 else f"{count:,} rows look like totals"
        sentence = f"{what} of the others: mostly empty, with a label such as TOTAL"
        yield Finding("total row", "medium", (), sentence, {"rows": count})


def collinearity(inputs: RuleInput) -> Findings:
    """Groups of columns that predict each other almost linearly, if the model is one to which that matters."""
    if inputs.model not in LINEAR_MODELS:
        return
    names, matrix = list(inputs.profile.numeric), np.abs(np.nan_to_num(inputs.profile.pearson))
    used = {column.name for column in inputs.features}
    vifs, pairs = inputs.profile.vif, []
    for name, vif in vifs.items():
        row = matrix[names.index(name)]
        others = [(float(row[j]), other) for j, other in enumerate(names) if other != name and other in used]
        strongest, partner = max(others, default=(0.0, ""))
        if name in used and vif >= 5 and strongest >= 0.8:
            pairs.append((name, partner, strongest))
    for group in connected((name, partner) for name, partner, _ in pairs):
        strongest = max(size for name, _, size in pairs if name in group)
        vif = max(vifs[name] for name in group)
        size = f"VIF up to {format_number(vif)}" if np.isfinite(vif) else "exact linear combinations of other columns"
        sentence = f"{join_names(group)} are collinear (correlations up to {strongest:.2f}; {size}): "
        sentence += "the coefficients of a linear model are not certain"
        evidence = {"correlation": round(strongest, 4), "vif": nan_to_none(vif)}
        # The one that goes best with the target stays.
        ordered = sorted(group, key=lambda name: -abs(np.nan_to_num(inputs.profile.target_association[name][1])))
        yield _alike("collinearity", ordered, sentence, evidence)
