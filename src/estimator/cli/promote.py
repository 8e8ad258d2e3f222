"""estimator promote: make a version live."""

from __future__ import annotations

from dataclasses import asdict

import click

from estimator import verbs
from estimator.cli import options


@click.command("promote")
@options.version
@click.option("--why", default="promoted by hand", show_default=True, help="The reason, stored in the history.")
@options.store
@options.as_json
def command(version: str, why: str, store: str | None, as_json: bool) -> None:
    """Make VERSION live; a MODEL alone means its candidate.

    \b
    Example: estimator promote houses --why "better on new rows"
    """
    opened = options.opened_store(store)
    move = verbs.promote.promote(opened, version, why=why)
    model = opened.find(move.version)[0]
    before = f" (was {move.previous})" if move.previous else ""
    options.emit(asdict(move), f"live is now {move.version}{before}\nundo: estimator rollback {model}", as_json=as_json)
