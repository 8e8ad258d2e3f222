"""What single columns are: constant, identifying, sensitive, of many categories; and the quality of the target."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl

from estimator.core.text import counted, format_number
from estimator.data.schema import Column
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.exploration.findings.calendar import calendar_of
from estimator.exploration.findings.evidence import Evidence
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, drop_edit
from estimator.exploration.profile import ColumnProfile

CODE_NAME = re.compile(
    r"(?:^|[_\s.-]|(?<=[a-z]))(?:zip|zip_?code|post_?code|postal_?code|code|(?:sub)?class|category|type)(?:_?id)?$",
    re.IGNORECASE,
)
ROW_NUMBER_NAME = re.compile(
    r"|Unnamed: ?\d+(?:[._]\d+)*|index|level_\d+|__index_level_\d+__|\.\.\.1|X(?:\.\d+)?"
    r"|row(?:[ _.-]?(?:names?|num(?:ber)?|id|no|nr))?",
    re.IGNORECASE,
)
# R's name for row numbers, and that of many a coordinate.
DOUBTFUL_NAME = re.compile(r"X(?:\.\d+)?", re.IGNORECASE)
SENSITIVE_NAME = re.compile(
    r"(?:race|sex|gender|age|senior(?:citizens?)?|ethnic\w*|religio\w*|marital\w*|marriage|nationality|"
    r"native[-_. ]?country|disab\w*|pregnan\w*|birth\w*)",
    re.IGNORECASE,
)


def constants(inputs: RuleInput) -> Findings:
    """Columns that are empty, constant or nearly constant."""
    for column in inputs.columns:
        name = column.name
        if column.count == 0:
            plural = "{names} are empty"
            yield Finding("empty column", "low", (name,), f"{name} is empty", {}, drop_edit(name), plural=plural)
        elif column.distinct == 1 and column.missing == 0:
            sentence, plural = (f"{subject} the same value in every row" for subject in (f"{name} has", "{names} have"))
            yield Finding("constant", "low", (name,), sentence, {}, drop_edit(name), plural=plural)
        elif column.distinct == 1 and column.missing > 0.005 * inputs.profile.rows:
            yield _constant_or_missing(inputs, column)
        elif column.top_categories and column.top_categories[0][1] >= 0.995 * inputs.profile.rows:
            fraction = column.top_categories[0][1] / inputs.profile.rows
            detail = f"{column.top_categories[0][0]!r:.60} in {fraction:.1%} of rows"
            edit, plural = drop_edit(name), "hardly ever something else: {names}"
            evidence = _fraction(fraction)
            yield Finding(
                "nearly constant", "low", (name,), f"{name} is {detail}", evidence, edit, plural=plural, detail=detail
            )


def _constant_or_missing(inputs: RuleInput, column: ColumnProfile) -> Finding:
    """Return the finding of a column of one value and missing ones; whether it is missing may say something."""
    name, fraction = column.name, column.missing / inputs.profile.rows
    evidence = Evidence.of(inputs)
    says_something = False
    if evidence is not None:
        mask = evidence.is_missing(name)
        says_something = bool(mask.any()) and evidence.power_of(mask.astype(np.float64)).low > 0.005
    sentence = f"{name} has one value, and is missing in {fraction:.1%} of rows"
    edit = None if says_something else drop_edit(name)
    if says_something:
        sentence += f", which goes with {inputs.target.name}: does missing mean no?"
    return Finding("constant or missing", "low", (name,), sentence, _fraction(fraction), edit)


def identifiers(inputs: RuleInput) -> Findings:
    """Columns that identify rows."""
    plural = "{names} identify rows and are no features"
    for column in inputs.columns:
        name = column.name
        if column.kind != "identifier":
            continue
        detail = f"{counted(column.distinct, 'value')} in {counted(column.count, 'row')}"
        what = "identifies rows" if column.distinct >= 0.9 * column.count else "holds keys or codes"
        sentence = f"{name} {what} ({detail}) and is no feature"
        yield Finding(
            "identifier", "note", (name,), sentence, {"distinct": column.distinct}, drop_edit(name), plural=plural
        )


def row_numbers(inputs: RuleInput) -> Findings:
    """Columns that number the rows, as pandas and R write them: by an unnamed or usual name, and whole numbers."""
    for column in inputs.columns:
        name = column.name
        series = inputs.rows[name].drop_nulls()
        if ROW_NUMBER_NAME.fullmatch(name.strip()) is None or len(series) < 20:
            continue
        numbers = series.cast(pl.Float64, strict=False)
        is_whole = numbers.null_count() <= 0.001 * len(series) and bool((numbers == numbers.floor()).all())
        # Rows that were taken twice have their number twice.
        known = numbers.drop_nulls().to_numpy()
        span = float(np.ptp(known)) if len(known) else 0.0
        runs = numbers.is_sorted() or span < 3 * inputs.profile.rows or not DOUBTFUL_NAME.fullmatch(name.strip())
        if is_whole and runs and numbers.n_unique() >= 0.9 * len(series):
            shown = repr(name) if name != name.strip() or not name else name
            sentence = f"{shown} numbers the rows, as a data frame's index does: it says nothing of them"
            yield Finding("row numbers", "medium", (name,), sentence, {}, drop_edit(name))


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
            plural = "{names} may be protected attributes: decide whether the model may use them"
            yield Finding(
                "sensitive attribute", "medium", (column.name,), sentence, {}, drop_edit(column.name), plural=plural
            )


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
            yield _high_cardinality(column)
        if column.missing > 0.5 * inputs.profile.rows and column.distinct > 1:
            fraction = column.missing / inputs.profile.rows
            shown = ">99.9%" if 0.9995 <= fraction < 1 else f"{fraction:.1%}"
            sentence, plural = f"{name} is missing in {shown} of rows", "missing in most rows: {names}"
            yield Finding(
                "many missing values", "note", (name,), sentence, _fraction(fraction), plural=plural, detail=shown
            )
    yield from _time_order(inputs)


def _high_cardinality(column: ColumnProfile) -> Finding:
    name, detail = column.name, f"{column.distinct:,} categories"
    uses = "linear models and nets use"
    sentence, plural = f"{name} has {detail}: {uses} its target encoding", f"{{names}}: {uses} their target encodings"
    edit = {f"features.columns.{name}": {"encoder": "target_mean"}}
    evidence = {"categories": column.distinct}
    return Finding("high cardinality", "note", (name,), sentence, evidence, edit, plural=plural, detail=detail)


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
        detail, plural = " and ".join(extremes), "values far from all others: {names}"
        sentence = f"{column.name} has {detail}"
        detail = detail.replace("a maximum of", "up to").replace("a minimum of", "down to")
        yield Finding("outliers", "low", (column.name,), sentence, evidence, plural=plural, detail=detail)


def codes_as_numbers(inputs: RuleInput) -> Findings:
    """Whole numbers that are codes by their name: twice a postal code has no meaning."""
    for column in inputs.features:
        if column.kind == "integer" and column.distinct > 2 and CODE_NAME.search(column.name):
            sentence = f"{column.name} holds whole numbers, but its name suggests codes: treat them as categories"
            plural = "{names} hold whole numbers, but their names suggest codes: treat them as categories"
            edit = {f"schema.columns.{column.name}.kind": "category"}
            evidence = {"distinct": column.distinct}
            yield Finding("code as number", "low", (column.name,), sentence, evidence, edit, plural=plural)


def _time_order(inputs: RuleInput) -> Findings:
    """The column by which rows are sorted in time: dates and times, or whole numbers that tell one; the finest."""
    distinct = {column.name: column.distinct for column in inputs.columns}
    ordered = [column for column in inputs.schema.columns if column.name in distinct and _is_time_order(inputs, column)]
    if not ordered:
        return
    finest = max(ordered, key=lambda column: (column.kind in TIME_KINDS, distinct[column.name])).name
    sentence = f"rows are sorted by {finest}: test on the latest rows, as predictions are of the future"
    edit = {"training.split": {"kind": "time", "column": finest}}
    yield Finding("time-ordered rows", "medium", (finest,), sentence, {}, edit)


def _is_time_order(inputs: RuleInput, column: Column) -> bool:
    if not column.used or column.kind not in (*TIME_KINDS, "integer"):
        return False
    moments = inputs.known_values(column.name)
    if len(moments) <= 20 or moments[0] == moments[-1] or (np.diff(moments) >= 0).mean() <= 0.95:
        return False
    return column.kind in TIME_KINDS or calendar_of(moments) is not None


def _fraction(value: float) -> dict[str, float]:
    return {"fraction": round(value, 4)}
