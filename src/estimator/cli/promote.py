"""estimator promote: make a version live."""

from __future__ import annotations

from dataclasses import asdict

import click

from estimator.cli import options


@click.command("promote")
@click.argument("version")
@click.option("--why", default="promoted by hand", show_default=True, help="The reason, kept in the history.")
@options.store
@options.as_json
def command(version: str, why: str, store: str | None, as_json: bool) -> None:
    """Make VERSION live: a version's name, MODEL/VERSION, or MODEL for its candidate."""
    from estimator import verbs as life

    move = life.promote(options.opened(store), version, why=why)
    text = f"live is now {move.version}" + (f", before {move.previous}" if move.previous else "")
    options.emit(asdict(move), f"{text}\nnext: estimator rollback takes it back", as_json=as_json)
