"""The tables that show a drift check and its diagnosis, and the page of a table that was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from estimator.core.text import counted
from estimator.monitoring.checked_table import CheckedTable
from estimator.monitoring.drift_check import MAX_LISTED, MAX_LISTED_P_VALUE, DriftCheck
from estimator.pages.charts import Chart
from estimator.pages.overlay import overlay
from estimator.pages.render import render_page

MAX_SLICES = 7
MAX_INPUTS_LENGTH = 300
LABELS = "in the reference", "now"
EXAMPLES = "The rows that are least likely among those of the reference."


@dataclass(frozen=True, slots=True)
class TableCard:
    """A table of the page with its heading and the sentence that explains it."""

    heading: str
    reading: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_wide: bool = False


def checked_table_page(checked: CheckedTable) -> bytes:
    """Return the page of a table that was compared with a reference."""
    check, diagnosis = checked.check, checked.diagnosis
    cards = [] if diagnosis is None else [diagnosis_card("What drifted", diagnosis.message, diagnosis.to_data())]
    if diagnosis is not None and diagnosis.examples:
        values = [_inputs(example) for example in diagnosis.examples]
        rows = list(zip(diagnosis.example_names, values, strict=True))
        cards.append(TableCard("Example rows", EXAMPLES, ["row", "values"], rows, is_wide=True))
    return render_page(
        "monitoring.html.j2",
        name=checked.table,
        version=f"compared with {checked.compared_with}",
        state="alarm" if checked.drifted else "calm",
        verdict=checked.message,
        period="; ".join([counted(check.n_rows, "row"), *filter(None, [checked.not_compared_message])]),
        alarms=[],
        charts=_histograms(checked),
        tables=[*cards, check_card(check)],
    )


def _histograms(checked: CheckedTable) -> list[Chart]:
    if checked.diagnosis is None:
        return []
    charts = []
    for moved, bins in zip(checked.diagnosis.columns, checked.histograms, strict=True):
        svg, legend = overlay(bins, LABELS, title=f"{moved.column} in the reference and now")
        reading = f"{moved.message[:1].upper()}{moved.message[1:]}. Effect {moved.effect:.2f}."
        charts.append(Chart(moved.column, reading, svg, legend))
    return charts


def check_card(check: DriftCheck) -> TableCard:
    """Return the results of every test that are hardly random, smallest p-values first."""
    rows = [
        (kind, result.column or "rows", f"{result.effect:.2f}", f"{result.p_value:.2g}", result.message)
        for kind, result in check.listed
    ]
    heads = ["test", "column", "effect", "p", "change"]
    listed = f"listed are p-values of at most {MAX_LISTED_P_VALUE}, {MAX_LISTED} of a test"
    reading = f"{check.message[0].upper()}{check.message[1:]}; {listed}."
    return TableCard("Drift tests", reading, heads if rows else [], rows, is_wide=True)


def diagnosis_card(heading: str, reading: str, diagnosis: Mapping[str, Any]) -> TableCard:
    """Return the columns and slices of a diagnosis, given as JSON-ready data."""
    predictions = diagnosis.get("predictions")
    moved_columns = [*diagnosis["columns"], *([{**predictions, "column": "predictions"}] if predictions else [])]
    rows = [
        (moved["column"], f"{moved['effect']:.2f}", moved["message"], moved.get("data_fault") or "")
        for moved in moved_columns
    ]
    n_heads = 4 if any(fault for _, _, _, fault in rows) else 3
    for grown in diagnosis.get("grown_slices", [])[:MAX_SLICES]:
        fractions = f"{grown['reference']:.1%} of the rows in the reference, {grown['current']:.1%} now"
        rows.append((grown["message"], "", fractions, ""))
    heads = ["column or slice", "effect", "change", "likely data fault"]
    return TableCard(heading, reading, heads[:n_heads], [row[:n_heads] for row in rows], is_wide=True)


def _inputs(example: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name}: {'' if value is None else value}" for name, value in example["inputs"].items())
    return values if len(values) <= MAX_INPUTS_LENGTH else f"{values[:MAX_INPUTS_LENGTH]} ..."
