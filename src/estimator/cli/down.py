"""estimator down: all that is there for a model -> nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options
from estimator.errors import DeploymentError

if TYPE_CHECKING:
    from estimator.shipping.deployment import Resource


@click.command("down")
@click.argument("model")
@options.deployment
@click.option("--dry-run", is_flag=True, help="Show what would be removed and do nothing.")
@options.yes
@options.overrides
@options.store
@options.as_json
def command(
    model: str, conf: Path | None, folder: Path | None, dry_run: bool, yes: bool, overrides: tuple[str, ...],
    store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Take down all that is there for MODEL, and tell what is left, which should be nothing.

    Images in registries stay.
    """
    from estimator import verbs as life

    found: list[Resource] = []

    def agree(resources: Sequence[Resource]) -> bool:
        found.extend(resources)
        if not as_json:
            options.say("\n".join(f"  - remove  {item.what} {item.name}" for item in resources) or "nothing is there")
        return not dry_run and bool(resources) and options.agreed("Remove all this?", yes=yes)

    left = life.down(
        options.place(model, folder, conf), options.order(overrides, store), agree=agree,
        note=lambda text: None if as_json else options.say(text),
    )  # fmt: skip
    data = {
        "found": [asdict(item) for item in found], "removed": left is not None,
        "left": None if left is None else [asdict(item) for item in left],
    }  # fmt: skip
    if left:
        names = ", ".join(f"{item.what} {item.name}" for item in left)
        raise DeploymentError(f"still there: {names}", hint=f"estimator down {model}")
    words = "nothing was done" if found else f"nothing is there for {model}"
    options.emit(data, words if left is None else f"nothing of {model} is left", as_json=as_json)
