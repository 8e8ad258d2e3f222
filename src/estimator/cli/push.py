"""estimator push: the most recently built image -> a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options

if TYPE_CHECKING:
    from estimator.shipping.deployment import DeploymentPlan
    from estimator.shipping.image.build_record import PushPlan


@click.command("push")
@options.named_model
@click.option("--to", required=True, help="HOST/NAME:TAG, or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the built image  [default: build/MODEL]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be pushed and tagged, and change nothing.")
@options.as_json
def command(model: str, to: str, folder: Path | None, dry_run: bool, as_json: bool) -> None:
    """Push the most recently built image of MODEL.

    Layers that the registry has are not sent again, so the same command resumes an interrupted push. In AWS's registry
    the repository is created if it is missing.

    \b
    Example: estimator push houses --to ghcr.io/me/houses:1.0
    """
    deployed, context = options.deployed(model, folder, None), options.context()
    if dry_run:
        planned, plan = verbs.push.plan(deployed, to, context)
        data = {
            "model": model,
            "to": str(planned.reference),
            "architecture": planned.architecture,
            "digest": planned.digest,
            "stored_digest": planned.stored_digest,
            "plan": options.plan_data(plan),
            "pushed": None,
        }
        options.emit(data, _plan_text(planned, plan), as_json=as_json)
        return
    pushed = verbs.push.push(deployed, to, context, note=options.note(as_json=as_json))
    data = {"model": model, "pushed": str(pushed), "digest": pushed.digest}
    options.emit(data, f"pushed   {pushed}\n\nnext: estimator deploy {model}", as_json=as_json)


def _plan_text(planned: PushPlan, plan: DeploymentPlan) -> str:
    lines = [
        f"image    {planned.tag}, linux/{planned.architecture}",
        f"digest   {planned.digest or 'known once the engine has pushed it'}",
        *(options.plan_line(step.action, f"{step.kind} {step.name}", step.detail) for step in plan.steps),
    ]
    return "\n".join([*lines, "nothing was changed"])
