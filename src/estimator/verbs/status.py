"""status: which version of a model runs where it was deployed, whether it is ready, and what all of AWS costs."""

from __future__ import annotations

from estimator.config import resolve_section
from estimator.shipping.deployment import SHELF, DeploymentStatus
from estimator.shipping.deployment.ec2.inventory import ModelCost, costs
from estimator.verbs.context import Context
from estimator.verbs.deploy import DeployedModel, target_and_site


def status(deployed: DeployedModel, context: Context) -> DeploymentStatus:
    """Return the state of a model where it was deployed."""
    target, site = target_and_site(deployed, context, lambda text: None)
    return target.status(deployed.model, site)


def costs_on_aws(context: Context) -> list[ModelCost]:
    """Return what every model costs on AWS, in the region of `deployment.region`, else in all of the account.

    Regions that cannot be read are notes of the context.
    """
    target = SHELF.load("ec2")
    settings = resolve_section(
        "deployment", target, {"kind": "ec2"}, context.environment, overrides=context.overrides
    ).model_dump()
    found, notes = costs(settings["region"])
    context.notes.add(notes)
    return found
