"""Report -> one offline HTML file: no script, no font and no picture is fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.text import format_number, format_plain, join_names
from estimator.data.schema import Column
from estimator.data.schema.column import TIME_KINDS
from estimator.evaluation.explanation import Contributions, Dependence, Explanation, rates_in_words
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.scores import Slice
from estimator.pages import charts
from estimator.pages.charts import Chart
from estimator.pages.render import render_page
from estimator.training.report import Report
from estimator.training.train import Trained

MOST_BARS = 30
MOST_LEVELS = 12
MOST_MOVING, MOST_SHOWN = 8, 40
LEAST_P = 1e-6
SECONDS_A_YEAR = 31_556_952


def report_page(trained: Trained, report: Report, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> bytes:
    """Return the page."""
    schema, examples = trained.predictor.schema, _example_rows(report)
    return render_page(
        "report.html.j2",
        manifest=manifest,
        verdict=verdict(report),
        metrics=[_metric_row(report, name) for name in report.metrics],
        live=report.live_version,
        folds=trained.table.n_folds if report.folds else 0,
        coverage=report.coverage,
        slices=[_slice_row(item) for item in report.coverage.slices] if report.coverage else [],
        width=format_number(report.coverage.width) if report.coverage else None,
        weakness=report.explanation.weakness if report.explanation else None,
        weak=_weak_rows(report),
        fairness=_fairness_rows(report),
        examples=examples,
        is_sampled=any("±" in value for row in examples for _, value in row["moves"]),
        charts=[chart for chart in _charts(trained, report) if chart.svg],
        target=describe(trained.prepared.target) if report.task.is_regression else None,
        levels=_level_counts(trained) if not report.task.is_regression else None,
        columns=[_column_row(column) for column in schema.columns],
        config=json.dumps(config, indent=2, ensure_ascii=False),
        plain=format_plain,
    )


def verdict(report: Report) -> str:
    """Return one sentence: how good, and whether that is better than always giving the same answer."""
    name, score = report.first, report.metrics[report.first]
    constant = report.baseline[name]
    better = "better than" if report.beats_baseline else "NOT better than"
    return (
        f"{name} {score} on {len(report.truth):,} held-out rows, "
        f"{better} the same answer for every row ({format_number(constant.value)})."
    )


def describe(values: Floats) -> dict[str, str]:
    """Return what a first look at a column of numbers asks: count, mean, deviation, quartiles."""
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    numbers = [values.mean(), values.std(ddof=1), values.min(), *quartiles, values.max()]
    names = ["mean", "std", "min", "25%", "50%", "75%", "max"]
    return {
        "count": f"{len(values):,}",
        **{name: format_plain(float(v)) for name, v in zip(names, numbers, strict=True)},
    }


def _metric_row(report: Report, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "doc": (SHELF.load(name).__doc__ or "").strip().splitlines()[0],
        "value": str(report.metrics[name]),
        "folds": str(report.folds[name]) if report.folds else None,
        "baseline": str(report.baseline[name]),
        "live": None if report.live is None else str(report.live[name]),
    }


def _slice_row(item: Slice) -> dict[str, str]:
    return {
        "range": f"{format_number(item.low)} to {format_number(item.high)}",
        "rows": f"{item.rows:,}",
        "share": f"{item.share:.1%}",
        "width": format_number(item.width),
    }


def _weak_rows(report: Report) -> list[tuple[str, ...]]:
    found = report.explanation.weakness.found if report.explanation else ()
    return [
        (
            item.words,
            f"{item.rows:,}",
            format_number(item.score),
            format_number(item.elsewhere),
            f"{item.p:.2g}" if item.p >= LEAST_P else f"< {LEAST_P}",
        )
        for item in found
    ]


def _fairness_rows(report: Report) -> list[dict[str, Any]]:
    found = report.explanation.fairness if report.explanation else ()
    return [
        {
            "column": item.column,
            "verdict": item.verdict,
            "groups": [
                (group.words, f"{group.rows:,}", str(group.score), rates_in_words(group)) for group in item.groups
            ],
        }
        for item in found
    ]


def _example_rows(report: Report) -> list[dict[str, Any]]:
    """Return, per example, its answer and the columns that move it most."""
    explanation = report.explanation
    if explanation is None or explanation.contributions is None:
        return []
    told, found = explanation.contributions, []
    for place, row in enumerate(explanation.examples):
        order = np.argsort(-np.abs(told.values[place]), kind="stable")[:MOST_MOVING]
        named = f" ({told.unit} of {told.levels[place]!r})" if told.levels else ""
        rest = told.values[place].sum() - told.values[place][order].sum()
        found.append(
            {
                "answer": f"{format_number(told.answers[place])}{named}",
                "usual": format_number(told.base[place]),
                "moves": [_move(told, row, place, column) for column in order.tolist()],
                "rest": f"{rest:+.4g}" if len(order) < len(told.columns) else None,
            }
        )
    return found


def _move(told: Contributions, row: Mapping[str, Any], place: int, column: int) -> tuple[str, str]:
    name, value = told.columns[column], told.values[place][column]
    error = None if told.errors is None else told.errors[place][column]
    doubt = "" if error is None or not np.isfinite(error) else f" ± {error:.2g}"
    held = "a gap" if row[name] is None else str(row[name])
    return f"{name} is {held if len(held) <= MOST_SHOWN else held[: MOST_SHOWN - 1] + '…'}", f"{value:+.4g}{doubt}"


def _charts(trained: Trained, report: Report) -> list[Chart]:
    found = [_curves(trained)]
    found += _regression_charts(report) if report.task.is_regression else _level_charts(report)
    return found + (_explained_charts(trained, report.first, report.explanation) if report.explanation else [])


def _explained_charts(trained: Trained, metric: str, explanation: Explanation) -> list[Chart]:
    shown = list(explanation.importance)[:MOST_BARS]
    if not shown:
        return []
    svg = charts.bars(
        [item.column for item in shown], [item.loss for item in shown], [(item.high - item.low) / 2 for item in shown],
        title="permutation importance",
    )  # fmt: skip
    reading = f"How much {metric} worsens when a column's values are shuffled among held-out rows, with its interval."
    schema = trained.predictor.schema
    return [
        Chart("What the answers rest on", reading, svg),
        *(_dependence(schema.by_name[item.column], item, schema.target.name) for item in explanation.dependence),
    ]


def _dependence(column: Column, found: Dependence, target: str) -> Chart:
    told = target if found.level is None else f"probability of {found.level!r}"
    reading = f"The mean {told} with only {column.name} changed; around it, the change of the middle 80 % of rows."
    title = f"answers by {column.name}"
    if column.is_string:
        names = [str(place) or "gap" for place in found.places]
        svg = charts.bars(names, found.values.tolist(), ((found.high - found.low) / 2).tolist(), title=title)
    else:
        places, words = np.array(found.places, dtype=np.float64), column.name
        if column.kind in TIME_KINDS:
            places, words = 1970 + places / SECONDS_A_YEAR, f"{column.name}, year"
        svg = charts.band(places, found.values, found.low, found.high, x_title=words, y_title=told, title=title)
    return Chart(f"How answers change with {column.name}", reading, svg)


def _curves(trained: Trained) -> Chart:
    curves = trained.learned.curves
    series = {name: [entry[name] for entry in curves] for name in (curves[0] if curves else {})}
    svg = charts.lines(series, x_title="epoch or round", y_title="loss", title="learning curves") if series else ""
    return Chart("EncoderInput curves", "Loss after each pass; val_loss is of rows that were not learned from.", svg)


def _regression_charts(report: Report) -> list[Chart]:
    residuals = report.truth - report.answers.values
    agreement = charts.scatter(
        report.truth, report.answers.values, x_title="true", y_title="predicted", title="predicted against true"
    )
    spread = charts.histogram(residuals, x_title="true - predicted", title="residuals")
    return [
        Chart("Predicted against true", "Held-out rows; on the line, answer and truth agree.", agreement),
        Chart("Residuals", "What is left after the prediction; right of 0, the answer was too low.", spread),
    ]


def _level_charts(report: Report) -> list[Chart]:
    levels = report.task.classes
    shares = report.answers.probabilities
    if shares is None or len(levels) > MOST_LEVELS:
        return []
    counts = np.zeros((len(levels), len(levels)))
    np.add.at(counts, (report.truth.astype(np.int64), shares.argmax(axis=1)), 1)
    found = [
        Chart(
            "Confusion",
            "Held-out rows by true and likeliest level.",
            charts.matrix(counts, levels, title="confusion matrix"),
        )
    ]
    if len(levels) == 2:
        reading = f"Rows grouped by their probability of {levels[1]!r}: on the line, it means what it says."
        found.append(Chart("Calibration", reading, _calibration(report.truth, shares[:, 1])))
    return found


def _calibration(truth: Floats, shares: Floats) -> str:
    groups = np.array_split(np.argsort(shares, kind="stable"), min(10, len(shares)))
    told_shares = np.array([shares[group].mean() for group in groups])
    found_shares = np.array([truth[group].mean() for group in groups])
    return charts.scatter(
        told_shares, found_shares, x_title="probability told", y_title="share found", title="calibration"
    )


def _level_counts(trained: Trained) -> dict[str, str]:
    target, levels = trained.prepared.target, trained.predictor.task.classes
    counts = np.bincount(target.astype(np.int64), minlength=len(levels))
    return {
        level: f"{count:,} ({count / len(target):.1%})" for level, count in zip(levels, counts.tolist(), strict=True)
    }


def _column_row(column: Column) -> dict[str, str]:
    if column.categories:
        holds = join_names(column.categories, limit=6)
    else:
        holds = (
            column.training_summary.removeprefix("training range ")
            if column.training_range
            else ""
            if column.example is None
            else str(column.example)
        )
    return {
        "name": column.name,
        "kind": column.kind if column.is_feature else f"{column.kind}, not used",
        "gaps": join_names(map(repr, ("", *column.na_values)), limit=4) if column.nullable else "not nullable",
        "holds": holds,
    }
