"""estimator serve: versions on a port."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.store.artefact import Artefact


@click.command("serve")
@click.option(
    "--model", "models", multiple=True,
    help="As MODEL, MODEL@ALIAS, MODEL/VERSION or a folder; several for several models, the first of which has the "
    "short paths  [default: MODEL_FOLDER]",
)  # fmt: skip
@click.option("--host", help="Address to listen on  [default: the config's, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one  [default: the config's, 8000]")
@click.option("--workers", type=click.IntRange(1), help="Processes that share the port  [default: the config's, 1]")
@click.option("--api-key-variable", metavar="NAME", help="Environment variable that holds a key.")
@click.option("--keys", metavar="FILE", help="Keys that `estimator key` writes; changes hold within a second.")
@click.option("--log", metavar="PLACE", help="Where answers are kept: a SQLite file, or postgresql://...")
@click.option("--shadow", metavar="ALIAS", help="A version that answers a copy of the traffic, for the log alone.")
@click.option("--watch", is_flag=True, help="Watch the log as the section monitoring says, page at /monitor.")
@click.option("--access-log", is_flag=True, default=None, help="A JSON line on stderr per request.")
@click.option("--allow-public", is_flag=True, help="Listen on a public address without a key.")
@options.store
@options.as_json
def command(
    models: tuple[str, ...], allow_public: bool, watch: bool, store: str | None, as_json: bool, **settings: Any
) -> None:  # fmt: skip
    """Serve versions over HTTP until told to end; docs at /docs.

    What a name means is looked at each second: a version that is promoted takes over between two requests, once it
    answers its golden rows as it did when it was made; SIGHUP loads all versions again.
    """
    from estimator import verbs as life

    order = options.order(store=store)
    folder = order.environment.get("MODEL_FOLDER")
    named = models or ((folder,) if folder else ())
    if not named:
        raise click.UsageError("Missing option '--model' (env var: 'MODEL_FOLDER').")

    def ready(artefacts: Sequence[Artefact], address: str) -> None:
        first, *others = artefacts
        if as_json:
            told = [{"name": each.name, "version": each.version} for each in artefacts]
            click.echo(json.dumps({**told[0], "address": address, "models": told}))
        else:
            also = "".join(f", {each.name} {each.version}" for each in others)
            options.say(f"{first.name} {first.version}{also} at {address}   docs at {address}/docs   Ctrl-C ends it")

    chosen = {name: value for name, value in settings.items() if value is not None}
    life.serve(named, order, settings=chosen, allow_public=allow_public, watches=watch, ready=ready)
