"""Report -> report.html, one offline page that fetches no script, font or image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.credentials import redacted
from estimator.core.text import format_number, format_plain, join_names
from estimator.core.units import mean_and_deviation
from estimator.data.schema import Column
from estimator.data.schema.column import TIME_KINDS
from estimator.evaluation.explanation import Contributions, Explanation, PartialDependence
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.scores import CoverageBin, wilson
from estimator.pages import charts
from estimator.pages.charts import Chart
from estimator.pages.render import render_page
from estimator.training.curves import LOSS, VALIDATION
from estimator.training.report import Report
from estimator.training.threshold_card import threshold_card
from estimator.training.train import TrainedModel

MAX_BARS = 30
MAX_CLASSES = 12
MAX_CONTRIBUTIONS, MAX_VALUE_CHARS = 8, 40
MIN_SHOWN_P_VALUE = 1e-6
SECONDS_PER_YEAR = 31_556_952


def report_page(trained: TrainedModel, report: Report, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> bytes:
    """Return the page."""
    schema, examples = trained.predictor.schema, _examples(trained, report)
    return render_page(
        "report.html.j2",
        manifest=manifest,
        verdict=verdict(report),
        baseline=_baseline(report),
        metrics=[_metric_row(report, name) for name in report.metrics],
        live=report.live_version,
        n_folds=trained.fit_data.n_folds if report.folds else 0,
        confusion=report.confusion.table if report.confusion else [],
        leaderboard=report.leaderboard,
        threshold=threshold_card(report.threshold_effect),
        coverage=report.coverage,
        coverage_text=coverage_text(report),
        coverage_bins=[_bin_row(item) for item in report.coverage.bins] if report.coverage else [],
        weak_slices=report.explanation.weak_slices if report.explanation else None,
        weak_rows=_weak_rows(report),
        fairness=_fairness_rows(report),
        examples=examples,
        is_sampled=any("±" in value for example in examples for _, value in example["contributions"]),
        charts=[chart for chart in _charts(trained, report) if chart.svg],
        target=describe(trained.prepared.rows.target) if report.task.is_regression else None,
        classes=_class_counts(trained) if not report.task.is_regression else None,
        columns=[_column_row(column) for column in schema.columns],
        formulas=[
            (formula.name, formula.text, formula.kind, join_names(formula.columns))
            for formula in trained.prepared.formulas
        ],
        config=json.dumps(config, indent=2, ensure_ascii=False),
    )


def verdict(report: Report) -> str:
    """Return one sentence: how good the model is, and whether it is better than the baseline."""
    name = report.deciding_metric
    better = "better than" if report.beats_baseline else "NOT better than"
    return (
        f"{name} {report.metrics[name]} on {len(report.actual):,} held-out rows, "
        f"{better} always predicting {_baseline(report)} ({format_number(report.baseline[name].value)})."
    )


def _baseline(report: Report) -> str:
    return "the mean" if report.task.is_regression else "the class frequencies"


def coverage_text(report: Report) -> str:
    """Return one sentence: how often intervals, or sets of classes, cover the actual value; empty without them."""
    if report.coverage is None:
        return ""
    target, actual, mean_width = report.coverage.target, report.coverage.actual, report.coverage.mean_width
    covered = f"{actual.value:.1%} of actual values ({actual.low:.1%} to {actual.high:.1%})"
    if report.task.is_regression:
        return f"{target:.0%} intervals cover {covered}; their mean width is {format_number(mean_width)}."
    return f"{target:.0%} sets cover {covered}; their mean size is {format_number(mean_width)}."


def describe(values: Floats) -> dict[str, str]:
    """Return summary statistics of numbers, as text: count, mean, standard deviation, minimum, quartiles, maximum."""
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    numbers = [*mean_and_deviation(values, ddof=1), values.min(), *quartiles, values.max()]
    names = ["mean", "std", "min", "25%", "50%", "75%", "max"]
    texts = {name: format_plain(float(number)) for name, number in zip(names, numbers, strict=True)}
    return {"count": f"{len(values):,}", **texts}


def _metric_row(report: Report, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "doc": (SHELF.load(name).__doc__ or "").strip().splitlines()[0],
        "value": str(report.metrics[name]),
        "folds": str(report.folds[name]) if report.folds else None,
        "baseline": str(report.baseline[name]),
        "live": None if report.live is None else str(report.live[name]),
    }


def _bin_row(item: CoverageBin) -> tuple[str, ...]:
    return (
        f"{format_number(item.low)} to {format_number(item.high)}",
        f"{item.rows:,}",
        f"{item.coverage:.1%}",
        format_number(item.mean_width),
    )


def _weak_rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (
            item.condition,
            f"{item.rows:,}",
            format_number(item.score),
            format_number(item.score_elsewhere),
            f"{item.p_value:.2g}" if item.p_value >= MIN_SHOWN_P_VALUE else f"< {MIN_SHOWN_P_VALUE}",
        )
        for item in (report.explanation.weak_slices.slices if report.explanation else ())
    ]


def _fairness_rows(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "column": item.column,
            "verdict": item.verdict,
            "groups": [
                (group.condition, f"{group.rows:,}", str(group.score), group.rates_text) for group in item.groups
            ],
        }
        for item in (report.explanation.fairness if report.explanation else ())
    ]


def _examples(trained: TrainedModel, report: Report) -> list[dict[str, Any]]:
    """Return, per example, its prediction and the columns and formulas that contribute most to it."""
    explanation = report.explanation
    if explanation is None or explanation.contributions is None:
        return []
    added = explanation.contributions
    rows = explanation.examples
    formulas = trained.prepared.formulas.json_rows(trained.predictor.schema.read_rows(rows))
    shown = [{name: _shortened(value) for name, value in values.items()} for values in formulas]
    return [_example(added, {**row, **shown[index]}, index) for index, row in enumerate(rows)]


def _shortened(value: Any) -> Any:
    return format_number(value) if isinstance(value, float) else value


def _example(added: Contributions, row: Mapping[str, Any], index: int) -> dict[str, Any]:
    values = added.values[index]
    largest = np.argsort(-np.abs(values), kind="stable")[:MAX_CONTRIBUTIONS]
    rest = values.sum() - values[largest].sum()
    unit = f" ({added.unit} of {added.classes[index]!r})" if added.classes else ""
    return {
        "prediction": f"{format_number(added.predictions[index])}{unit}",
        "base": format_number(added.base[index]),
        "contributions": [_contribution(added, row, index, column) for column in largest.tolist()],
        "rest": f"{rest:+.4g}" if len(largest) < len(added.columns) else None,
    }


def _contribution(added: Contributions, row: Mapping[str, Any], index: int, column: int) -> tuple[str, str]:
    name, value = added.columns[column], added.values[index][column]
    error = float("nan") if added.standard_errors is None else added.standard_errors[index][column]
    text = "missing" if row[name] is None else redacted(str(row[name]), assignments=False)
    shown = text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 1]}…"
    return f"{name} is {shown}", f"{value:+.4g} ± {error:.2g}" if np.isfinite(error) else f"{value:+.4g}"


def _charts(trained: TrainedModel, report: Report) -> list[Chart]:
    of_task = _regression_charts(report) if report.task.is_regression else _classification_charts(report)
    explanation = report.explanation
    explained = _explanation_charts(trained, report.deciding_metric, explanation) if explanation else []
    return [*_learning_curves(trained, report.overfitting), *of_task, *explained]


def _explanation_charts(trained: TrainedModel, metric: str, explanation: Explanation) -> list[Chart]:
    shown = list(explanation.importance)[:MAX_BARS]
    if not shown:
        return []
    svg = charts.bars(
        [item.column for item in shown],
        [item.importance for item in shown],
        [item.low for item in shown],
        [item.high for item in shown],
        title="permutation importance",
    )
    caption = f"How much {metric} worsens when the values of a column are shuffled, with confidence intervals."
    if len(trained.prepared.formulas):
        caption += " Formulas are computed of the shuffled values."
    schema = trained.predictor.schema
    return [
        Chart("Feature importance", caption, svg),
        *(
            _dependence(schema.by_name[item.column], item, schema.target.name)
            for item in explanation.partial_dependence
        ),
    ]


def _dependence(column: Column, item: PartialDependence, target: str) -> Chart:
    output = target if item.class_name is None else f"probability of {item.class_name!r}"
    title = f"partial dependence on {column.name}"
    if column.is_string:
        names = [str(value) or "missing" for value in item.grid]
        svg = charts.bars(names, item.mean.tolist(), item.low.tolist(), item.high.tolist(), title=title)
    else:
        grid, x_title = np.array(item.grid, dtype=np.float64), column.name
        if column.kind in TIME_KINDS:
            grid, x_title = 1970 + grid / SECONDS_PER_YEAR, f"{column.name}, year"
        svg = charts.band(grid, item.mean, item.low, item.high, x_title=x_title, y_title=output, title=title)
    caption = f"Mean {output} as {column.name} alone changes. The band holds the middle 80% of the rows."
    return Chart(f"Partial dependence: {column.name}", caption, svg)


def _learning_curves(trained: TrainedModel, sentence: str | None) -> list[Chart]:
    """Return a chart of the loss, and one of each metric that was measured after each epoch."""
    curves = trained.fitted.curves
    names = list(dict.fromkeys(name.removeprefix(VALIDATION) for name in (curves[0] if curves else {})))
    drawn = []
    for name in names:
        series = {key: [entry[key] for entry in curves] for key in (name, f"{VALIDATION}{name}") if key in curves[0]}
        title = "Learning curves" if name == LOSS else f"Learning curves: {name}"
        svg = charts.lines(series, x_title="epoch or tree", y_title=name, title=title.lower())
        caption = (
            f"{name.capitalize()} after each epoch or tree; {VALIDATION}{name} is on rows that it is not trained on."
        )
        drawn.append(Chart(title, f"{caption} {sentence}" if name == LOSS and sentence else caption, svg))
    return drawn


def _regression_charts(report: Report) -> list[Chart]:
    actual, predicted = report.actual, report.predictions.values
    scatter = charts.scatter(actual, predicted, x_title="actual", y_title="predicted", title="predicted against actual")
    histogram = charts.histogram(actual - predicted, x_title="actual - predicted", title="residuals")
    return [
        Chart("Predicted and actual", "Held-out rows. On the line, the prediction is exact.", scatter),
        Chart("Residuals", "Held-out rows. Right of 0, the prediction was too low.", histogram),
    ]


def _classification_charts(report: Report) -> list[Chart]:
    classes, probabilities = report.task.classes, report.predictions.probabilities
    if probabilities is None or len(classes) > MAX_CLASSES:
        return []
    assert report.confusion is not None  # there are classes
    matrix = charts.matrix(report.confusion.counts, classes, title="confusion matrix")
    confusion = Chart("Confusion matrix", "Held-out rows by actual and predicted class.", matrix)
    if len(classes) != 2:
        return [confusion]
    caption = (
        f"Held-out rows in groups of equal size by their probability of {classes[1]!r}, with 95% intervals. On the "
        "line, probabilities are calibrated."
    )
    return [confusion, Chart("Calibration", caption, _calibration(report.actual, probabilities[:, 1]))]


def _calibration(actual: Floats, probabilities: Floats) -> str:
    groups = np.array_split(np.argsort(probabilities, kind="stable"), min(10, len(probabilities)))
    predicted = np.array([probabilities[group].mean() for group in groups])
    observed = [wilson(int(actual[group].sum()), len(group)) for group in groups]
    value, low, high = (np.array([getattr(score, part) for score in observed]) for part in ("value", "low", "high"))
    return charts.scatter(
        predicted,
        value,
        x_title="mean predicted probability",
        y_title="observed frequency",
        title="calibration",
        whiskers=(low, high),
    )


def _class_counts(trained: TrainedModel) -> dict[str, str]:
    target, classes = trained.prepared.rows.target, trained.predictor.task.classes
    counts = np.bincount(target.astype(np.int64), minlength=len(classes)).tolist()
    return {name: f"{count:,} ({count / len(target):.1%})" for name, count in zip(classes, counts, strict=True)}


def _column_row(column: Column) -> tuple[str, ...]:
    if column.categories:
        values = join_names(column.categories, limit=6)
    elif column.training_range:
        values = column.training_summary.removeprefix("training range ")
    else:
        values = "" if column.example is None else str(column.example)
    return (
        column.name,
        f"{column.kind}{_use(column)}",
        join_names(map(repr, ("", *column.na_values)), limit=4) if column.nullable else "not nullable",
        values,
    )


def _use(column: Column) -> str:
    if not column.is_feature:
        return ", not used"
    return ", only in formulas" if column.only_in_formulas else ""
