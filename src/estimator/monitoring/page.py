"""An overview -> one offline HTML page: evidence and its threshold, traffic, answers, losses, events and versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from estimator.core.clock import format_time
from estimator.core.text import format_number
from estimator.monitoring.overview import Overview, Period, evidence_by_column
from estimator.pages.charts import Chart
from estimator.pages.render import render_page
from estimator.pages.timeline import SERIES_COLORS, timeline

MOST_LINES = SERIES_COLORS - 1
MOST_EVENTS = 40
SIGNS = {"drift": "rows", "degradation": "loss", "check": "check", "retrain": "retrained", "promote": "promoted",
         "rollback": "went back"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableCard:
    """A table of the page with its heading and the sentence that explains it."""

    heading: str
    reading: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_wide: bool = False


def monitoring_page(found: Overview) -> bytes:
    """Return the page; the only rows' values in it are those of an alarm's examples."""
    return render_page(
        "monitoring.html.j2",
        name=found.model,
        version=found.version,
        state="alarm" if found.is_alarmed else "calm",
        verdict=verdict(found),
        period=f"{format_time(found.since)} to {format_time(found.until)}, {found.rows:,} rows",
        charts=[chart for chart in (*_evidence(found), *_flow(found)) if chart.svg],
        tables=[table for table in _tables(found) if table is not None],
    )


def verdict(found: Overview) -> str:
    """Return how it stands, in a sentence."""
    if found.alarms:
        return found.alarms[-1].message
    if found.check is not None and found.check.drifted:
        return f"the rows of this time are not as in training (p {found.check.p_value:.2g})"
    return "no alarm" if found.rows else "no row that this version answered is in the log"


def _evidence(found: Overview) -> list[Chart]:
    times = (found.since, found.until)
    # A point stands for its minute, which may have begun before.
    points = [replace(point, at=max(point.at, found.since)) for point in found.points if point.at <= found.until]
    own = [point for point in points if point.version == found.version] or points
    if not own:
        return []
    limit = own[-1].details["threshold"]
    whole = {"rows": [(point.at, point.details["evidence"]) for point in points],
             "losses": [(point.at, point.details["loss"]) for point in points]}  # fmt: skip
    columns = evidence_by_column(own, MOST_LINES)
    reading = (
        "Powers of ten. Passed by chance so rarely as the budget of false alarms says; the broken line is an alarm."
    )
    return [
        Chart("Evidence that something moved", reading, timeline(
            whole, times, y_title="evidence, powers of 10", title="evidence over time", threshold=limit,
            moments=_moments(found)), list(whole)),
        Chart("By column", "Those with most evidence.", timeline(
            columns, times, y_title="evidence, powers of 10", title="evidence by column", moments=_moments(found)),
            list(columns)),
    ]  # fmt: skip


def _moments(found: Overview) -> list[tuple[float, str]]:
    events = [(event.at, f"{format_time(event.at)} {event.kind}: {event.message}") for event in found.events
              if event.kind != "check"]  # fmt: skip
    moves = [
        (datetime.fromisoformat(move.time).timestamp(), f"{move.time} {move.action}: live is {move.version}")
        for move in found.moves
        if move.alias == "live"
    ]
    return [*events, *moves]


def _flow(found: Overview) -> list[Chart]:
    times, periods = (found.since, found.until), found.periods
    if not periods:
        return []
    bands = [(each.at, each.answers[0], each.answers[2]) for each in periods if each.answers]
    held = _points(periods, lambda each: each.held)
    truth, moments = found.truth, _moments(found)
    return [
        Chart("Rows", "Answered in each part of the time.", timeline(
            {}, times, y_title="rows", title="rows over time", bars=[(each.at, each.rows) for each in periods],
            moments=moments, least=0.0)),
        Chart("Predictions", "The middle one, and where eight of ten lie.", timeline(
            {"answers": [(each.at, each.answers[1]) for each in periods if each.answers]}, times, y_title="answers",
            title="answers over time", band=bands, moments=moments)),
        Chart("Losses", "Of rows whose truth has come; the broken line is that of held-out rows.", timeline(
            {"loss": _points(periods, lambda each: each.loss)}, times, y_title="mean loss", title="loss over time",
            threshold=truth.usual_loss if truth else None, moments=moments, least=0.0)),
        Chart("Held", "Share of truths in intervals or sets; the broken line is what was asked for.", timeline(
            {"held": held}, times, y_title="share", title="coverage over time",
            threshold=truth.level if truth and held else None, moments=moments)),
    ]  # fmt: skip


def _points(periods: Sequence[Period], of: Callable[[Period], float | None]) -> list[tuple[float, float]]:
    return [(each.at, value) for each in periods if (value := of(each)) is not None]


def _tables(found: Overview) -> list[TableCard | None]:
    return [_truth(found), _columns(found), _weak(found), _versions(found), _events(found)]


def _truth(found: Overview) -> TableCard | None:
    truth = found.truth
    if truth is None:
        return None
    rows = [("rows", f"{truth.rows:,}"), ("with a truth", f"{truth.labels:,}")]
    rows += [(f"truth came after, {name}", f"{days:.2f} days") for name, days in truth.delays.items()]
    rows += [("loss", f"{truth.loss}")] if truth.loss else []
    rows += [
        ("loss of held-out rows", format_number(truth.usual_loss)),
        ("expected from answers", format_number(truth.expected)),
    ]
    rows += [("held by intervals or sets", f"{truth.held}, {truth.level:.0%} asked for")] if truth.held else []
    rows += [(name, format_number(value)) for name, value in truth.metrics.items()]
    return TableCard("Truth", " ".join(f"{each[0].upper()}{each[1:]}." for each in truth.warnings), [], rows)


def _columns(found: Overview) -> TableCard | None:
    last = next((event for event in reversed(found.alarms) if event.kind == "drift"), None)
    if last is None:
        return None
    answers = {**last.details["answers"], "column": "answers"}
    rows = [
        (each["column"], f"{each['effect']:.2f}", each["message"], each.get("fault") or "")
        for each in (*last.details["columns"], answers)
    ]
    for part in last.details.get("grown", [])[:MOST_LINES]:
        told = f"a part that has grown: {part['before']:.1%} of the rows before, {part['now']:.1%} now"
        rows.append((part["message"], "", told, ""))
    heads = ["column", "effect", "what moved", "a fault?"]
    return TableCard("What moved", f"{format_time(last.at)}: {last.message}", heads, rows, is_wide=True)


def _weak(found: Overview) -> TableCard | None:
    weak = found.truth.weak if found.truth else ()
    rows = [
        (each.condition, f"{each.rows:,}", format_number(each.score), format_number(each.score_elsewhere))
        for each in weak
    ]
    return TableCard("Weaker where", "", ["where", "rows", "there", "elsewhere"], rows) if rows else None


def _versions(found: Overview) -> TableCard | None:
    rows = [(move.time, move.action, move.alias, move.version, move.reason) for move in reversed(found.moves)]
    heads = ["when", "what", "alias", "version", "why"]
    return TableCard("Versions", "", heads, rows[:MOST_EVENTS], is_wide=True) if rows else None


def _events(found: Overview) -> TableCard | None:
    rows = [
        (format_time(event.at), SIGNS.get(event.kind, event.kind), event.version, event.message)
        for event in reversed(found.events)
    ]
    heads = ["when", "what", "version", "in words"]
    return TableCard("Events", "", heads, rows[:MOST_EVENTS], is_wide=True) if rows else None
