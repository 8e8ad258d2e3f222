"""estimator schema: the JSON Schema of the config."""

from __future__ import annotations

import json

import click

from estimator import verbs
from estimator.cli import options


@click.command("schema")
@options.as_json
def command(as_json: bool) -> None:
    """Print the JSON Schema of the config, for editors and validators.

    \b
    Example: estimator schema > config.schema.json
    """
    document = verbs.schema.schema()
    options.emit(document, json.dumps(document, indent=2, ensure_ascii=False), as_json=as_json)
