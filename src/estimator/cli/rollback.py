"""estimator rollback: make the previous version live again."""

from __future__ import annotations

from dataclasses import asdict

import click

from estimator import verbs
from estimator.cli import options


@click.command("rollback")
@options.only_model
@click.option("--why", default="rolled back by hand", show_default=True, help="The reason, stored in the history.")
@options.store
@options.as_json
def command(model: str | None, why: str, store: str | None, as_json: bool) -> None:
    """Make the previous live version of MODEL live again; MODEL is optional if the store has only one.

    \b
    Example: estimator rollback houses --why "too many complaints"
    """
    move = verbs.rollback.rollback(options.opened_store(store), model, why=why)
    options.emit(asdict(move), f"live is now {move.version} (was {move.previous})", as_json=as_json)
