"""estimator serve: a version on a port."""

from __future__ import annotations

import json
from typing import Any

import click

from estimator.cli import options


@click.command("serve")
@options.model
@click.option("--host", help="Address to listen on  [default: the config's, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one  [default: the config's, 8000]")
@click.option("--workers", type=click.IntRange(1), help="Processes that share the port  [default: the config's, 1]")
@click.option("--api-key-variable", metavar="NAME", help="Environment variable that holds the key.")
@click.option("--allow-public", is_flag=True, help="Listen on a public address without a key.")
@options.store
@options.as_json
def command(
    model: str, host: str | None, port: int | None, workers: int | None, api_key_variable: str | None,
    allow_public: bool, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Serve a version over HTTP until told to end; docs at /docs."""
    from estimator import life

    artefact = life.load(model, options.opened(store))
    named = {"host": host, "port": port, "workers": workers, "api_key_variable": api_key_variable}
    settings: dict[str, Any] = {name: value for name, value in named.items() if value is not None}

    def ready(address: str) -> None:
        told = {"name": artefact.name, "version": artefact.version, "address": address}
        if as_json:
            click.echo(json.dumps(told))
        else:
            options.say(f"{artefact.name} {artefact.version} at {address}   docs at {address}/docs   Ctrl-C ends it")

    life.serve(artefact, options.order(store=store), settings=settings, allow_public=allow_public, ready=ready)
