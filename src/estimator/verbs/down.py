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
    dry_run: bool = False,
    confirm: Callable[[Sequence[Resource]], bool],
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Resource, ...] | None:
    """Remove all resources of a model; return those that are left, None in a dry run or if not confirmed.

    What `confirm` is shown is what is removed: the deployment is locked from then on.
    """
    target, site = target_and_site(deployed, context, note)
    if dry_run:
        confirm(target.status(deployed.model, site).resources)
        return None
    with target.lock(deployed.model, site):
        is_confirmed = confirm(target.status(deployed.model, site).resources)
        return target.remove(deployed.model, site) if is_confirmed else None
