"""A version -> its model card: intended use, training data, quality and weak slices, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estimator.data.schema import Schema
from estimator.evaluation.scores import Score
from estimator.evaluation.threshold import recorded_threshold
from estimator.exploration.findings.columns import is_sensitive
from estimator.pages.render import render_text
from estimator.training.report import Report
from estimator.training.report_page import coverage_text, verdict

MAX_FEATURES = 10


def model_card(schema: Schema, report: Report, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> bytes:
    """Return the card as Markdown, in the order of Mitchell et al. (2019), "Model Cards for Model Reporting".

    `manifest` is the content of manifest.json, `config` the complete config as JSON-ready data.
    """
    explanation = report.explanation
    return render_text(
        "card.md.j2",
        manifest=manifest,
        config=config,
        verdict=verdict(report),
        metrics=[_metric(report, name) for name in report.metrics],
        has_folds=report.folds is not None,
        tables=[
            *([("Members of the ensemble", report.leaderboard)] if report.leaderboard else []),
            *([("Classes, on the held-out rows", report.confusion.table)] if report.confusion else []),
        ],
        threshold=recorded_threshold(manifest),
        threshold_effect=report.threshold_effect,
        coverage_text=coverage_text(report),
        schema=schema,
        sensitive=[column.name for column in schema.features if is_sensitive(column.name)],
        important=list(explanation.importance)[:MAX_FEATURES] if explanation else [],
        weak_slices=list(explanation.weak_slices.slices) if explanation else [],
        fairness=list(explanation.fairness) if explanation else [],
        deciding_metric=report.deciding_metric,
    ).encode()


def _metric(report: Report, name: str) -> tuple[str, Score, Score | str, Score]:
    return name, report.metrics[name], report.folds[name] if report.folds else "", report.baseline[name]
