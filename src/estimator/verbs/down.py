"""down: remove everything that was deployed for a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from estimator.shipping.deployment import Resource
from estimator.verbs.context import Context
from estimator.verbs.deploy import DeployedModel, target_and_site


def down(
    deployed: DeployedModel,
    context: Context,
    *,
    confirm: Callable[[Sequence[Resource]], bool],
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Resource, ...] | None:
    """Remove all resources of a model; return those that are left, None when `confirm` rejects the removal."""
    target, site = target_and_site(deployed, context, note)
    if not confirm(target.status(deployed.model, site).resources):
        return None
    with target.lock(deployed.model, site):
        return target.remove(deployed.model, site)
