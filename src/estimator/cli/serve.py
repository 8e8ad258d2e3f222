"""estimator serve: versions over HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import options

if TYPE_CHECKING:
    from estimator.store.artefact import Artefact


@click.command("serve")
@click.argument("models_by_position", metavar="[MODEL]...", nargs=-1)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="MODEL, MODEL@ALIAS, MODEL/VERSION or a folder; repeatable: the first model is also served at the short "
    "paths  [default: MODEL_FOLDER]",
)
@click.option("--host", help="Address to listen on  [default: serving.host, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one  [default: serving.port, 8000]")
@click.option("--workers", type=click.IntRange(1), help="Worker processes  [default: serving.workers, 1]")
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds an API key.")
@click.option("--keys-file", metavar="FILE", help="Key file of `estimator key`; reloaded within a second of a change.")
@click.option("--log", "prediction_log", metavar="URL", help="Prediction log: a SQLite file, or postgresql://...")
@click.option("--shadow", metavar="ALIAS", help="A version that predicts the same requests, for the log only.")
@click.option(
    "--canary",
    metavar="VERSION=SHARE",
    help="A version that predicts this share of the requests, such as candidate=0.05  [default: serving.canary]",
)
@click.option(
    "--canary-by", metavar="COLUMN", help="Choose these requests by a column of their first row, such as customer_id."
)
@click.option("--monitor", is_flag=True, help="Monitor the log in a process next to the server; page at /monitor.")
@click.option("--access-log", is_flag=True, default=None, help="Write a JSON line per request to stderr.")
@click.option("--allow-public", is_flag=True, help="Allow a public address without an API key.")
@options.store
@options.as_json
def command(
    models_by_position: tuple[str, ...], models: tuple[str, ...], canary: str | None, canary_by: str | None,
    allow_public: bool, monitor: bool, store: str | None, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Serve versions over HTTP, with documentation at /docs.

    Aliases are followed: a promoted version takes over between two requests, once it predicts its golden rows as it
    did when it was trained. SIGHUP reloads all versions. Ctrl-C or SIGTERM ends the server after running requests.

    \b
    Example: estimator serve --model houses --port 8080 --log predictions.db
    """
    context = options.context(store=store)
    folder = context.environment.get("MODEL_FOLDER")
    references = (*models_by_position, *models) or ((folder,) if folder else ())
    if not references:
        raise click.UsageError("Missing option '--model' (env var: 'MODEL_FOLDER').")

    def ready(artefacts: Sequence[Artefact], url: str) -> None:
        served = [{"name": artefact.name, "version": artefact.version} for artefact in artefacts]
        if as_json:
            click.echo(json.dumps({**served[0], "url": url, "models": served}))
        else:
            names = ", ".join(f"{artefact.name} {artefact.version}" for artefact in artefacts)
            options.say(f"{names} at {url}   docs at {url}/docs   stop with Ctrl-C")

    given = {name: value for name, value in settings.items() if value is not None}
    if canary is not None:
        try:
            given["canary"] = verbs.serve.canary_settings(canary, canary_by)
        except ValueError as error:
            raise click.UsageError(f"--canary: {error}") from None
    elif canary_by is not None:
        raise click.UsageError("--canary-by needs --canary VERSION=SHARE")
    verbs.serve.serve(references, context, settings=given, allow_public=allow_public, monitors=monitor, ready=ready)
