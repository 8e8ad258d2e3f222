"""estimator monitor: drift and performance of a served model."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options
from estimator.core.clock import format_time
from estimator.core.text import counted, format_number

if TYPE_CHECKING:
    from estimator.monitoring.checked_table import CheckedTable
    from estimator.monitoring.diagnosis import Diagnosis
    from estimator.monitoring.drift_check import DriftCheck
    from estimator.monitoring.events import Event
    from estimator.monitoring.overview import Overview
    from estimator.monitoring.performance import LivePerformance

MAX_LISTED_EVENTS, MAX_LISTED_SLICES = 8, 4


@click.command("monitor")
@options.by_position_or(
    "--model", "model", metavar="MODEL", help="The model's name in the store; not needed with --reference."
)
@click.option("--input", "table", metavar="TABLE", help="Compare the rows of a table instead of the log's.")
@click.option("--reference", metavar="TABLE", help="Compare --input with this table; no model is needed.")
@click.option("--target", metavar="COLUMN", help="With --reference: a column to leave out, such as the target.")
@options.query
@options.log
@click.option("--since", metavar="TIME", help="7d, 12h or 30m ago, or 2026-11-22T10:15  [default: all logged rows]")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Also write one offline HTML page.")
@click.option("--schedule", is_flag=True, help="Run until stopped, and retrain, promote and alert as configured.")
@options.monitored_conf
@options.folder
@options.loop_overrides
@options.store
@options.as_json
def command(
    model: str | None, table: str | None, reference: str | None, target: str | None, query: str | None,
    log: str | None, since: str | None, page: Path | None,
    schedule: bool, conf: Path | None,
    folder: Path, overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Check MODEL's inputs and predictions for drift, and score it where labels have arrived.

    Exits with 3 on an alarm. With --schedule, it follows the log: sequential tests row by row, scheduled checks,
    retraining, promotion and alerts, as the sections monitoring, retraining and promotion say.

    \b
    Example: estimator monitor houses --log predictions.db --since 7d --page monitoring.html
    Example: estimator monitor --input new.csv --reference old.csv
    """
    if reference is not None or target is not None:
        others = {"MODEL": model, "--log": log, "--since": since, "--schedule": schedule}
        tables = _two_tables(table, reference, [name for name, value in others.items() if value])
        context = options.context(overrides, store)
        compared = verbs.check_table.compare_tables(*tables, context, target=target, query=query, conf=conf)
        return _show_table(compared, context, page, as_json=as_json)
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'; two tables need --input and --reference.")
    monitored, context = verbs.monitor.MonitoredModel(model, log, conf, folder), options.context(overrides, store)
    if schedule:
        _follow(monitored, context, as_json=as_json)
        return 0
    if table is not None:
        checked = verbs.check_table.check_table(monitored, context, table, query=query)
        return _show_table(checked, context, page, as_json=as_json)
    now = time.time()
    since_time = options.timestamp(since, now) if since else None
    overview = verbs.monitor.monitor(monitored, context, since=since_time, until=now)
    if page is not None:
        verbs.monitor.write_page(overview, page)
        options.say(f"written: {page}")
    options.emit(overview.to_data(), "\n".join(_lines(overview)), as_json=as_json)
    return EXIT_GATE if overview.has_alarm else 0


def _two_tables(table: str | None, reference: str | None, others: Sequence[str]) -> tuple[str, str]:
    if table is None or reference is None:
        raise click.UsageError(f"two tables are compared: pass {'--input' if table is None else '--reference'}, too")
    if others:
        raise click.UsageError(f"--reference compares two tables, without {', '.join(others)}")
    return table, reference


def _show_table(checked: CheckedTable, context: verbs.Context, page: Path | None, *, as_json: bool) -> int:
    if page is not None:
        verbs.check_table.write_page(checked, page)
        options.say(f"written: {page}")
    not_compared = filter(None, [checked.not_compared_message])
    lines = [*_check_lines(checked.check), *not_compared, *_diagnosis_lines(checked.diagnosis)]
    options.emit(checked.to_data(), "\n".join(lines), as_json=as_json, notes=context.notes)
    return EXIT_GATE if checked.drifted else 0


