"""estimator schema: the JSON Schema of the config, or what one of its keys is."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict

import click

from estimator import verbs
from estimator.cli import options


@click.command("schema")
@click.argument("key", required=False)
@options.as_json
def command(key: str | None, as_json: bool) -> None:
    """Print the JSON Schema of the config, for editors and validators; with KEY, explain that key or section.

    \b
    Example: estimator schema > config.schema.json
             estimator schema training.split
             estimator schema model.dense
    """
    if key is None:
        document = verbs.schema.schema()
        options.emit(document, json.dumps(document, indent=2, ensure_ascii=False), as_json=as_json)
        return
    entries = verbs.schema.explain(key)
    lines = []
    for entry in entries:
        default = "" if entry.type == "section" else f" (default {entry.default})" if entry.default else ""
        lines.append(f"{entry.key}: {entry.type}{'' if entry.default == 'required' else default}")
        lines[-1] += " (required)" if entry.default == "required" else ""
        lines += textwrap.wrap(entry.description, options.width(), initial_indent="    ", subsequent_indent="    ")
    options.emit({"keys": [asdict(entry) for entry in entries]}, "\n".join(lines), as_json=as_json)
