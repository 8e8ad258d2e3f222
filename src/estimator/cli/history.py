"""estimator history: which version was live when, and why."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from estimator import verbs
from estimator.cli import options


@click.command("history")
@options.only_model
@click.option("--at", metavar="TIME", help="Show the version that was live at 2026-11-22T10:15 (UTC), or 7d ago.")
@options.store
@options.as_json
def command(model: str | None, at: str | None, store: str | None, as_json: bool) -> None:
    """Show every move of MODEL's aliases: time, person, versions and reason.

    \b
    Example: estimator history houses --at 7d
    """
    opened = options.opened_store(store)
    name = model or opened.only_model()
    if at is None:
        moves = verbs.history.history(opened, name)
        lines = [
            f"{move.time}  {move.action:<9} {move.alias:<9} {move.previous or 'none'} -> {move.version}  "
            f"{move.user}: {move.reason}"
            for move in moves
        ]
        options.emit({"model": name, "moves": [asdict(move) for move in moves]}, "\n".join(lines), as_json=as_json)
        return
    time = datetime.fromtimestamp(options.timestamp(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    move = verbs.history.live_at(opened, name, time)
    text = f"{time}: no version of {name} was live yet"
    if move is not None:
        text = f"{time}: {move.version} was live, since {move.time} ({move.action} by {move.user}: {move.reason})"
    options.emit({"model": name, "at": time, "move": asdict(move) if move else None}, text, as_json=as_json)
