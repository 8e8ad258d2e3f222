"""The charts of the monitoring page: drifted columns, evidence, and the traffic of every version over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from estimator.core.clock import format_time
from estimator.core.text import counted
from estimator.monitoring.events import EventKind, Point
from estimator.monitoring.histograms import ColumnHistogram
from estimator.monitoring.overview import ALARM_KINDS, Overview, e_values_by_column
from estimator.monitoring.traffic import N_TIME_BINS, TimeBin
from estimator.pages.charts import Chart
from estimator.pages.overlay import overlay
from estimator.pages.timeline import SERIES_COLORS, TimeMark, TimeSeries, timeline

MAX_LINES = SERIES_COLORS - 1
EVENT_NAMES: Mapping[EventKind, str] = {
    "drift": "drift",
    "degradation": "worse predictions",
    "check": "check",
    "retrain": "retraining",
    "promote": "promotion",
    "rollback": "rollback",
    "silence": "silence",
    "rejected": "rejected requests",
}
E_VALUE_AXIS = "log10 of the e-value"
E_VALUE_SENTENCE = (
    'An e-value measures the evidence against "nothing has changed": 1 means none; without a change, 1,000 is reached '
    "about once in a thousand periods. The alarm threshold is set by the false-alarm budget."
)
HISTOGRAM_LABELS = "in training", "now"


def monitoring_charts(state: Overview) -> list[Chart]:
    """Return the charts of a state; those without anything to draw have no picture."""
    histograms = [_histogram(histogram) for histogram in state.histograms]
    return [*histograms, *_e_value_charts(state), *_traffic_charts(state)]


def _histogram(histogram: ColumnHistogram) -> Chart:
    moved = histogram.moved
    svg, legend = overlay(histogram.bins, HISTOGRAM_LABELS, title=f"{moved.column} in training and now")
    rows = f"{counted(histogram.n_rows, 'row')} since {format_time(histogram.since)}"
    return Chart(
        moved.column,
        f"{moved.message[:1].upper()}{moved.message[1:]}. Effect {moved.effect:.2f}; now: {rows}.",
        svg,
        legend,
    )


def _e_value_charts(state: Overview) -> list[Chart]:
    # A point stands for its minute, which may have begun before the time that is shown.
    points = [replace(point, at=max(point.at, state.span[0])) for point in state.points if point.at <= state.span[1]]
    of_version = [point for point in points if point.version == state.version] or points
    if not of_version:
        return []
    marks = _marks(state)
    lines = {"of rows": _series(points, "log_e_value"), "of losses": _series(points, "loss_log_e_value")}
    threshold = of_version[-1].details["log_threshold"], "alarm threshold"
    whole = timeline(
        TimeSeries(lines, threshold=threshold),
        state.span,
        y_title=E_VALUE_AXIS,
        title="e-values over time",
        marks=marks,
    )
    columns = TimeSeries(e_values_by_column(of_version, MAX_LINES))
    by_column = timeline(columns, state.span, y_title=E_VALUE_AXIS, title="e-values by column", marks=marks)
    return [
        Chart("Evidence of drift", E_VALUE_SENTENCE, *whole),
        Chart("Evidence by column", "The columns with the largest e-values, of this version.", *by_column),
    ]


def _series(points: Sequence[Point], key: str) -> list[tuple[float, float]]:
    return [(point.at, point.details[key]) for point in points]


def _marks(state: Overview) -> list[TimeMark]:
    """Return what is marked on the time axes: alarms, other events, and when a version goes live."""
    # What an automatic promotion or a rollback leads to is marked as a version that goes live.
    events = [
        TimeMark(
            event.at,
            f"{format_time(event.at)} {EVENT_NAMES[event.kind]}: {event.message}",
            "alarm" if event.kind in ALARM_KINDS else "event",
        )
        for event in state.events
        if event.kind not in ("check", "rollback") and (event.kind != "promote" or "next" in event.details)
    ]
    moves = [
        TimeMark(change.at, f"{format_time(change.at)} {change.version} goes live ({change.action})", "go-live")
        for change in state.alias_changes
        if change.alias == "live"
    ]
    return [*moves, *events]


def _traffic_charts(state: Overview) -> list[Chart]:
    performance, marks = state.performance, _marks(state)

    def chart(heading: str, reading: str, series: TimeSeries, *, y_title: str, least: float | None = None) -> Chart:
        title = f"{heading.lower()} over time"
        return Chart(
            heading, reading, *timeline(series, state.span, y_title=y_title, title=title, marks=marks, least=least)
        )

    width = (state.span[1] - state.span[0]) / N_TIME_BINS

    def lines(value: Callable[[TimeBin], float | None]) -> dict[str, list[tuple[float, float]]]:
        return {
            traffic.name: [(item.at + width / 2, known) for item in traffic.bins if (known := value(item)) is not None]
            for traffic in state.traffic
        }

    bands = {
        traffic.name: [
            (item.at + width / 2, item.predictions[0], item.predictions[2]) for item in traffic.bins if item.predictions
        ]
        for traffic in state.traffic
    }
    counts = {traffic.name: [(item.at, float(item.n_rows)) for item in traffic.bins] for traffic in state.traffic}
    medians = lines(lambda item: item.predictions[1] if item.predictions else None)
    coverage = lines(lambda item: item.coverage)
    loss_threshold = (performance.reference_loss, "held-out rows of this version") if performance else None
    target = performance.target_coverage if performance else float("nan")
    is_known = target == target
    return [
        chart(
            "Rows",
            "Predicted rows in each part of the time, by version.",
            TimeSeries(bars=counts),
            y_title="rows",
            least=0.0,
        ),
        chart(
            "Predictions",
            "The line is the median; the band holds the middle 80 %.",
            TimeSeries(medians, bands=bands),
            y_title="predictions",
        ),
        chart(
            "Loss",
            "Of labeled rows, by the time of the prediction.",
            TimeSeries(lines(lambda item: item.loss), threshold=loss_threshold),
            y_title="mean loss",
            least=0.0,
        ),
        chart(
            "Coverage",
            "Fraction of labels in their interval or set.",
            TimeSeries(coverage, threshold=(target, "target") if is_known else None),
            y_title="fraction",
        ),
    ]
