"""estimator replay: logged requests through another version."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import counted, format_number

if TYPE_CHECKING:
    from estimator.monitoring.replay import Replay


@click.command("replay")
@options.named_model
@click.option("--against", required=True, metavar="VERSION", help="The other version, or MODEL@ALIAS.")
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="7d, 12h or 30m ago, or a date.")
@options.log
@options.store
@options.as_json
def command(model: str, against: str, since: str, log: str | None, store: str | None, as_json: bool) -> None:
    """Re-run logged requests of MODEL through another version and report the differences.

    \b
    Example: estimator replay houses --against houses@candidate --since 7d
    """
    now = time.time()
    monitored = verbs.monitor.MonitoredModel(model, log)
    context, since_time = options.context(store=store), options.timestamp(since, now)
    with progress_bar.steps(quiet=as_json) as progress:
        replayed = verbs.replay.replay(monitored, against, context, since=since_time, until=now, progress=progress)
    options.emit(replayed.to_data(), _text(replayed), as_json=as_json)


def _text(replayed: Replay) -> str:
    lines = [f"{counted(replayed.n_rows, 'logged row')} predicted again by {replayed.version}"]
    if replayed.n_skipped:
        lines.append(f"skipped     {counted(replayed.n_skipped, 'row')}: a column this version needs was not logged")
    lines.append(f"changed     {replayed.changed:.1%} of predictions")
    if replayed.change_quantiles is not None:
        low, median, high = (format_number(value) for value in replayed.change_quantiles)
        lines.append(f"difference  median {median}, 5th to 95th percentile {low} to {high}")
    if replayed.n_scored and replayed.logged_loss is not None and replayed.replayed_loss is not None:
        new, old = format_number(replayed.replayed_loss), format_number(replayed.logged_loss)
        lines.append(f"loss        {new}, was {old}, on {counted(replayed.n_scored, 'label')}")
    if replayed.largest:
        lines += ["", "largest differences:"]
    for row in replayed.largest:
        label = "" if row.label is None else f"  label {row.label}"
        lines.append(f"  {row.id}  {_value(row.logged)} -> {_value(row.replayed)}{label}")
    return "\n".join(lines)


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else format_number(value)
