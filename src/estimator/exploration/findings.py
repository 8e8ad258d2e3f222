"""Profile -> findings: what a careful reader would notice, in a sentence, with the config edit that answers it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.exploration.profile import ColumnProfile, Profile
from estimator.exploration.written_numbers import number_edit
from estimator.schema import Schema
from estimator.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.schema.frames import read_series
from estimator.schema.inference import IDENTIFIER_NAME, NUMBER_AS_TEXT
from estimator.wording import figure, listing

Severity = Literal["high", "medium", "low", "note"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low", "note")
SENTINELS = (-999.0, -9999.0, -99.0, 999.0, 9999.0, 99999.0, 999999.0, -1.0)
SENSITIVE = re.compile(
    r"^(?:b|lstat|race|sex|gender|age|ethnic\w*|religio\w*|marital\w*|marriage|nationality|native[-_. ]?country|"
    r"disab\w*|pregnan\w*|birth\w*|seniorcitizen)$",
    re.IGNORECASE,
)
DATE_AS_TEXT = re.compile(
    r"^\s*(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-](?:\d{1,2}|[A-Za-z]{3})[./-]\d{2,4}"
    r"|\d{8}T\d{6}|[A-Z][a-z]+ \d{1,2}, \d{4})"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing. `edit` maps a key of the config to its new value; None asks for thought only."""

    rule: str
    severity: Severity
    columns: tuple[str, ...]
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] | None = None
    number: int = 0

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "number": self.number,
            "rule": self.rule,
            "severity": self.severity,
            "columns": list(self.columns),
            "sentence": self.sentence,
            "evidence": dict(self.evidence),
            "edit": dict(self.edit) if self.edit is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule looks at: the contract, the profile, and the first rows as they were read."""

    schema: Schema
    profile: Profile
    rows: pl.DataFrame

    def numbers(self, name: str) -> Any:
        """Return a numeric column of the rows as doubles without gaps."""
        column = replace(self.schema.by_name[name], gaps=("", *self.schema.by_name[name].gaps), limits=None)
        values = read_series(column, self.rows[name])[0][:, 0]
        return values[~np.isnan(values)]

    @property
    def features(self) -> list[ColumnProfile]:
        """The profiles of the columns a model would use."""
        names = {column.name for column in self.schema.features}
        return [column for column in self.profile.columns if column.name in names]

    @property
    def goal(self) -> ColumnProfile:
        """The target's profile."""
        return self.profile.column(self.profile.target)


Found = Iterator[Finding]


