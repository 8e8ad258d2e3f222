"""What single columns are: constant, identifying, sensitive, of many categories; and the quality of the target."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from estimator.core.text import format_number
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, drop_edit
from estimator.exploration.profile import ColumnProfile

CODE_NAME = re.compile(
    r"(?:^|[_\s.-]|(?<=[a-z]))(?:zip|zip_?code|post_?code|postal_?code|code|(?:sub)?class|category|type)(?:_?id)?$",
    re.IGNORECASE,
)
SENSITIVE_NAME = re.compile(
    r"(?:race|sex|gender|age|senior(?:citizens?)?|ethnic\w*|religio\w*|marital\w*|marriage|nationality|"
    r"native[-_. ]?country|disab\w*|pregnan\w*|birth\w*)",
    re.IGNORECASE,
)


def constants(inputs: RuleInput) -> Findings:
    """Columns that are empty, constant or nearly constant."""
    for column in inputs.profile.columns:
        name = column.name
        if name == inputs.profile.target:
            continue
        if column.count == 0:
            yield Finding("empty column", "low", (name,), f"{name} is empty", {}, drop_edit(name))
        elif column.distinct == 1 and column.missing == 0:
            sentence = f"{name} has the same value in every row"
            yield Finding("constant", "low", (name,), sentence, {}, drop_edit(name))
        elif column.top_categories and column.top_categories[0][1] >= 0.995 * inputs.profile.rows:
            fraction = column.top_categories[0][1] / inputs.profile.rows
            sentence = f"{name} is {column.top_categories[0][0]!r} in {fraction:.1%} of rows"
            yield Finding("nearly constant", "low", (name,), sentence, _fraction(fraction), drop_edit(name))


def identifiers(inputs: RuleInput) -> Findings:
    """Columns that identify rows."""
    for column in inputs.profile.columns:
        name = column.name
        if column.kind == "identifier":
            sentence = (
                f"{name} identifies rows ({column.distinct:,} values in {column.count:,} rows) and is not a feature"
            )
            yield Finding("identifier", "note", (name,), sentence, {"distinct": column.distinct}, drop_edit(name))


def is_sensitive(name: str) -> bool:
    """Whether a column's name suggests a protected attribute.

    >>> is_sensitive("Marital.Status"), is_sensitive("SeniorCitizen"), is_sensitive("mileage")
    (True, True, False)
    """
    bare = re.sub(r"[-_. ]", "", name)
    return bool(SENSITIVE_NAME.fullmatch(name) or SENSITIVE_NAME.fullmatch(bare))


def sensitive_attributes(inputs: RuleInput) -> Findings:
    """Columns that are protected attributes by their name, or declared so by `evaluation.fairness_columns`."""
    for column in inputs.features:
        if is_sensitive(column.name) or column.name in inputs.sensitive:
            sentence = f"{column.name} may be a protected attribute: decide whether the model may use it"
            yield Finding("sensitive attribute", "medium", (column.name,), sentence, {}, drop_edit(column.name))


def trivial_baseline(inputs: RuleInput) -> Findings:
    """The task, the metrics that suit it, and the score of a constant prediction."""
    target = inputs.target
    if target.kind in ("date", "datetime") or target.count == 0:
        return
    if target.kind in NUMERIC_KINDS and target.distinct > 2:
        mean, deviation = (format_number(target.statistics[name]) for name in ("mean", "std"))
        sentence = f"regression of {target.name}: always predicting the mean, {mean}, has an RMSE of {deviation}"
        edit: dict[str, Any] = {"evaluation.metrics": ["rmse", "mae", "r2"]}
        evidence: dict[str, Any] = {"rmse": target.statistics["std"]}
    elif target.top_categories:
        majority, count, _ = target.top_categories[0]
        sentence = f"classification of {target.name} into {target.distinct:,} classes: "
        sentence += f"always predicting {majority!r} has an accuracy of {count / target.count:.1%}"
        edit, evidence = {"evaluation.metrics": ["log_loss", "auc", "accuracy"]}, {"accuracy": count / target.count}
    else:
        return
    yield Finding("baseline", "note", (target.name,), sentence, evidence, edit)


def target_quality(inputs: RuleInput) -> Findings:
    """A target that is capped, skewed or imbalanced."""
    target = inputs.target
    if target.kind in NUMERIC_KINDS and target.distinct > 20:
        yield from _capped_target(inputs)
        skewness = target.statistics["skewness"]
        if skewness > 1 and target.statistics["min"] > 0:
            sentence = (
                f"{target.name} is right-skewed (skewness {skewness:.1f}): also report MAPE or another relative error"
            )
            edit: dict[str, Any] = {"evaluation.metrics": ["rmse", "mae", "mape"]}
            yield Finding("skewed target", "note", (target.name,), sentence, {"skewness": round(skewness, 2)}, edit)
    elif target.top_categories and inputs.profile.rows:
        fraction = min(count for _, count, _ in target.top_categories) / inputs.profile.rows
        if 2 <= len(target.top_categories) <= 20 and fraction < 0.15:
            sentence = f"the rarest class of {target.name} has {fraction:.1%} of rows: "
            sentence += "compare models by log loss and AUC, not accuracy"
            edit = {"training.class_weight": "balanced"}
            yield Finding("class imbalance", "note", (target.name,), sentence, _fraction(fraction), edit)


def _capped_target(inputs: RuleInput) -> Findings:
    name = inputs.target.name
    values = inputs.known_values(name)
    at_top = int((values == values.max()).sum()) if len(values) else 0
    if at_top >= max(5, 0.01 * len(values)):
        sentence = f"{at_top:,} rows have the maximum of {name}, {values.max():g}: larger values were probably capped"
        yield Finding("capped target", "medium", (name,), sentence, {"value": float(values.max()), "rows": at_top})


def quality(inputs: RuleInput) -> Findings:
    """Outliers, high cardinality, many missing values, and rows in time order."""
    for column in inputs.features:
        name = column.name
        if column.kind in NUMERIC_KINDS and column.quantiles:
            yield from _outliers(column)
        if column.kind == "category" and column.distinct > 50:
            sentence = f"{name} has {column.distinct:,} categories: linear models and nets use its target encoding"
            edit = {f"features.columns.{name}": {"encoder": "target_mean"}}
            yield Finding("high cardinality", "note", (name,), sentence, {"categories": column.distinct}, edit)
        if column.missing > 0.5 * inputs.profile.rows:
            fraction = column.missing / inputs.profile.rows
            sentence = f"{name} is missing in {fraction:.0%} of rows"
            yield Finding("many missing values", "note", (name,), sentence, _fraction(fraction))
    yield from _time_order(inputs)


def _outliers(column: ColumnProfile) -> Findings:
    low, high = column.quantiles["0.01"], column.quantiles["0.99"]
    lowest, highest = column.statistics["min"], column.statistics["max"]
    margin = 5 * (high - low)
    extremes = []
    if margin > 0 and highest > high + margin:
        extremes.append(f"a maximum of {format_number(highest)}, but 99% of values are below {format_number(high)}")
    if margin > 0 and lowest < low - margin:
        extremes.append(f"a minimum of {format_number(lowest)}, but 99% of values are above {format_number(low)}")
    if extremes:
        evidence = {"min": lowest, "max": highest, "quantile_01": low, "quantile_99": high}
        yield Finding("outliers", "low", (column.name,), f"{column.name} has {' and '.join(extremes)}", evidence)


def codes_as_numbers(inputs: RuleInput) -> Findings:
    """Whole numbers that are codes by their name: twice a postal code has no meaning."""
    for column in inputs.features:
        if column.kind == "integer" and column.distinct > 2 and CODE_NAME.search(column.name):
            sentence = f"{column.name} holds whole numbers, but its name suggests codes: treat them as categories"
            edit = {f"schema.columns.{column.name}.kind": "category"}
            yield Finding("code as number", "low", (column.name,), sentence, {"distinct": column.distinct}, edit)


def _time_order(inputs: RuleInput) -> Findings:
    for column in inputs.schema.features:
        if column.kind not in TIME_KINDS:
            continue
        moments = inputs.known_values(column.name)
        if len(moments) > 20 and (np.diff(moments) >= 0).mean() > 0.95:
            sentence = f"rows are sorted by {column.name}: test on the latest rows, as predictions are of the future"
            edit = {"training.split": {"kind": "time", "column": column.name}}
            yield Finding("time-ordered rows", "medium", (column.name,), sentence, {}, edit)


def _fraction(value: float) -> dict[str, float]:
    return {"fraction": round(value, 4)}
