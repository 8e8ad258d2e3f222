"""The monitoring page: the state in words, the alarms, charts, and tables of events and versions, offline."""

from __future__ import annotations

from estimator.core.clock import format_time
from estimator.core.text import counted, format_number
from estimator.monitoring.charts import EVENT_NAMES, monitoring_charts
from estimator.monitoring.drift_cards import TableCard, check_card, diagnosis_card
from estimator.monitoring.overview import ALARM_KINDS, Overview
from estimator.pages.render import render_page

MAX_TABLE_ROWS = 40
MAX_ALARMS = 10


def monitoring_page(state: Overview) -> bytes:
    """Return the page; the only values of rows in it are those that name a slice or a likely data fault."""
    return render_page(
        "monitoring.html.j2",
        name=state.model,
        version=state.version,
        state="alarm" if state.has_alarm else "calm",
        verdict=verdict(state),
        period=f"{format_time(state.since)} to {format_time(state.until)}: {state.rows_message}",
        alarms=_alarm_lines(state),
        charts=[chart for chart in monitoring_charts(state) if chart.svg],
        tables=[table for table in _tables(state) if table is not None],
    )


def verdict(state: Overview) -> str:
    """Return the state in a sentence."""
    if state.alarms:
        return state.alarms[-1].message
    if state.check is not None and state.check.drifted:
        return state.check.message
    return "no alarm" if state.n_rows else "the log has no prediction of this version in this time"


def _alarm_lines(state: Overview) -> list[str]:
    """Return the alarms of all versions in words, the last one first."""
    alarms = [event for event in reversed(state.events) if event.kind in ALARM_KINDS]
    lines = [
        f"{format_time(event.at)}, {EVENT_NAMES[event.kind]}: {event.message}"
        + (f" (version {event.version})" if event.version != state.version else "")
        for event in alarms[:MAX_ALARMS]
    ]
    return lines + ([f"and {counted(len(alarms) - MAX_ALARMS, 'earlier alarm')}"] if len(alarms) > MAX_ALARMS else [])


def _tables(state: Overview) -> list[TableCard | None]:
    return [
        _performance_table(state),
        *_drift_tables(state),
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


def _drift_tables(state: Overview) -> list[TableCard]:
    """Return what is known of the drift of these rows, and of the last alarm."""
    cards = []
    if state.diagnosis is not None:
        # A row is named by its id: the page of a log shows no values of rows.
        reading = f"{state.diagnosis.message}; example rows: {', '.join(state.diagnosis.example_names)}"
        cards.append(diagnosis_card("What drifted", reading, state.diagnosis.to_data()))
    if state.check is not None:
        cards.append(check_card(state.check))
    last = next((event for event in reversed(state.alarms) if event.kind == "drift"), None)
    if last is not None:
        reading = f"{format_time(last.at)}: {last.message}"
        cards.append(diagnosis_card("Last drift alarm", reading, last.details))
    return cards


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
