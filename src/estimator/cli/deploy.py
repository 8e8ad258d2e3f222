"""estimator deploy: the built image -> a running service."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import options

if TYPE_CHECKING:
    from estimator.shipping.deployment import DeploymentPlan, Release


@click.command("deploy")
@options.named_model
@options.deployment
@click.option("--rollback", is_flag=True, help="Run the previous release again, by its digest.")
@click.option("--promote", is_flag=True, help="Make its version live in the store once it runs.")
@click.option("--dry-run", is_flag=True, help="Show the plan without applying it.")
@options.yes
@options.overrides
@options.store
@options.as_json
def command(
    model: str, conf: Path | None, folder: Path | None, rollback: bool, promote: bool, dry_run: bool, yes: bool,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run MODEL's image where the config's section `deployment` says: docker, ec2 or kubernetes.

    The plan is shown first. The release is checked from outside before it takes over; if a check fails, the previous
    release keeps running.

    \b
    Example: estimator deploy houses --set deployment.kind=docker --dry-run
    """

    def confirm(release: Release, plan: DeploymentPlan) -> bool:
        if not as_json:
            options.say(_plan_text(release, plan))
        return not dry_run and (not plan.changes or options.confirm("Apply this plan?", yes=yes))

    deployment = verbs.deploy.deploy(
        options.deployed(model, folder, conf),
        options.context(overrides, store),
        rollback=rollback,
        make_live=promote,
        dry_run=dry_run,
        confirm=confirm,
        note=options.note(as_json=as_json),
    )
    release, status = deployment.release, deployment.status
    data: dict[str, Any] = {
        "release": asdict(release),
        "plan": options.plan_data(deployment.plan),
        "applied": status is not None,
        "url": None if status is None else status.address,
    }
    if status is not None:
        text = f"{model} {release.version} runs at {status.address}\n\nnext: estimator status {model}"
    elif not deployment.plan.changes:
        text = f"{model} {release.version} is already running; nothing to do"
    else:
        text = "nothing was changed"
    options.emit(data, text, as_json=as_json)


def _plan_text(release: Release, plan: DeploymentPlan) -> str:
    lines = [f"{release.model} {release.version}", f"image    {release.image}"]
    lines += [options.plan_line(step.action, f"{step.kind} {step.name}", step.detail) for step in plan.steps]
    if plan.price is not None:
        parts = ", ".join(f"{name} {value:.4f}" for name, value in plan.price.hourly.items())
        lines += [
            f"price    about {plan.price.per_hour:.4f} USD per hour, {plan.price.per_month:.2f} per month: {parts}",
            f"         estimated from list prices of {plan.price.as_of}, without traffic and taxes",
        ]
    return "\n".join([*lines, *(f"note     {note}" for note in plan.notes)])
