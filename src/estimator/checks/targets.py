"""What every deployment target promises, checked with two releases that work and one that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import DeploymentContext, DeploymentTarget, Release, previous_release


@dataclass(frozen=True)
class DeploymentTrial:
    """A target without deployments, and releases of one model to deploy there.

    `impatient_target` is the same target with a short health timeout, for the release that fails.
    """

    target: DeploymentTarget
    impatient_target: DeploymentTarget
    context: DeploymentContext
    releases: tuple[Release, Release]
    failing_release: Release

    @property
    def model(self) -> str:
        """The model of all releases."""
        return self.releases[0].model


def a_plan_changes_nothing(trial: DeploymentTrial) -> None:
    """The plan lists what would be created, and creates nothing."""
    plan = trial.target.plan(trial.releases[0], trial.context)
    assert plan.changes
    assert all(step.action == "create" for step in plan.steps)
    status = trial.target.status(trial.model, trial.context)
    assert (status.state, status.release, status.resources) == ("absent", None, ())


def status_names_the_running_release(trial: DeploymentTrial) -> None:
    """The first release has no previous one."""
    status = trial.target.apply(trial.releases[0], trial.context)
    assert (status.state, status.release, status.previous) == ("ready", trial.releases[0], None)
    assert status.resources
    assert trial.target.status(trial.model, trial.context) == status


def a_second_apply_changes_nothing(trial: DeploymentTrial) -> None:
    """Resources that match the plan are kept."""
    first = trial.target.apply(trial.releases[0], trial.context)
    assert trial.target.plan(trial.releases[0], trial.context).changes == ()
    assert trial.target.apply(trial.releases[0], trial.context).resources == first.resources


def rollback_returns_to_the_previous_release(trial: DeploymentTrial) -> None:
    """A new release records the one it replaced, and so does a rollback."""
    first, second = trial.releases
    trial.target.apply(first, trial.context)
    status = trial.target.apply(second, trial.context)
    assert (status.release, status.previous) == (second, first)
    status = trial.target.apply(previous_release(status), trial.context)
    assert (status.state, status.release, status.previous) == ("ready", first, second)


def failed_release_leaves_the_previous_one(trial: DeploymentTrial) -> None:
    """The previous release keeps running, and the status names it."""
    trial.target.apply(trial.releases[0], trial.context)
    assert _fails(lambda: trial.impatient_target.apply(trial.failing_release, trial.context))
    status = trial.target.status(trial.model, trial.context)
    assert (status.state, status.release) == ("ready", trial.releases[0])


def failed_first_release_leaves_nothing(trial: DeploymentTrial) -> None:
    """Without a previous release, everything is removed."""
    assert _fails(lambda: trial.impatient_target.apply(trial.failing_release, trial.context))
    assert trial.target.status(trial.model, trial.context).resources == ()


def removal_leaves_nothing(trial: DeploymentTrial) -> None:
    """All resources are deleted, and a second removal is not an error."""
    trial.target.apply(trial.releases[0], trial.context)
    assert trial.target.remove(trial.model, trial.context) == ()
    assert trial.target.status(trial.model, trial.context).state == "absent"
    assert trial.target.remove(trial.model, trial.context) == ()


def one_deployment_at_a_time(trial: DeploymentTrial) -> None:
    """A second deployment at the same time is an error."""
    with trial.target.lock(trial.model, trial.context):
        assert _fails(lambda: _lock_and_unlock(trial))
    _lock_and_unlock(trial)


def _lock_and_unlock(trial: DeploymentTrial) -> None:
    with trial.target.lock(trial.model, trial.context):
        pass


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except DeploymentError:
        return True
    return False


PROMISES = (
    a_plan_changes_nothing,
    status_names_the_running_release,
    a_second_apply_changes_nothing,
    rollback_returns_to_the_previous_release,
    failed_release_leaves_the_previous_one,
    failed_first_release_leaves_nothing,
    removal_leaves_nothing,
    one_deployment_at_a_time,
)
