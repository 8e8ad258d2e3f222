"""push: the most recently built image of a model -> a registry."""

from __future__ import annotations

from collections.abc import Callable

from estimator.errors import ImageError
from estimator.shipping.deployment import DeploymentPlan, PlanStep
from estimator.shipping.image import build_record
from estimator.shipping.image.build_record import PushPlan
from estimator.shipping.image.registry import ImageReference
from estimator.verbs.context import Context
from estimator.verbs.deploy import DeployedModel, target_of


def push(
    deployed: DeployedModel, to: str, context: Context, *, note: Callable[[str], None] = lambda text: None
) -> ImageReference:
    """Push the image built in a model's folder to HOST/NAME:TAG; return its reference by digest.

    Raises
    ------
    ImageError: the image is for another architecture than the machine that it is to be deployed on.
    """
    check_target(deployed, context)
    return build_record.push(deployed.folder, to, environment=context.environment, note=note)


def plan(deployed: DeployedModel, to: str, context: Context) -> tuple[PushPlan, DeploymentPlan]:
    """Return what `push` would do with an image, as one value and as steps; nothing is changed.

    Raises
    ------
    ImageError, RegistryError: the push would fail for this reason.
    """
    check_target(deployed, context)
    pushed = build_record.plan_push(deployed.folder, to, environment=context.environment)
    name = str(pushed.reference)
    if pushed.stored_digest is None:
        step = PlanStep("create", "tag", name)
    elif pushed.stored_digest == pushed.digest:
        step = PlanStep("keep", "tag", name, "is this image already")
    else:
        step = PlanStep("replace", "tag", name, f"is {pushed.stored_digest} now")
    repository = PlanStep("create", "repository", pushed.reference.repository)
    return pushed, DeploymentPlan((step,) if pushed.has_repository else (repository, step))


def check_target(deployed: DeployedModel, context: Context) -> None:
    """Reject an image that the machine of `deployment`, which pulls it, cannot run; without a section it is unknown."""
    record = build_record.read_record(deployed.folder)
    target = target_of(deployed, context) if (deployed.folder / "context" / "model").is_dir() else None
    if target is not None and target.architecture not in (None, record["architecture"]):
        raise ImageError(
            f"{record['tag']} is for {record['architecture']}, and `deployment` is a machine for {target.architecture}",
            hint=f"image.architecture: {target.architecture}, and estimator image again",
        )
