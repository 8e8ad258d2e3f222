"""estimator models: every model of a store, its versions and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from estimator import verbs
from estimator.cli import options
from estimator.core.text import format_number


@click.command("models")
@options.store
@options.as_json
def command(store: str | None, as_json: bool) -> None:
    """List all models with their versions, newest first, and aliases.

    \b
    Example: estimator models --store models
    """
    context = options.context(store=store)
    opened = context.store()
    models = verbs.models.models(opened)
    context.notes.add(
        f"{place}: an upload that did not end; it counts for nothing, and `aws s3 rm --recursive {place}` removes it"
        for place in opened.storage.unfinished()
    )
    lines = [line for model in models for line in _lines(model)]
    text = "\n".join(lines) or f"{opened.location}: no models yet\nnext: estimator train --conf config.yml"
    options.emit({"store": str(opened.location), "models": models}, text, as_json=as_json)


def _lines(model: Mapping[str, Any]) -> list[str]:
    aliases_of: dict[str, list[str]] = {}
    for alias, version in model["aliases"].items():
        aliases_of.setdefault(version, []).append(alias)
    lines = [str(model["name"])]
    for manifest in reversed(model["versions"]):
        metric, score = next(iter(manifest["metrics"].items()))
        value = "undefined" if score["value"] is None else format_number(score["value"])
        marks = [*aliases_of.get(manifest["version"], []), *([] if manifest["own"] else ["not signed with your key"])]
        kind = manifest["model"]["kind"]
        lines.append(f"  {manifest['version']}  {kind:<9} {metric} {value:<10} {', '.join(marks)}".rstrip())
    return lines
