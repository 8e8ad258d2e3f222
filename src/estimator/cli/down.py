"""estimator down: remove a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options
from estimator.errors import DeploymentError

if TYPE_CHECKING:
    from estimator.shipping.deployment import Resource


@click.command("down")
@options.named_model
@options.deployment
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@options.yes
@options.overrides
@options.store
@options.as_json
def command(
    model: str, conf: Path | None, folder: Path | None, dry_run: bool, yes: bool, overrides: tuple[str, ...],
    store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Remove everything that was deployed for MODEL; images in registries stay.

    \b
    Example: estimator down houses --dry-run
    """
    present: list[Resource] = []

    def confirm(resources: Sequence[Resource]) -> bool:
        present.extend(resources)
        if not as_json:
            lines = [f"  - remove  {resource.kind} {resource.name}" for resource in resources]
            options.say("\n".join(lines) or "nothing is deployed")
        return not dry_run and bool(resources) and options.confirm("Remove all of this?", yes=yes)

    left = verbs.down.down(
        options.deployed(model, folder, conf),
        options.context(overrides, store),
        dry_run=dry_run,
        confirm=confirm,
        note=options.note(as_json=as_json),
    )
    if left:
        names = ", ".join(f"{resource.kind} {resource.name}" for resource in left)
        raise DeploymentError(f"not removed: {names}", hint=f"run again: estimator down {model}")
    data = {
        "deployed": [asdict(resource) for resource in present],
        "removed": left is not None,
        "left": None if left is None else [asdict(resource) for resource in left],
    }
    unchanged = "nothing was removed" if present else f"nothing is deployed for {model}"
    options.emit(data, unchanged if left is None else f"everything of {model} was removed", as_json=as_json)
