"""A version -> its model card: what it is for, what it learned from, how good it is and where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from estimator.core.text import format_number
from estimator.data.schema import Schema
from estimator.errors import needs_extra
from estimator.evaluation.explanation import rates_in_words
from estimator.evaluation.scores import Score
from estimator.exploration.findings.traits import is_sensitive
from estimator.training.report import Report
from estimator.training.report_page import verdict

MOST_IMPORTANT = 10


def model_card(schema: Schema, report: Report, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> bytes:
    """Return the card as Markdown, in the order of Mitchell et al. (2019), "Model Cards for Model Reporting"."""
    with needs_extra("train", "writing a card"):
        from jinja2 import Environment, StrictUndefined
    source = files("estimator.pages.templates").joinpath("card.md.j2").read_text(encoding="utf-8")
    # The card is text, not HTML; names from the table are told as code, in which Markdown reads nothing.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    environment.filters |= {"code": _code, "figure": format_number, "row": _cell}
    explanation = report.explanation
    return (
        environment.from_string(source)
        .render(
            manifest=manifest,
            config=config,
            verdict=verdict(report),
            metrics=[_metric(report, name) for name in report.metrics],
            has_folds=report.folds is not None,
            coverage=report.coverage,
            schema=schema,
            sensitive=[column.name for column in schema.features if is_sensitive(column.name, schema.target.name)],
            important=list(explanation.importance)[:MOST_IMPORTANT] if explanation else [],
            weak=list(explanation.weakness.found) if explanation else [],
            fairness=list(explanation.fairness) if explanation else [],
            rates=rates_in_words,
            first=report.first,
        )
        .encode()
    )


def _metric(report: Report, name: str) -> tuple[str, Score, Score | str, Score]:
    return name, report.metrics[name], report.folds[name] if report.folds else "", report.baseline[name]


def _code(text: object) -> str:
    """Return a text as Markdown's code.

    >>> _code("a|b"), _code("a `quoted` name")
    ('`a\\\\|b`', "`a 'quoted' name`")
    """
    return f"`{_cell(text).replace('`', chr(39))}`"


def _cell(text: object) -> str:
    """Return a text as a table's cell can hold it, in one line."""
    return " ".join(str(text).split()).replace("|", "\\|")
