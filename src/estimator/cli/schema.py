"""estimator schema: the JSON Schema of a config, for editors and checks."""

from __future__ import annotations

import click

from estimator.cli import options


@click.command("schema")
@options.as_json
def command(as_json: bool) -> None:
    """Print the JSON Schema of the config, for editors and checks."""
    import json

    from estimator.config.json_schema import config_schema
    from estimator.verbs import VOCABULARY

    document = config_schema(VOCABULARY)
    options.emit(document, json.dumps(document, indent=2, ensure_ascii=False), as_json=as_json)
