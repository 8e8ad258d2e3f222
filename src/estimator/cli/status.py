"""estimator status: the state of a deployed model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options

if TYPE_CHECKING:
    from estimator.shipping.deployment import DeploymentStatus


@click.command("status")
@options.named_model
@options.deployment
@options.overrides
@options.store
@options.as_json
def command(
    model: str, conf: Path | None, folder: Path | None, overrides: tuple[str, ...], store: str | None, as_json: bool
) -> int:
    """Show which version of MODEL is deployed, whether it is ready, and every resource it uses.

    Exits with 3 if it is not ready.

    \b
    Example: estimator status houses
    """
    status = verbs.status.status(options.deployed(model, folder, conf), options.context(overrides, store))
    options.emit(asdict(status), _text(model, status), as_json=as_json)
    return 0 if status.state == "ready" else EXIT_GATE


def _text(model: str, status: DeploymentStatus) -> str:
    lines = [f"{model} is {status.state}" + (f" at {status.address}" if status.address else "")]
    if status.release is not None:
        lines += [f"version   {status.release.version}", f"image     {status.release.image}"]
    if status.previous is not None:
        lines.append(f"previous  {status.previous.version}   estimator deploy {model} --rollback")
    for resource in status.resources:
        detail = f": {resource.detail}" if resource.detail else ""
        lines.append(f"resource  {resource.kind} {resource.name}{detail}")
    lines += [f"note      {note}" for note in status.notes]
    if status.state == "absent":
        lines.append(f"next: estimator deploy {model}")
    return "\n".join(lines)
