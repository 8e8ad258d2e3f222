"""status: which version of a model runs where it was deployed, and whether it is ready."""

from __future__ import annotations

from estimator.shipping.deployment import DeploymentStatus
from estimator.verbs.context import Context
from estimator.verbs.deploy import DeployedModel, target_and_site


def status(deployed: DeployedModel, context: Context) -> DeploymentStatus:
    """Return the state of a model where it was deployed."""
    target, site = target_and_site(deployed, context, lambda text: None)
    return target.status(deployed.model, site)
