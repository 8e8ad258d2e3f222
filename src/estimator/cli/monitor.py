"""estimator monitor: are rows and answers as they were in training?"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options
from estimator.core.clock import format_time
from estimator.core.text import format_number

if TYPE_CHECKING:
    from estimator.monitoring.batch_check import Check
    from estimator.monitoring.events import Event
    from estimator.monitoring.overview import Overview
    from estimator.monitoring.performance import Truth

EXIT_GATE = 3
MOST_LINES = 8


@click.command("monitor")
@click.argument("model")
@click.option("--input", "table", metavar="TABLE", help="Compare the rows of a table instead of the log's.")
@options.query
@options.log
@click.option("--since", metavar="TIME", help="7d, 12h, 30m ago, or 2026-11-22T10:15  [default: all that is logged]")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Write all of it as one offline page.")
@click.option("--schedule", is_flag=True, help="Progress until told to end, and do what the config says follows.")
@click.option("--parent", type=int, hidden=True, help="Progress for as long as this process runs.")
@options.watched_conf
@options.folder
@options.overrides
@options.store
@options.as_json
def command(
    model: str, table: str | None, query: str | None, log: str | None, since: str | None, page: Path | None,
    schedule: bool, parent: int | None, conf: Path | None,
    folder: Path, overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Tell whether what MODEL is asked and answers is as it was in training, and what truths say of its answers.

    Ends with 3 on an alarm. With --schedule it watches the log: evidence row by row, checks, retraining, promotion and
    alerts as the sections monitoring, retraining and promotion say.
    """
    from estimator import verbs as life

    site, order = life.Site(model, log, conf, folder), options.order(overrides, store)
    if schedule:
        # Those who answer come first.
        os.nice(10)
        # What was found so far is kept when the process is told to end.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        life.watch(
            site, order, tell=lambda event: _tell(event, as_json=as_json), note=options.say,
            is_wanted=lambda: parent is None or os.getppid() == parent,
        )  # fmt: skip
        return 0
    if table is not None:
        made = life.check_table(site, order, table, query=query)
        options.emit(made.to_data(), "\n".join(_check_lines(made)), as_json=as_json)
        return EXIT_GATE if made.drifted else 0
    now = time.time()
    found = life.monitor(site, order, since=options.moment(since, now) if since else None, until=now)
    if page is not None:
        from estimator.core.files import write_atomic
        from estimator.monitoring.page import monitoring_page

        write_atomic(page, monitoring_page(found))
        options.say(f"written: {page}")
    options.emit(found.to_data(), "\n".join(_lines(found)), as_json=as_json)
    return EXIT_GATE if found.is_alarmed else 0


def _tell(event: Event, *, as_json: bool) -> None:
    from estimator.monitoring.alerts import data_of, text_of

    if as_json:
        click.echo(json.dumps(data_of(event), ensure_ascii=False))
    else:
        click.echo(f"{format_time(event.at)}  {text_of(event)}")


def _lines(found: Overview) -> Iterator[str]:
    yield f"{found.model} {found.version}: {'ALARM' if found.is_alarmed else 'no alarm'}"
    if not found.rows:
        yield "no row that this version answered is in the log"
        return
    yield f"rows     {found.rows:,}, {format_time(found.since)} to {format_time(found.until)}"
    if found.unwatched:
        yield f"private  {', '.join(found.unwatched)}: not logged, so not watched"
    if found.truth is not None:
        yield from _truth_lines(found.truth)
    if found.points:
        told = found.points[-1].details
        yield f"evidence 10^{told['evidence']:.1f} that rows moved; an alarm at 10^{told['threshold']:.1f}"
    if found.check is not None:
        yield ""
        yield from _check_lines(found.check)
    if found.events:
        yield ""
        yield "events"
    for event in found.events[-MOST_LINES:]:
        yield f"  {format_time(event.at)}  {event.kind:<8} {event.message}"
    last = found.alarms[-1] if found.alarms else None
    if last is not None and "next" in last.details:
        yield f"next: {last.details['next']}"


def _truth_lines(truth: Truth) -> Iterator[str]:
    delay = f", after {truth.delays['median']:.1f} days in the middle" if truth.delays else ""
    yield f"truth    {truth.labels:,} of {truth.rows:,} rows{delay}"
    if truth.loss is not None:
        yield f"loss     {truth.loss}, {format_number(truth.usual_loss)} on held-out rows"
    if truth.held is not None:
        yield f"held     {truth.held} of the truths in intervals or sets, {truth.level:.0%} wanted"
    if truth.metrics:
        yield "metrics  " + ", ".join(f"{name} {format_number(value)}" for name, value in truth.metrics.items())
    if truth.loss is None or truth.labels < truth.rows:
        yield f"expected {format_number(truth.expected)} from the answers alone, blind to a change of what they rest on"
    for weak in truth.weak[:3]:
        yield f"weaker   {format_number(weak.score)} where {weak.words} ({weak.rows:,}), elsewhere {format_number(weak.elsewhere)}"
    for warning in truth.warnings:
        yield f"mind     {warning}"


def _check_lines(made: Check) -> Iterator[str]:
    told = "DRIFT" if made.drifted else "as in training"
    yield f"{told}: p {made.p_value:.2g} of {made.rows:,} rows by all tests, {made.level:.2g} is the level"
    for kind, findings in made.findings.items():
        for finding in findings[:MOST_LINES]:
            moved = finding.moved
            if moved.p_value <= 0.01:
                where = finding.column or "rows"
                yield f"  {kind:<20} {where:<20} {format_number(moved.effect):>8}  p {moved.p_value:<8.2g} {moved.words}"
