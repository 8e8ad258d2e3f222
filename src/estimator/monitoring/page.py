"""The monitoring page: e-values and their threshold, traffic, predictions, losses, events and versions, offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from estimator.core.clock import format_time
from estimator.core.text import counted, format_number
from estimator.monitoring.events import Point
from estimator.monitoring.overview import Overview, e_values_by_column
from estimator.pages.charts import Chart
from estimator.pages.render import render_page
from estimator.pages.timeline import SERIES_COLORS, timeline

MAX_LINES = SERIES_COLORS - 1
MAX_TABLE_ROWS = 40
EVENT_NAMES = {
    "drift": "drift",
    "degradation": "worse predictions",
    "check": "check",
    "retrain": "retraining",
    "promote": "promotion",
    "rollback": "rollback",
}
E_VALUE_AXIS = "log10 of the e-value"
E_VALUE_SENTENCE = (
    'An e-value measures the evidence against "nothing has changed": 1 means none; without a change, 1,000 is reached '
    "about once in a thousand periods. The dashed line is the alarm threshold, set by the false-alarm budget."
)


@dataclass(frozen=True, slots=True)
class TableCard:
    """A table of the page with its heading and the sentence that explains it."""

    heading: str
    reading: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_wide: bool = False


def monitoring_page(state: Overview) -> bytes:
    """Return the page; the only values of rows in it are those that name a slice."""
    return render_page(
        "monitoring.html.j2",
        name=state.model,
        version=state.version,
        state="alarm" if state.has_alarm else "calm",
        verdict=verdict(state),
        period=f"{format_time(state.since)} to {format_time(state.until)}, {counted(state.n_rows, 'row')}",
        charts=[chart for chart in (*_e_value_charts(state), *_traffic_charts(state)) if chart.svg],
        tables=[table for table in _tables(state) if table is not None],
    )


def verdict(state: Overview) -> str:
    """Return the state in a sentence."""
    if state.alarms:
        return state.alarms[-1].message
    if state.check is not None and state.check.drifted:
        return state.check.message
    return "no alarm" if state.n_rows else "the log has no prediction of this version in this time"


def _e_value_charts(state: Overview) -> list[Chart]:
    # A point stands for its minute, which may have begun before the time that is shown.
    points = [replace(point, at=max(point.at, state.since)) for point in state.points if point.at <= state.until]
    of_version = [point for point in points if point.version == state.version] or points
    if not of_version:
        return []
    times, marks = (state.since, state.until), _marks(state)
    lines = {"rows": _series(points, "log_e_value"), "losses": _series(points, "loss_log_e_value")}
    columns = e_values_by_column(of_version, MAX_LINES)
    whole = timeline(
        lines,
        times,
        y_title=E_VALUE_AXIS,
        title="e-values over time",
        threshold=of_version[-1].details["log_threshold"],
        moments=marks,
    )
    by_column = timeline(columns, times, y_title=E_VALUE_AXIS, title="e-values by column", moments=marks)
    return [
        Chart("Evidence of drift", E_VALUE_SENTENCE, whole, list(lines)),
        Chart("Evidence by column", "The columns with the largest e-values.", by_column, list(columns)),
    ]


def _series(points: Sequence[Point], key: str) -> list[tuple[float, float]]:
    return [(point.at, point.details[key]) for point in points]


def _marks(state: Overview) -> list[tuple[float, str]]:
    """Return what is marked on the time axes: events and changes of the live version."""
    events = [
        (event.at, f"{format_time(event.at)} {EVENT_NAMES[event.kind]}: {event.message}")
        for event in state.events
        if event.kind != "check"
    ]
    changes = [
        (datetime.fromisoformat(change.time).timestamp(), f"{change.time} {change.action}: live is {change.version}")
        for change in state.alias_changes
        if change.alias == "live"
    ]
    return [*events, *changes]


def _traffic_charts(state: Overview) -> list[Chart]:
    times, bins, marks = (state.since, state.until), state.time_bins, _marks(state)
    if not bins:
        return []
    performance = state.performance
    medians = [(item.at, item.predictions[1]) for item in bins if item.predictions]
    bands = [(item.at, item.predictions[0], item.predictions[2]) for item in bins if item.predictions]
    losses = [(item.at, item.loss) for item in bins if item.loss is not None]
    coverage = [(item.at, item.coverage) for item in bins if item.coverage is not None]
    rows = timeline(
        {},
        times,
        y_title="rows",
        title="rows over time",
        bars=[(item.at, item.n_rows) for item in bins],
        moments=marks,
        least=0.0,
    )
    predictions = timeline(
        {"predictions": medians}, times, y_title="predictions", title="predictions over time", band=bands, moments=marks
    )
    loss = timeline(
        {"loss": losses},
        times,
        y_title="mean loss",
        title="loss over time",
        threshold=performance.reference_loss if performance else None,
        moments=marks,
        least=0.0,
    )
    covered = timeline(
        {"coverage": coverage},
        times,
        y_title="fraction",
        title="coverage over time",
        threshold=performance.target_coverage if performance and coverage else None,
        moments=marks,
    )
    return [
        Chart("Rows", "Predicted rows in each part of the time.", rows),
        Chart("Predictions", "The line is the median; the band holds the middle 80 %.", predictions),
        Chart("Loss", "Of labeled rows, by the time of the prediction. The dashed line is held-out rows.", loss),
        Chart("Coverage", "Fraction of labels in their interval or set. The dashed line is the target.", covered),
    ]


def _tables(state: Overview) -> list[TableCard | None]:
    return [
        _performance_table(state),
        _drift_table(state),
        _weak_slice_table(state),
        _version_table(state),
        _event_table(state),
    ]


def _performance_table(state: Overview) -> TableCard | None:
    performance = state.performance
    if performance is None:
        return None
    rows = [("rows", f"{performance.n_rows:,}"), ("labels", f"{performance.n_labels:,}")]
    rows += [(f"label delay, {name}", f"{days:.2f} days") for name, days in performance.label_delays.items()]
    rows += [("mean loss", f"{performance.loss}")] if performance.loss else []
    rows += [
        ("loss on held-out rows", format_number(performance.reference_loss)),
        ("expected loss", format_number(performance.expected_loss)),
    ]
    if performance.coverage:
        rows.append(("coverage", f"{performance.coverage}, target {performance.target_coverage:.0%}"))
    rows += [(name, format_number(value)) for name, value in performance.metrics.items()]
    warnings = " ".join(f"{warning[0].upper()}{warning[1:]}." for warning in performance.warnings)
    return TableCard("Performance", warnings, [], rows)


def _drift_table(state: Overview) -> TableCard | None:
    last = next((event for event in reversed(state.alarms) if event.kind == "drift"), None)
    if last is None:
        return None
    moved_columns = [*last.details["columns"], {**last.details["predictions"], "column": "predictions"}]
    rows = [
        (moved["column"], f"{moved['effect']:.2f}", moved["message"], moved.get("data_fault") or "")
        for moved in moved_columns
    ]
    for grown in last.details.get("grown_slices", [])[:MAX_LINES]:
        fractions = f"{grown['reference']:.1%} of the rows in training, {grown['current']:.1%} now"
        rows.append((grown["message"], "", fractions, ""))
    heads = ["column or slice", "effect", "change", "likely data fault"]
    return TableCard("Last drift alarm", f"{format_time(last.at)}: {last.message}", heads, rows, is_wide=True)


def _weak_slice_table(state: Overview) -> TableCard | None:
    slices = state.performance.weak_slices if state.performance else ()
    rows = [
        (weak.condition, f"{weak.rows:,}", format_number(weak.score), format_number(weak.score_elsewhere))
        for weak in slices
    ]
    return TableCard("Weak slices", "", ["slice", "rows", "score", "score elsewhere"], rows) if rows else None


def _version_table(state: Overview) -> TableCard | None:
    rows = [
        (change.time, change.action, change.alias, change.version, change.reason)
        for change in reversed(state.alias_changes)
    ]
    heads = ["time", "action", "alias", "version", "reason"]
    return TableCard("Versions", "", heads, rows[:MAX_TABLE_ROWS], is_wide=True) if rows else None


def _event_table(state: Overview) -> TableCard | None:
    rows = [
        (format_time(event.at), EVENT_NAMES[event.kind], event.version, event.message)
        for event in reversed(state.events)
    ]
    heads = ["time", "event", "version", "message"]
    return TableCard("Events", "", heads, rows[:MAX_TABLE_ROWS], is_wide=True) if rows else None
