"""estimator deploy: the image that was built last -> where the config says it runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.shipping.deployment import Plan, Release

SIGNS = {"create": "+", "change": "~", "replace": "~", "keep": "=", "remove": "-"}


@click.command("deploy")
@click.argument("model")
@options.deployment
@click.option("--rollback", "back", is_flag=True, help="Run what ran before, by its digest.")
@click.option("--promote", is_flag=True, help="Make its version live in the store once it runs.")
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@options.yes
@options.overrides
@options.store
@options.as_json
def command(
    model: str, conf: Path | None, folder: Path | None, back: bool, promote: bool, dry_run: bool, yes: bool,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run MODEL's image where the config's section `deployment` says: docker, ec2 or kubernetes.

    The plan is shown first. The release is checked from outside before it takes over; when it fails, what ran before
    stays.
    """
    from estimator import verbs as life

    order = options.order(overrides, store)

    def agree(release: Release, plan: Plan) -> bool:
        if not as_json:
            options.say(_planned(release, plan))
        return not dry_run and (not plan.changes or options.agreed("Do this?", yes=yes))

    done = life.deploy(
        options.place(model, folder, conf), order, back=back, makes_live=promote, agree=agree,
        note=lambda text: None if as_json else options.say(text),
    )  # fmt: skip
    address = None if done.status is None else done.status.address
    data: dict[str, Any] = {
        "release": asdict(done.release), "plan": options.plan_data(done.plan), "applied": done.status is not None,
        "address": address,
    }  # fmt: skip
    if done.status is not None:
        text = f"{model} {done.release.version} runs at {address}\n\nnext: estimator status {model}"
    elif not done.plan.changes:
        text = f"{model} {done.release.version} runs already; nothing to do"
    else:
        text = "nothing was done"
    options.emit(data, text, as_json=as_json)


def _planned(release: Release, plan: Plan) -> str:
    lines = [f"{release.model} {release.version}", f"image    {release.image}"]
    lines += [
        f"  {SIGNS[step.action]} {step.action:<8}{step.what} {step.name}" + (f": {step.detail}" if step.detail else "")
        for step in plan.steps
    ]
    if plan.price is not None:
        parts = ", ".join(f"{name} {value:.4f}" for name, value in plan.price.hourly.items())
        lines += [
            f"price    about {plan.price.per_hour:.4f} USD an hour, {plan.price.per_month:.2f} a month: {parts}",
            f"         an estimate by the list of {plan.price.as_of}, without traffic and taxes",
        ]
    return "\n".join([*lines, *(f"note     {note}" for note in plan.notes)])
