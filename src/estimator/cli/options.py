"""Options that several verbs share, and how answers are printed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from estimator.shipping.deployment import Plan
    from estimator.store.store import Store
    from estimator.verbs import Order, Place

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


builder = click.option(
    "--builder", type=click.Choice(["auto", "docker", "podman", "buildah", "direct"]), default="auto",
    show_default=True,
    help="auto takes the first that works; direct writes the image here, without an engine.",
)  # fmt: skip
base_rootfs = click.option(
    "--base-rootfs", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The base as the tar of a file system, for images that are written here.",
)  # fmt: skip
log = click.option("--log", metavar="PLACE", help="The prediction log  [default: the version's serving.prediction_log]")
watched_conf = click.option(
    "--conf", type=click.Path(path_type=Path, dir_okay=False),
    help="The config whose monitoring, retraining and promotion count  [default: the version's own]",
)  # fmt: skip
yes = click.option("--yes", is_flag=True, help="Do it without asking.")


def deployment(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which deployment is meant."""
    conf = click.option(
        "--conf", type=click.Path(path_type=Path, dir_okay=False),
        help="The config whose section `deployment` counts  [default: the version's own]",
    )  # fmt: skip
    built = click.option(
        "--folder", type=click.Path(path_type=Path, file_okay=False), help="Where it was built  [default: build/MODEL]"
    )
    return conf(built(command))


def place(model: str, folder: Path | None, conf: Path | None) -> Place:
    """Return which deployment is meant."""
    from estimator.verbs import Place

    return Place(model, folder or Path("build") / model, conf)


def agreed(question: str, *, yes: bool) -> bool:
    """Ask a person; where none can answer, only --yes will do."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes to do it, or --dry-run to see the plan")
    return click.confirm(question, err=True)


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON-ready data."""
    price = None
    if plan.price is not None:
        price = {**asdict(plan.price), "per_hour": plan.price.per_hour, "per_month": round(plan.price.per_month, 2)}
    return {"steps": [asdict(step) for step in plan.steps], "price_usd": price, "notes": list(plan.notes)}


def order(overrides: tuple[str, ...] = (), store: str | None = None) -> Order:
    """Return what a verb hands to `life` beside its own arguments."""
    from estimator.verbs import Order

    return Order(overrides, dict(os.environ), store)


def moment(text: str, now: float | None = None) -> float:
    """Return a time in seconds since 1970."""
    from estimator.core.clock import parse_time

    try:
        return parse_time(text, time.time() if now is None else now)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def opened(store: str | None) -> Store:
    """Return the store that is meant without a config."""
    from estimator.verbs import open_store

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
