"""deploy: a model's image -> a running service, where the section `deployment` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.config import from_environment, resolve_section
from estimator.errors import EstimatorError
from estimator.shipping import deployment
from estimator.shipping.deployment import DeploymentContext, DeploymentPlan, DeploymentStatus, DeploymentTarget, Release
from estimator.shipping.deployment.base import previous_release
from estimator.shipping.image.build_record import read_record
from estimator.store.artefact import Artefact, open_artefact
from estimator.verbs.context import SHELVES, Context
from estimator.verbs.promote import promote

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """A model, the folder its image was built in, and a config that says where it runs.

    Without a config, the version's own says so.
    """

    model: str
    folder: Path
    conf: Path | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A release and its plan; `status` is its state afterwards, None when nothing was applied."""

    release: Release
    plan: DeploymentPlan
    status: DeploymentStatus | None


def deploy(
    deployed: DeployedModel,
    context: Context,
    *,
    rollback: bool = False,
    make_live: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Release, DeploymentPlan], bool],
    note: Note = lambda text: None,
) -> Deployment:
    """Run the most recently built image where the config says, or with `rollback` the one that ran before.

    Nothing is done unless `confirm` accepts the plan, nor in a dry run. From the plan until it is applied, the
    deployment is locked, so that what was confirmed is what is done. With `make_live`, the version is promoted once it
    runs.
    """
    target, site = target_and_site(deployed, context, note)
    with nullcontext() if dry_run else target.lock(deployed.model, site):
        deployment, is_confirmed = _deployed(deployed, target, site, rollback, confirm, dry_run=dry_run)
    if is_confirmed and make_live:
        _promote(deployment.release, context, note)
    return deployment


def _deployed(
    deployed: DeployedModel,
    target: DeploymentTarget,
    site: DeploymentContext,
    rollback: bool,
    confirm: Callable[[Release, DeploymentPlan], bool],
    *,
    dry_run: bool,
) -> tuple[Deployment, bool]:
    """Plan, and apply if it is confirmed; return whether it was."""
    if rollback:
        release = previous_release(target.status(deployed.model, site))
    else:
        record = read_record(deployed.folder)
        release = Release(
            deployed.model, record["version"], target.image(record, site), record["port"], record["architecture"]
        )
    plan = target.plan(release, site)
    is_confirmed = confirm(release, plan) and not dry_run
    status = target.apply(release, site) if is_confirmed and plan.changes else None
    return Deployment(release, plan, status), is_confirmed


def _promote(release: Release, context: Context, note: Note) -> None:
    store = context.store()
    if store.aliases(release.model).get("live") != release.version:
        promote(store, f"{release.model}/{release.version}", why="it was deployed")
        note(f"live is now {release.version}")


def target_and_site(
    deployed: DeployedModel, context: Context, note: Note
) -> tuple[DeploymentTarget, DeploymentContext]:
    """Return the target a model runs on and what it works with; versions come from the built context or the store."""

    def version(release: Release) -> Artefact | None:
        try:
            built = _version_of(deployed, context)
            if built.version == release.version:
                return built
            return context.version(f"{deployed.model}/{release.version}")
        except EstimatorError:
            return None

    def image_environment(release: Release) -> Mapping[str, str]:
        try:
            record = read_record(deployed.folder)
        except EstimatorError:
            return {}
        variables: Mapping[str, str] = record.get("environment", {}) if record["version"] == release.version else {}
        return variables

    return target_of(deployed, context), DeploymentContext(
        deployed.folder, context.environment, version, note, image_environment
    )


def target_of(deployed: DeployedModel, context: Context) -> DeploymentTarget:
    """Return the target of a config, else of the version; the environment wins over both, overrides over all."""
    if deployed.conf is not None:
        stored: Mapping[str, Any] = context.config(deployed.conf).model_dump(mode="json")["deployment"] or {}
    else:
        stored = _version_of(deployed, context).config.get("deployment") or {}
    settings = [text.partition("=") for text in (*from_environment(context.environment), *context.overrides)]
    kinds = [value.strip() for key, _, value in settings if key.strip() == "deployment.kind"]
    configured = stored.get("kind", SHELVES.default_target)
    kind = kinds[-1] if kinds else configured
    # Another kind starts from its own defaults.
    stored = stored if kind == configured else {"kind": kind}
    section = deployment.SHELF.load(kind)
    return resolve_section("deployment", section, stored, context.environment, overrides=context.overrides)


def _version_of(deployed: DeployedModel, context: Context) -> Artefact:
    built = deployed.folder / "context" / "model"
    return open_artefact(built) if built.is_dir() else context.version(deployed.model)
