"""Options that several verbs share, and how answers are printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from estimator.life import Order
    from estimator.store import Store

conf = click.option(
    "--conf", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The config: .json, .yml or .toml."
)
overrides = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config.")
query = click.option("--query", help="Of a database: a SELECT, or a table's name.")
store = click.option("--store", help="Folder of all versions  [default: the config's, ESTIMATOR_STORE, models]")
folder = click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(),
    help="Where a version's own data paths start  [default: here]",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
model = click.option(
    "--model", envvar="MODEL_FOLDER", show_envvar=True, required=True,
    help="A version's or model's folder, or MODEL, MODEL@ALIAS, MODEL/VERSION in the store.",
)  # fmt: skip


def order(overrides: tuple[str, ...] = (), store: str | None = None) -> Order:
    """Return what a verb hands to `life` beside its own arguments."""
    from estimator.life import Order

    return Order(overrides, dict(os.environ), store)


def opened(store: str | None) -> Store:
    """Return the store that is meant without a config."""
    from estimator.life import open_store

    return open_store(None, order(store=store))


def emit(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print the answer: an object for machines, or words."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)


def say(text: str) -> None:
    """Print talk to stderr."""
    click.echo(text, err=True)


def is_watched() -> bool:
    """Whether a person looks at stderr."""
    return sys.stderr.isatty()
