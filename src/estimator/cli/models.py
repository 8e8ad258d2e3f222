"""estimator models: what the store holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from estimator.cli import options
from estimator.core.text import format_number


@click.command("models")
@options.store
@options.as_json
def command(store: str | None, as_json: bool) -> None:
    """List every model with its versions, newest first, and the aliases that point at them."""
    from estimator import verbs as life

    opened = options.opened(store)
    found = life.list_models(opened)
    lines = [line for model in found for line in _lines(model)]
    text = "\n".join(lines) or f"{opened.root}: no models yet; estimator train makes one"
    options.emit({"store": str(opened.root), "models": found}, text, as_json=as_json)


def _lines(model: Mapping[str, Any]) -> list[str]:
    pointing: dict[str, list[str]] = {}
    for alias, version in model["aliases"].items():
        pointing.setdefault(version, []).append(alias)
    lines = [str(model["name"])]
    for manifest in reversed(model["versions"]):
        first, score = next(iter(manifest["metrics"].items()))
        value = "not defined" if score["value"] is None else format_number(score["value"])
        aliases = ", ".join(pointing.get(manifest["version"], []))
        lines.append(f"  {manifest['version']}  {manifest['model']['kind']:<9} {first} {value:<10} {aliases}".rstrip())
    return lines