def find(schema: Schema, profile: Profile, rows: pl.DataFrame) -> list[Finding]:
    """Return all findings, most severe first, numbered from 1."""
    seen = Seen(schema, profile, rows)
    found = [finding for rule in RULES for finding in rule(seen)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return [replace(finding, number=number) for number, finding in enumerate(found, start=1)]


def _drop(*names: str) -> dict[str, Any]:
    return {"data.drop": list(names)}


def leaks(seen: Seen) -> Found:
    """A column that gives the target away, alone or together with others."""
    for name, (measure, value) in seen.profile.with_target.items():
        if abs(value) >= 0.98:
            told = f"{name} nearly gives the target away ({measure} {value:.3f}): is it known before the target is?"
            yield Finding("leakage", "high", (name,), told, {measure: round(value, 4)}, _drop(name))
    parts = _parts_of_target(seen)
    if parts:
        told = f"{listing(parts)} add up to the target: they are known only when it is"
        yield Finding("leakage", "high", parts, told, {}, _drop(*parts))


def _parts_of_target(seen: Seen) -> tuple[str, ...]:
    """Return a few numeric columns whose weighted sum is the target, exactly."""
    if seen.goal.kind not in NUMERIC_KINDS:
        return ()
    names = [column.name for column in seen.features if column.kind in NUMERIC_KINDS]
    table = seen.rows.select([pl.col(name).cast(pl.Float64, strict=False) for name in [*names, seen.profile.target]])
    solid = table.drop_nulls().to_numpy()
    if len(names) < 2 or len(solid) < 10 * (len(names) + 1):
        return ()
    inputs, goal = solid[:, :-1] - solid[:, :-1].mean(axis=0), solid[:, -1] - solid[:, -1].mean()
    spread = inputs.std(axis=0)
    weights = np.linalg.lstsq(inputs / np.where(spread > 0, spread, 1.0), goal, rcond=None)[0]
    left = goal - inputs / np.where(spread > 0, spread, 1.0) @ weights
    if goal.std() == 0 or left.std() > 1e-6 * goal.std():
        return ()
    return tuple(name for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-3 * goal.std())


def constants(seen: Seen) -> Found:
    """Columns that say nothing, or nearly nothing."""
    for column in seen.profile.columns:
        if column.name == seen.profile.target:
            continue
        if column.count == 0:
            yield Finding("empty", "low", (column.name,), f"{column.name} is empty", {}, _drop(column.name))
        elif column.distinct == 1 and column.gaps == 0:
            told = f"{column.name} is the same in every row"
            yield Finding("constant", "low", (column.name,), told, {}, _drop(column.name))
        elif column.top and column.top[0][1] >= 0.995 * seen.profile.rows:
            share = column.top[0][1] / seen.profile.rows
            told = f"{column.name} is {column.top[0][0]!r} in {share:.1%} of the rows"
            yield Finding(
                "nearly constant", "low", (column.name,), told, {"share": round(share, 4)}, _drop(column.name)
            )


def identifiers(seen: Seen) -> Found:
    """Columns that name rows, and those that name things which come back."""
    for column in seen.profile.columns:
        if column.kind == "identifier":
            told = (
                f"{column.name} names a row ({column.distinct:,} values in {column.count:,} rows); it is not a feature"
            )
            yield Finding("identifier", "note", (column.name,), told, {"distinct": column.distinct}, _drop(column.name))
        if IDENTIFIER_NAME.search(column.name) is None or len(seen.rows) < 50:
            continue
        again = len(seen.rows) - seen.rows[column.name].null_count() - seen.rows[column.name].drop_nulls().n_unique()
        if 0 < again < 0.7 * len(seen.rows):
            told = f"{column.name} comes back in {again:,} rows: a group split keeps the same one out of both parts"
            edit = {"training.split": {"kind": "group", "column": column.name}}
            yield Finding("groups", "medium", (column.name,), told, {"rows": again}, edit)


def duplicates(seen: Seen) -> Found:
    """Rows that are there twice, and columns that say the same."""
    if seen.profile.duplicate_rows:
        n = seen.profile.duplicate_rows
        told = f"{n:,} rows are repeated: a random split puts the same row into both parts"
        severity: Severity = "medium" if n > 0.01 * seen.profile.rows else "low"
        yield Finding("duplicate rows", severity, (), told, {"rows": n})
    names, matrix = seen.profile.numeric, np.abs(np.nan_to_num(seen.profile.pearson))
    for i, left in enumerate(names):
        for j in range(i + 1, len(names)):
            if matrix[i, j] > 0.99999 and seen.profile.target not in (left, names[j]):
                told = f"{left} and {names[j]} say the same (correlation {matrix[i, j]:.5f})"
                yield Finding("duplicate columns", "low", (left, names[j]), told, {}, _drop(names[j]))


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
            sentence = (
                f"{name} and {partner} move together (correlation {strongest:.2f}, variance inflation {figure(value)})"
            )
            evidence = {"correlation": round(float(strongest), 4), "inflation": value if np.isfinite(value) else None}
            yield Finding("collinear", "low", (name, partner), sentence, evidence, _drop(name))


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
                edit = {f"schema.columns.{column.name}.gaps": ["", word]}
                yield Finding("sentinel", "medium", (column.name,), told, {"value": float(end[0]), "rows": count}, edit)


def spellings(seen: Seen) -> Found:
    """Gaps with several spellings, and levels that differ only by case or blanks."""
    for column in seen.schema.columns:
        words = [gap for gap in column.gaps if gap]
        if len(words) > 1:
            told = f"{column.name} spells a gap in {len(words)} ways: {listing(map(repr, words))}"
            yield Finding("gap spellings", "note", (column.name,), told, {"spellings": words})
        folded: dict[str, list[str]] = {}
        for level in column.levels:
            folded.setdefault(" ".join(level.split()).casefold(), []).append(level)
        same = [levels for levels in folded.values() if len(levels) > 1]
        if same:
            told = f"{column.name} has levels that differ only by case or blanks: {listing(map(repr, same[0]))}"
            yield Finding("level spellings", "medium", (column.name,), told, {"levels": same[:10]})


def texts(seen: Seen) -> Found:
    """Numbers and dates that are held as text; a target that is one would be taken for levels."""
    for column in (seen.schema.target, *seen.schema.columns):
        if column.kind not in ("category", "text", "identifier") or seen.rows[column.name].dtype != pl.String:
            continue
        words = seen.rows[column.name].drop_nulls().str.strip_chars()
        words = words.filter(~words.is_in(["", *column.gaps])).unique().sort()
        if words.str.contains(r"^[0-9]+$").all():
            continue
        some = words.sample(min(len(words), 500), seed=0).to_list()
        if len(some) < 5:
            continue
        dates = sum(DATE_AS_TEXT.match(word) is not None for word in some) / len(some)
        numbers = sum(NUMBER_AS_TEXT.match(word) is not None for word in some) / len(some)
        codes = sum(re.fullmatch(r"0\d+", word) is not None for word in some)
        if dates >= 0.9:
            told = f"{column.name} holds dates in several forms, such as {listing(map(repr, some[:3]))}"
            yield Finding("mixed dates", "medium", (column.name,), told, {"share": round(dates, 3)})
        elif numbers >= 0.9 and not codes:
            told = f"{column.name} holds numbers as text, such as {listing(map(repr, some[:3]))}"
            severity: Severity = "high" if column is seen.schema.target else "medium"
            edit = number_edit(column, words)
            yield Finding("number as text", severity, (column.name,), told, {"share": round(numbers, 3)}, edit)


def sensitive(seen: Seen) -> Found:
    """Columns that are an ethical risk by their name."""
    for column in seen.features:
        bare = re.sub(r"[-_. ]", "", column.name)
        boston = column.name not in ("B", "LSTAT") or seen.profile.target == "MEDV"
        if (SENSITIVE.match(column.name) or SENSITIVE.match(bare)) and boston and column.name != "b":
            told = f"{column.name} may stand for a protected group: decide whether answers may rest on it"
            yield Finding("sensitive", "medium", (column.name,), told, {}, _drop(column.name))


def targets(seen: Seen) -> Found:
    """The target's own traits: capped, skewed, unbalanced."""
    goal, rows = seen.goal, seen.profile.rows
    if goal.kind in NUMERIC_KINDS and goal.distinct > 20:
        values = seen.numbers(goal.name)
        at_top = int((values == values.max()).sum()) if len(values) else 0
        if at_top >= max(5, 0.01 * len(values)):
            told = f"{goal.name} stops at {values.max():g}, which {at_top:,} rows have: larger values were cut off"
            yield Finding("capped target", "medium", (goal.name,), told, {"value": float(values.max()), "rows": at_top})
        if goal.numbers["skewness"] > 1 and goal.numbers["min"] > 0:
            skewness = goal.numbers["skewness"]
            told = f"{goal.name} is skewed to the right (skewness {skewness:.1f}): judge errors in per cent too"
            edit: dict[str, Any] = {"evaluation.metrics": ["rmse", "mae", "mape"]}
            yield Finding(
                "skewed target", "note", (goal.name,), told, {"skewness": round(goal.numbers["skewness"], 2)}, edit
            )
    elif goal.top and rows:
        rarest = min(count for _, count, _ in goal.top)
        if 2 <= len(goal.top) <= 20 and rarest < 0.15 * rows:
            share = rarest / rows
            told = f"{goal.name}: the rarest level has {share:.1%} of the rows; judge by log loss and auc, not accuracy"
            edit = {"training.class_weight": "balanced"}
            yield Finding("imbalance", "note", (goal.name,), told, {"share": round(share, 4)}, edit)


def shapes(seen: Seen) -> Found:
    """Far values, wide categories, many gaps, and an order in time."""
    for column in seen.features:
        if column.kind in NUMERIC_KINDS and column.quantiles:
            middle, edge = column.quantiles["0.5"], column.quantiles["0.99"]
            reach = edge - column.quantiles["0.01"]
            if reach > 0 and column.numbers["max"] > edge + 5 * reach and column.numbers["max"] not in SENTINELS:
                told = f"{column.name} goes up to {figure(column.numbers['max'])}, while 99 % are below {figure(edge)}"
                evidence = {"max": column.numbers["max"], "quantile_99": edge, "median": middle}
                yield Finding("outliers", "low", (column.name,), told, evidence)
        if column.kind == "category" and column.distinct > 50:
            told = f"{column.name} has {column.distinct:,} levels: they become target means for nets and linear models"
            edit = {f"features.columns.{column.name}": {"encoder": "target_mean"}}
            yield Finding("wide category", "note", (column.name,), told, {"levels": column.distinct}, edit)
        if column.gaps > 0.5 * seen.profile.rows:
            share = column.gaps / seen.profile.rows
            told = f"{column.name} is a gap in {share:.0%} of the rows"
            yield Finding("many gaps", "note", (column.name,), told, {"share": round(share, 4)})
    yield from _order_in_time(seen)


def _order_in_time(seen: Seen) -> Found:
    for column in seen.schema.features:
        if column.kind not in TIME_KINDS:
            continue
        moments = seen.numbers(column.name)
        if len(moments) > 20 and (np.diff(moments) >= 0).mean() > 0.95:
            told = f"rows are in the order of {column.name}: hold out the latest, as the future will be later still"
            edit = {"training.split": {"kind": "time", "column": column.name}}
            yield Finding("order in time", "medium", (column.name,), told, {}, edit)


RULES: Sequence[Callable[[Seen], Found]] = (
    leaks, duplicates, sentinels, spellings, texts, sensitive, targets, identifiers, shapes, collinear, constants,
)  # fmt: skip
