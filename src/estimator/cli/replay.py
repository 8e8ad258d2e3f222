"""estimator replay: logged requests through another version, here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from estimator.cli import options
from estimator.core.text import format_number

if TYPE_CHECKING:
    from estimator.monitoring.replay import Replayed


@click.command("replay")
@click.argument("model")
@click.option("--against", required=True, metavar="VERSION", help="The version that answers again, or MODEL@ALIAS.")
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="7d, 12h, 30m ago, or 2026-11-22T10:15.")
@options.log
@options.store
@options.as_json
def command(model: str, against: str, since: str, log: str | None, store: str | None, as_json: bool) -> None:
    """Answer what MODEL was asked again by another version, and tell what would have been different."""
    from estimator import verbs as life

    now = time.time()
    site = life.Site(model, log)
    found = life.replay(site, against, options.order(store=store), since=options.moment(since, now), until=now)
    options.emit(found.to_data(), _text(found), as_json=as_json)


def _text(found: Replayed) -> str:
    lines = [f"{found.rows:,} logged rows answered again by {found.version}"]
    if found.unread:
        lines.append(f"{found.unread:,} rows were logged without a column that it needs")
    lines.append(f"other answers  {found.changed:.1%} of the rows")
    if found.moved is not None:
        low, middle, high = found.moved
        lines.append(
            f"moved by       {format_number(middle)} in the middle, {format_number(low)} to {format_number(high)} in 9 of 10"
        )
    if found.judged and found.before is not None and found.after is not None:
        lines.append(
            f"loss           {format_number(found.after)}, was {format_number(found.before)}, on {found.judged:,} truths"
        )
    if found.largest:
        lines += ["", "the largest differences:"]
    for each in found.largest:
        truth = "" if each.truth is None else f"  truth {each.truth}"
        lines.append(f"  {each.id}  {_told(each.was)} -> {_told(each.would_be)}{truth}")
    return "\n".join(lines)


def _told(value: float | str) -> str:
    return value if isinstance(value, str) else format_number(value)
