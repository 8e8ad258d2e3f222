"""estimator history: which version answered when, and why."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from estimator.cli import options


@click.command("history")
@click.argument("model", required=False)
@click.option("--at", metavar="TIME", help="Which version was live then: 2026-11-22T10:15, in UTC, or 7d ago.")
@options.store
@options.as_json
def command(model: str | None, at: str | None, store: str | None, as_json: bool) -> None:
    """Tell every move of MODEL's aliases: when, by whom, from what to what, and why."""
    from estimator import verbs as life
    from estimator.verbs.context import only_model

    opened = options.opened(store)
    name = model or only_model(opened)
    if at is None:
        moves = life.history(opened, name)
        lines = [
            f"{move.time}  {move.action:<9} {move.alias:<9} {move.previous or 'nothing'} -> {move.version}  {move.user}: "
            f"{move.reason}"
            for move in moves
        ]
        options.emit({"model": name, "moves": [asdict(move) for move in moves]}, "\n".join(lines), as_json=as_json)
        return
    when = datetime.fromtimestamp(options.moment(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    move = life.live_at(opened, name, when)
    told = f"{when}: no version of {name} was live yet"
    if move is not None:
        told = f"{when}: {move.version} was live, since {move.time} ({move.action} by {move.user}: {move.reason})"
    options.emit({"model": name, "at": when, "move": asdict(move) if move else None}, told, as_json=as_json)
