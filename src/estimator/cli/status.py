"""estimator status: how a model stands where it was deployed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.shipping.deployment import Status

EXIT_GATE = 3


@click.command("status")
@click.argument("model")
@options.deployment
@options.overrides
@options.store
@options.as_json
@click.pass_context
def command(
    context: click.Context, model: str, conf: Path | None, folder: Path | None, overrides: tuple[str, ...],
    store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Tell which version of MODEL runs where, whether it is ready, and all that is there for it.

    Exit code 3 when it is not ready.
    """
    from estimator import verbs as life

    found = life.status(options.place(model, folder, conf), options.order(overrides, store))
    options.emit(asdict(found), _text(model, found), as_json=as_json)
    if found.state != "ready":
        context.exit(EXIT_GATE)


def _text(model: str, found: Status) -> str:
    lines = [f"{model} is {found.state}" + (f" at {found.address}" if found.address else "")]
    if found.release is not None:
        lines += [f"version  {found.release.version}", f"image    {found.release.image}"]
    if found.previous is not None:
        lines.append(f"before   {found.previous.version}   estimator deploy {model} --rollback")
    lines += [
        f"there    {item.what} {item.name}" + (f": {item.detail}" if item.detail else "") for item in found.resources
    ]
    lines += [f"note     {note}" for note in found.notes]
    if found.state == "absent":
        lines.append(f"next: estimator deploy {model}")
    return "\n".join(lines)