def _follow(monitored: verbs.monitor.MonitoredModel, context: verbs.Context, *, as_json: bool) -> None:
    # The server next to this process has priority.
    os.nice(10)
    # Exiting by an exception saves the state.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    verbs.monitor.follow(
        monitored, context, report=lambda event: _print_event(event, as_json=as_json), note=options.say
    )


def _print_event(event: Event, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(verbs.monitor.alert_data(event), ensure_ascii=False))
    else:
        click.echo(f"{format_time(event.at)}  {verbs.monitor.alert_text(event)}")


def _lines(overview: Overview) -> Iterator[str]:
    yield f"{overview.model} {overview.version}: {'ALARM' if overview.has_alarm else 'no alarm'}"
    if not overview.n_rows:
        yield "the log holds no row of this version"
        return
    yield f"rows      {overview.rows_message}, {format_time(overview.since)} to {format_time(overview.until)}"
    if overview.private_columns:
        yield f"private   {', '.join(overview.private_columns)}: not logged, so not monitored"
    if overview.performance is not None:
        yield from _performance_lines(overview.performance)
    if overview.points:
        state = overview.points[-1].details
        yield f"drift     log10 e-value {state['log_e_value']:.1f}; alarm at {state['log_threshold']:.1f}"
    if overview.check is not None:
        yield ""
        yield from _check_lines(overview.check)
        yield from _diagnosis_lines(overview.diagnosis)
    if overview.events:
        yield ""
        yield "events"
    for event in overview.events[-MAX_LISTED_EVENTS:]:
        yield f"  {format_time(event.at)}  {event.kind:<8} {event.message}"
    last = overview.alarms[-1] if overview.alarms else None
    if last is not None and "next" in last.details:
        yield f"next: {last.details['next']}"


def _performance_lines(performance: LivePerformance) -> Iterator[str]:
    delay = f", median delay {performance.label_delays['median']:.1f} days" if performance.label_delays else ""
    yield f"labels    {performance.n_labels:,} of {counted(performance.n_rows, 'row')}{delay}"
    if performance.loss is not None:
        yield f"loss      {performance.loss}; {format_number(performance.reference_loss)} on held-out rows"
    if performance.coverage is not None:
        target = f"{performance.target_coverage:.0%}"
        yield f"coverage  {performance.coverage} of labels in intervals or sets; {target} expected"
    if performance.metrics:
        yield "metrics   " + ", ".join(f"{name} {format_number(value)}" for name, value in performance.metrics.items())
    if performance.loss is None or performance.n_labels < performance.n_rows:
        estimate = format_number(performance.expected_loss)
        yield f"estimate  loss {estimate} from predictions alone; it cannot see concept drift"
    for weak in performance.weak_slices[:3]:
        elsewhere = format_number(weak.score_elsewhere)
        where = f"{weak.condition} ({counted(weak.rows, 'row')})"
        yield f"weak      {format_number(weak.score)} where {where}, else {elsewhere}"
    for warning in performance.warnings:
        yield f"warning   {warning}"


def _check_lines(check: DriftCheck) -> Iterator[str]:
    yield check.message.replace("drift", "DRIFT", 1) if check.drifted else check.message
    for kind, result in check.listed:
        column, effect = result.column or "rows", format_number(result.effect)
        yield f"  {kind:<20} {column:<20} {effect:>8}  p {result.p_value:<8.2g} {result.message}"


def _diagnosis_lines(diagnosis: Diagnosis | None) -> Iterator[str]:
    if diagnosis is None:
        return
    yield ""
    yield f"diagnosis: {diagnosis.message}"
    moved = [*diagnosis.columns, *([] if diagnosis.predictions is None else [diagnosis.predictions])]
    for column in moved:
        fault = f"; {column.data_fault}" if column.data_fault else ""
        yield f"  {column.column:<20} {format_number(column.effect):>8}  {column.message}{fault}"
    for grown in diagnosis.grown_slices[:MAX_LISTED_SLICES]:
        yield f"  grown     {grown.message}: {grown.reference:.1%} in the reference, {grown.current:.1%} now"
    if diagnosis.examples:
        yield f"  examples  {', '.join(diagnosis.example_names)}"
