"""What every target promises, given two releases of a model that answer and one that never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import DeploymentContext, DeploymentTarget, Release, previous_release


@dataclass(frozen=True)
class Place:
    """A target at which nothing runs, and what is tried there."""

    target: DeploymentTarget
    site: DeploymentContext
    good: tuple[Release, Release]
    broken: Release

    @property
    def model(self) -> str:
        """The model of all releases."""
        return self.good[0].model


def a_plan_changes_nothing(place: Place) -> None:
    """What would be made is named, and nothing is."""
    plan = place.target.plan(place.good[0], place.site)
    assert plan.changes
    assert all(step.action == "create" for step in plan.steps)
    status = place.target.status(place.model, place.site)
    assert (status.state, status.release, status.resources) == ("absent", None, ())


def what_runs_says_what_it_is(place: Place) -> None:
    """The status names the release, and nothing before it."""
    status = place.target.apply(place.good[0], place.site)
    assert (status.state, status.release, status.previous) == ("ready", place.good[0], None)
    assert status.resources
    assert place.target.status(place.model, place.site) == status


def a_second_apply_changes_nothing(place: Place) -> None:
    """What is as wished is kept as it is."""
    first = place.target.apply(place.good[0], place.site)
    assert place.target.plan(place.good[0], place.site).changes == ()
    assert place.target.apply(place.good[0], place.site).resources == first.resources


def the_release_before_is_the_way_back(place: Place) -> None:
    """A swap notes what it has replaced, and so does the way back."""
    first, second = place.good
    for release in place.good:
        status = place.target.apply(release, place.site)
    assert (status.release, status.previous) == (second, first)
    status = place.target.apply(previous_release(status), place.site)
    assert (status.state, status.release, status.previous) == ("ready", first, second)


def a_release_that_fails_leaves_the_one_before(place: Place) -> None:
    """What ran before runs on, and is still told."""
    place.target.apply(place.good[0], place.site)
    assert _refused(lambda: place.target.apply(place.broken, place.site))
    status = place.target.status(place.model, place.site)
    assert (status.state, status.release) == ("ready", place.good[0])


def a_first_release_that_fails_leaves_nothing(place: Place) -> None:
    """Nothing half done stays where nothing ran."""
    assert _refused(lambda: place.target.apply(place.broken, place.site))
    assert place.target.status(place.model, place.site).resources == ()


def down_leaves_nothing(place: Place) -> None:
    """Everything goes, and going again is fine."""
    place.target.apply(place.good[0], place.site)
    assert place.target.remove(place.model, place.site) == ()
    assert place.target.status(place.model, place.site).state == "absent"
    assert place.target.remove(place.model, place.site) == ()


def one_deployment_at_a_time(place: Place) -> None:
    """Who comes second is told so."""
    with place.target.lock(place.model, place.site):
        assert _refused(lambda: _enter(place))
    _enter(place)


def _enter(place: Place) -> None:
    with place.target.lock(place.model, place.site):
        pass


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except DeploymentError:
        return True
    return False


PROMISES = (
    a_plan_changes_nothing, what_runs_says_what_it_is, a_second_apply_changes_nothing,
    the_release_before_is_the_way_back, a_release_that_fails_leaves_the_one_before,
    a_first_release_that_fails_leaves_nothing, down_leaves_nothing, one_deployment_at_a_time,
)  # fmt: skip
