"""estimator status: the state of a deployed model, and what all of them cost on AWS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options
from estimator.core.clock import format_time, iso_time
from estimator.core.text import counted, format_duration

if TYPE_CHECKING:
    from estimator.shipping.deployment import DeploymentStatus
    from estimator.shipping.deployment.ec2.inventory import ModelCost


@click.command("status")
@options.by_position_or("--model", "model", metavar="MODEL", help="The model's name in the store.")
@click.option("--all", "all_on_aws", is_flag=True, help="List what runs on AWS and what it costs, of every model.")
@options.deployment
@options.overrides
@options.store
@options.as_json
def command(
    model: str | None, all_on_aws: bool, conf: Path | None, folder: Path | None, overrides: tuple[str, ...],
    store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Show which version of MODEL is deployed, whether it is ready, and every resource it uses.

    Exits with 3 if it is not ready. With --all, list every instance, disk and address on AWS that has estimator's tag,
    with its age and list price: in all regions of the account, or in one by --set deployment.region=eu-west-1.

    \b
    Example: estimator status houses
             estimator status --all
    """
    if all_on_aws:
        if model or conf or folder:
            raise click.UsageError("--all lists every model: give no MODEL, --conf or --folder")
        return _list_all(overrides, as_json=as_json)
    if model is None:
        raise click.UsageError("Missing argument 'MODEL', or --all.")
    status = verbs.status.status(options.deployed(model, folder, conf), options.context(overrides, store))
    options.emit(asdict(status), _text(model, status), as_json=as_json)
    return 0 if status.state == "ready" else EXIT_GATE


def _list_all(overrides: tuple[str, ...], *, as_json: bool) -> int:
    context = options.context(overrides)
    now, costs = datetime.now(UTC), verbs.status.costs_on_aws(context)
    data = {
        "deployments": [_cost_data(cost, now) for cost in costs],
        "usd_per_hour": sum(cost.price.per_hour for cost in costs),
        "usd_per_month": round(sum(cost.price.per_month for cost in costs), 2),
    }
    options.emit(data, "\n".join(_cost_lines(costs, now)), as_json=as_json, notes=context.notes)
    return 0


def _cost_data(cost: ModelCost, now: datetime) -> dict[str, Any]:
    return {
        "model": cost.model,
        "region": cost.region,
        "version": cost.version,
        "since": None if cost.since is None else iso_time(cost.since.timestamp()),
        "age_seconds": None if cost.since is None else round((now - cost.since).total_seconds()),
        "expires": None if cost.expires is None else iso_time(cost.expires.timestamp()),
        "resources": [asdict(resource) for resource in cost.resources],
        "price_usd": options.price_data(cost.price),
    }


def _cost_lines(costs: Sequence[ModelCost], now: datetime) -> Iterator[str]:
    if not costs:
        yield "nothing with estimator's tag runs, and no disk or address of it is left"
        return
    rows = [("model", "region", "version", "age", "USD per hour", "per month")]
    for cost in costs:
        age = "" if cost.since is None else _age(now - cost.since)
        price = cost.price
        sums = ("unknown", "unknown") if not price.hourly else (f"{price.per_hour:.4f}", f"{price.per_month:.2f}")
        rows.append((cost.model, cost.region, cost.version or "no instance", age, *sums))
    yield from options.table(rows)
    for cost in costs:
        place = f"{cost.model} in {cost.region}"
        for resource in cost.resources:
            yield f"resource  {place}: {resource.kind} {resource.name}" + (
                f": {resource.detail}" if resource.detail else ""
            )
        if cost.price.unknown:
            yield f"note      {place}: no list price of {', '.join(cost.price.unknown)}, which is not in the sum"
        if cost.expires is not None:
            is_over = "should have terminated itself" if cost.expires < now else "terminates itself"
            yield f"note      {place}: {is_over} at {format_time(cost.expires.timestamp())}"
        if cost.since is None:
            yield f"note      {place}: costs without an instance: estimator down {cost.model}"
    hour, month = (
        sum(amounts) for amounts in zip(*((c.price.per_hour, c.price.per_month) for c in costs), strict=True)
    )
    yield f"in all    about {hour:.4f} USD per hour, {month:.2f} per month"
    yield f"          estimated from list prices of {costs[0].price.as_of}, without traffic, taxes and images in ECR"


def _age(age: timedelta) -> str:
    return counted(age.days, "day") if age.days >= 2 else format_duration(age.total_seconds())


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
