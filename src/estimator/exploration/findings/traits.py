"""What columns are: constant, names of rows, sensitive, wide, in order of time; and what the target is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from estimator.core.text import format_number
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.inference import IDENTIFIER_NAME
from estimator.exploration.findings.finding import Finding, Found, Seen, drop
from estimator.exploration.profile import ColumnProfile

CODE_NAME = re.compile(
    r"(?:^|[_\s.-]|(?<=[a-z]))(?:zip|zip_?code|post_?code|postal_?code|code|(?:sub)?class|category|type)(?:_?id)?$",
    re.IGNORECASE,
)
SENSITIVE = re.compile(
    r"^(?:b|lstat|race|sex|gender|age|ethnic\w*|religio\w*|marital\w*|marriage|nationality|native[-_. ]?country|"
    r"disab\w*|pregnan\w*|birth\w*|seniorcitizen)$",
    re.IGNORECASE,
)


def constants(seen: Seen) -> Found:
    """Columns that say nothing, or nearly nothing."""
    for column in seen.profile.columns:
        if column.name == seen.profile.target:
            continue
        if column.count == 0:
            yield Finding("empty", "low", (column.name,), f"{column.name} is empty", {}, drop(column.name))
        elif column.distinct == 1 and column.gaps == 0:
            told = f"{column.name} is the same in every row"
            yield Finding("constant", "low", (column.name,), told, {}, drop(column.name))
        elif column.top and column.top[0][1] >= 0.995 * seen.profile.rows:
            share = column.top[0][1] / seen.profile.rows
            told = f"{column.name} is {column.top[0][0]!r} in {share:.1%} of the rows"
            yield Finding("nearly constant", "low", (column.name,), told, {"share": round(share, 4)}, drop(column.name))


def identifiers(seen: Seen) -> Found:
    """Columns that name rows, and those that name things which come back."""
    for column in seen.profile.columns:
        if column.kind == "identifier":
            told = (
                f"{column.name} names a row ({column.distinct:,} values in {column.count:,} rows); it is not a feature"
            )
            yield Finding("identifier", "note", (column.name,), told, {"distinct": column.distinct}, drop(column.name))
        if IDENTIFIER_NAME.search(column.name) is None or len(seen.rows) < 50:
            continue
        again = len(seen.rows) - seen.rows[column.name].null_count() - seen.rows[column.name].drop_nulls().n_unique()
        if 0 < again < 0.7 * len(seen.rows):
            told = f"{column.name} comes back in {again:,} rows: a group split keeps the same one out of both parts"
            edit = {"training.split": {"kind": "group", "column": column.name}}
            yield Finding("groups", "medium", (column.name,), told, {"rows": again}, edit)


def is_sensitive(name: str, target: str) -> bool:
    """Whether a column's name says that it may stand for a protected group."""
    boston = name not in ("B", "LSTAT") or target == "MEDV"
    bare = re.sub(r"[-_. ]", "", name)
    return bool(SENSITIVE.match(name) or SENSITIVE.match(bare)) and boston and name != "b"


def sensitive(seen: Seen) -> Found:
    """Columns that are an ethical risk by their name."""
    for column in seen.features:
        if is_sensitive(column.name, seen.profile.target):
            told = f"{column.name} may stand for a protected group: decide whether answers may rest on it"
            yield Finding("sensitive", "medium", (column.name,), told, {}, drop(column.name))


def task(seen: Seen) -> Found:
    """What is to be predicted, how to judge it, and the score that knowing nothing gets."""
    goal = seen.goal
    if goal.kind in ("date", "datetime") or goal.count == 0:
        return
    if goal.kind in NUMERIC_KINDS and goal.distinct > 2:
        told = f"regression of {goal.name}: always answering its mean, {format_number(goal.numbers['mean'])}, errs by "
        told += f"{format_number(goal.numbers['std'])} (rmse)"
        edit: dict[str, Any] = {"evaluation.metrics": ["rmse", "mae", "r2"]}
        evidence: dict[str, Any] = {"rmse": goal.numbers["std"]}
    elif goal.top:
        level, count, _ = goal.top[0]
        told = f"classification of {goal.name} into {goal.distinct:,} levels: always answering {level!r} is right in "
        told += f"{count / goal.count:.1%}"
        edit, evidence = {"evaluation.metrics": ["log_loss", "auc", "accuracy"]}, {"accuracy": count / goal.count}
    else:
        return
    yield Finding("task", "note", (goal.name,), told, evidence, edit)


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
            yield from _far_values(column)
        if column.kind == "category" and column.distinct > 50:
            told = f"{column.name} has {column.distinct:,} levels: they become target means for nets and linear models"
            edit = {f"features.columns.{column.name}": {"encoder": "target_mean"}}
            yield Finding("wide category", "note", (column.name,), told, {"levels": column.distinct}, edit)
        if column.gaps > 0.5 * seen.profile.rows:
            share = column.gaps / seen.profile.rows
            told = f"{column.name} is a gap in {share:.0%} of the rows"
            yield Finding("many gaps", "note", (column.name,), told, {"share": round(share, 4)})
    yield from _order_in_time(seen)


def _far_values(column: ColumnProfile) -> Found:
    low, high = column.quantiles["0.01"], column.quantiles["0.99"]
    lowest, highest = column.numbers["min"], column.numbers["max"]
    reach = 5 * (high - low)
    ends = []
    if reach > 0 and highest > high + reach:
        ends.append(f"goes up to {format_number(highest)}, while 99 % are below {format_number(high)}")
    if reach > 0 and lowest < low - reach:
        ends.append(f"goes down to {format_number(lowest)}, while 99 % are above {format_number(low)}")
    if ends:
        evidence = {"min": lowest, "max": highest, "quantile_01": low, "quantile_99": high}
        yield Finding("outliers", "low", (column.name,), f"{column.name} {' and '.join(ends)}", evidence)


def codes(seen: Seen) -> Found:
    """Whole numbers that name something, by their name: twice a postal code is nothing."""
    for column in seen.features:
        if column.kind == "integer" and column.distinct > 2 and CODE_NAME.search(column.name):
            told = f"{column.name} holds whole numbers, but its name says that they are codes"
            edit = {f"schema.columns.{column.name}.kind": "category"}
            yield Finding("code as number", "low", (column.name,), told, {"distinct": column.distinct}, edit)


def _order_in_time(seen: Seen) -> Found:
    for column in seen.schema.features:
        if column.kind not in TIME_KINDS:
            continue
        moments = seen.numbers(column.name)
        if len(moments) > 20 and (np.diff(moments) >= 0).mean() > 0.95:
            told = f"rows are in the order of {column.name}: hold out the latest, as the future will be later still"
            edit = {"training.split": {"kind": "time", "column": column.name}}
            yield Finding("order in time", "medium", (column.name,), told, {}, edit)
