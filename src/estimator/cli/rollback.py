"""estimator rollback: make the version live that was live before."""

from __future__ import annotations

from dataclasses import asdict

import click

from estimator.cli import options


@click.command("rollback")
@click.argument("model", required=False)
@click.option("--why", default="rolled back by hand", show_default=True, help="The reason, kept in the history.")
@options.store
@options.as_json
def command(model: str | None, why: str, store: str | None, as_json: bool) -> None:
    """Make the version of MODEL live that was live before; MODEL may be left out when there is one."""
    from estimator import verbs as life

    move = life.rollback(options.opened(store), model, why=why)
    options.emit(asdict(move), f"live is now {move.version}, before {move.previous}", as_json=as_json)
