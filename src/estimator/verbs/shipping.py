"""A version -> an image, in a registry, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from estimator.config import Image, resolve_kept
from estimator.shipping.deployment import Plan, Release, Resource, Site, Status, Target
from estimator.shipping.deployment.base import way_back
from estimator.store.artefact import Artefact, check_golden
from estimator.verbs.context import Order, open_store, site_of, target_of
from estimator.verbs.keeping import promote

if TYPE_CHECKING:
    from estimator.shipping.image.build import Built, Job
    from estimator.shipping.image.registry import Reference

Note = Callable[[str], None]


def _silent(text: str) -> None:
    return None


def image(artefact: Artefact, order: Order, job: Job, *, note: Note = _silent) -> Built:
    """Build a version's image, start it, and check that it answers as the version must."""
    from estimator.shipping.image.build import build

    check_golden(artefact)
    kept = artefact.config.get("image", {})
    settings = resolve_kept("image", Image, kept, order.environment, overrides=order.overrides)
    return build(artefact, settings, job, environment=order.environment, note=note)


def push(folder: Path, to: str, order: Order, *, note: Note = _silent) -> Reference:
    """Push the image that was built in a folder to a registry; return it by its digest."""
    from estimator.shipping.image import push as pushing

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
    place: Place, order: Order, *, back: bool = False, makes_live: bool = False,
    agree: Callable[[Release, Plan], bool], note: Note = _silent,
) -> Deployed:  # fmt: skip
    """Run the image that was built last where the config says, or with `back` the one that ran before.

    Nothing is done unless `agree` says so of the plan. With `makes_live`, what runs then is live in the store as well.
    """
    from estimator.shipping.image.build_record import read_record

    target, site = _opened(place, order, note)
    if back:
        release = way_back(target.status(place.model, site))
    else:
        record = read_record(place.folder)
        release = Release(
            place.model, record["version"], target.image(record, site), record["port"], record["architecture"]
        )
    plan = target.plan(release, site)
    is_agreed = agree(release, plan)
    status = None
    if is_agreed and plan.changes:
        with target.lock(place.model, site):
            status = target.apply(release, site)
    if is_agreed and makes_live:
        _make_live(release, order, note)
    return Deployed(release, plan, status)


def _make_live(release: Release, order: Order, note: Note) -> None:
    store = open_store(None, order)
    if store.aliases(release.model).get("live") != release.version:
        promote(store, f"{release.model}/{release.version}", why="it was deployed")
        note(f"live is now {release.version}")


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
