"""estimator replay: logged requests through another version."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options
from estimator.core.text import format_number

if TYPE_CHECKING:
    from estimator.monitoring.replay import Replayed


@click.command("replay")
@click.argument("model")
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
    replayed = verbs.replay.replay(
        monitored, against, options.context(store=store), since=options.timestamp(since, now), until=now
    )
    options.emit(replayed.to_data(), _text(replayed), as_json=as_json)


def _text(replayed: Replayed) -> str:
    lines = [f"{replayed.rows:,} logged rows predicted again by {replayed.version}"]
    if replayed.unread:
        lines.append(f"{replayed.unread:,} rows were skipped: a column this version needs was not logged")
    lines.append(f"changed     {replayed.changed:.1%} of predictions")
    if replayed.moved is not None:
        low, median, high = replayed.moved
        lines.append(
            f"difference  median {format_number(median)}, 5th to 95th percentile {format_number(low)} to {format_number(high)}"
        )
    if replayed.judged and replayed.before is not None and replayed.after is not None:
        labels = f"on {replayed.judged:,} labels"
        lines.append(f"loss        {format_number(replayed.after)}, was {format_number(replayed.before)}, {labels}")
    if replayed.largest:
        lines += ["", "largest differences:"]
    for row in replayed.largest:
        label = "" if row.truth is None else f"  label {row.truth}"
        lines.append(f"  {row.id}  {_value(row.was)} -> {_value(row.would_be)}{label}")
    return "\n".join(lines)


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else format_number(value)
