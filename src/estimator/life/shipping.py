"""A version -> an image, in a registry, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from estimator.artefact import Artefact, check_golden
from estimator.config import Image, resolve_kept
from estimator.deployment import Plan, Release, Resource, Site, Status, Target
from estimator.deployment.base import way_back
from estimator.order import Order, site_of, target_of

if TYPE_CHECKING:
    from estimator.image.building import Built, Job
    from estimator.image.registry import Reference

Note = Callable[[str], None]


def _silent(text: str) -> None:
    return None


def image(artefact: Artefact, order: Order, job: Job, *, note: Note = _silent) -> Built:
    """Build a version's image, start it, and check that it answers as the version must."""
    from estimator.image.building import build

    check_golden(artefact)
    kept = artefact.config.get("image", {})
    settings = resolve_kept("image", Image, kept, order.environment, overrides=order.overrides)
    return build(artefact, settings, job, environment=order.environment, note=note)


def push(folder: Path, to: str, order: Order, *, note: Note = _silent) -> Reference:
    """Push the image that was built in a folder to a registry; return it by its digest."""
    from estimator.image import pushing

    return pushing.push(folder, to, environment=order.environment, note=note)


@dataclass(frozen=True, slots=True)
class Place:
    """Which model is meant, the folder its image was built in, and a config that says where it runs.

    Without a config, the version's own says so.
    """

    model: str
    folder: Path
    conf: Path | None = None


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was planned for a release; `status` is how it stands since, None when nothing was done."""

    release: Release
    plan: Plan
    status: Status | None


def deploy(
    place: Place, order: Order, *, back: bool = False, agree: Callable[[Release, Plan], bool], note: Note = _silent
) -> Deployed:
    """Run the image that was built last where the config says, or with `back` the one that ran before.

    Nothing is done unless `agree` says so of the plan.
    """
    from estimator.image.record import read_record

    target, site = (
        target_of(place.model, place.folder, order, place.conf),
        site_of(place.model, place.folder, order, note),
    )
    if back:
        release = way_back(target.status(place.model, site))
    else:
        record = read_record(place.folder)
        release = Release(
            place.model, record["version"], target.image(record, site), record["port"], record["architecture"]
        )
    plan = target.plan(release, site)
    if not agree(release, plan) or not plan.changes:
        return Deployed(release, plan, None)
    with target.lock(place.model, site):
        return Deployed(release, plan, target.apply(release, site))


def status(place: Place, order: Order) -> Status:
    """Return how a model stands where it was deployed."""
    target, site = _opened(place, order, _silent)
    return target.status(place.model, site)


def down(
    place: Place, order: Order, *, agree: Callable[[Sequence[Resource]], bool], note: Note = _silent
) -> tuple[Resource, ...] | None:
    """Take down all that is there for a model; return what is left, None when nothing was done."""
    target, site = (
        target_of(place.model, place.folder, order, place.conf),
        site_of(place.model, place.folder, order, note),
    )
    found = target.status(place.model, site).resources
    if not agree(found):
        return None
    with target.lock(place.model, site):
        return target.remove(place.model, site)


def _opened(place: Place, order: Order, note: Note) -> tuple[Target, Site]:
    target = target_of(place.model, place.folder, order, place.conf)
    return target, site_of(place.model, place.folder, order, note)
