"""The contract of deployment targets: release, plan, status and resources."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from estimator.config import Section, Serving, resolve_section
from estimator.config.section import Text
from estimator.core.lock import locked
from estimator.errors import DeploymentError
from estimator.store.artefact import Artefact

PREFIX = "estimator."
SETTINGS_HASH = f"{PREFIX}settings-hash"
Action = Literal["create", "change", "replace", "keep", "remove"]
State = Literal["absent", "ready", "failing", "stopped"]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


@dataclass(frozen=True, slots=True)
class Release:
    """An image to deploy: the model version in it, its name by digest, and the port in the container."""

    model: str
    version: str
    image: str
    port: int
    architecture: str

    def labels(self, settings_hash: str, previous: Release | None) -> dict[str, str]:
        """Return the labels of a deployed release, from which `from_labels` reads it and the previous one."""
        previous_values = {} if previous is None else asdict(previous)
        return {
            **{f"{PREFIX}{name}": str(value) for name, value in asdict(self).items()},
            SETTINGS_HASH: settings_hash,
            **{f"{PREFIX}previous-{name}": str(value) for name, value in previous_values.items() if name != "model"},
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str], *, previous: bool = False) -> Self | None:
        """Return the release in labels, or the previous one; None if the labels have none."""
        names = {name: f"{PREFIX}{'previous-' if previous and name != 'model' else ''}{name}" for name in FIELDS}
        if not names.keys() <= {name for name, label in names.items() if label in labels}:
            return None
        values: dict[str, Any] = {name: labels[label] for name, label in names.items()}
        return cls(**{**values, "port": int(values["port"])})


FIELDS = tuple(Release.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class PlanStep:
    """An action on one resource."""

    action: Action
    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """A price in US dollars: per hour of each resource by its name; `as_of` is the date of the price list.

    `unknown` are resources that the list does not have; they are not in the sums.
    """

    hourly: Mapping[str, float]
    as_of: str
    unknown: tuple[str, ...] = ()

    @property
    def per_hour(self) -> float:
        """Dollars per hour."""
        return sum(self.hourly.values())

    @property
    def per_month(self) -> float:
        """Dollars per month of 730 hours."""
        return 730 * self.per_hour


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The steps of a deployment, in order."""

    steps: tuple[PlanStep, ...]
    price: Price | None = None
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[PlanStep, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.action != "keep")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that a deployment created."""

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """The state of a model at a target.

    `settings_hash` is that of the running release, `address` the URL of its server.
    """

    state: State
    release: Release | None = None
    previous: Release | None = None
    settings_hash: str | None = None
    address: str | None = None
    resources: tuple[Resource, ...] = ()
    notes: tuple[str, ...] = ()


def _no_note(text: str) -> None:
    return None


@dataclass(frozen=True)
class DeploymentContext:
    """What a command needs besides settings: a folder for files, environment variables, and a progress callback.

    `version` opens the version of a release; it returns None if the version is not in the store. `image_environment`
    are the variables that the image of a release sets.
    """

    folder: Path
    environment: Mapping[str, str]
    version: Callable[[Release], Artefact | None] = lambda release: None
    note: Callable[[str], None] = field(default=_no_note)
    image_environment: Callable[[Release], Mapping[str, str]] = lambda release: {}


class DeploymentTarget(Section, ABC):
    """The settings and actions of a kind of target; it has at most one deployment of a model.

    `no_restart_keys` are settings that a running server does not depend on.
    """

    no_restart_keys: ClassVar[frozenset[str]] = frozenset()
    environment: dict[Variable, Text] = Field(
        {},
        description="environment variables of the server, such as "
        "ESTIMATOR_CONFIG__SERVING__RATE_LIMIT; not for secrets",
    )

    @property
    def architecture(self) -> str | None:
        """The architecture of the machine that pulls the image, as far as these settings say it."""
        return None

    @abstractmethod
    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        """Return the target's name, by digest, of the image in a folder's record.

        Raises
        ------
        DeploymentError: the target cannot get the image; the hint says how to make it available.
        """

    @abstractmethod
    def lock(self, model: str, context: DeploymentContext) -> AbstractContextManager[None]:
        """Lock the model's deployment while the context is open; DeploymentError if another process holds the lock."""

    @abstractmethod
    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        """Return what `apply` would do; nothing changes.

        Raises
        ------
        DeploymentError: the release cannot be deployed; the hint says what to fix.
        """

    @abstractmethod
    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        """Deploy a release and check it from outside.

        Raises
        ------
        DeploymentError: the deployment failed; the previous release runs, or nothing if there was none.
        """

    @abstractmethod
    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        """Return the state of a model, as the target reports it."""

    @abstractmethod
    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        """Remove all resources of a model; return those that are left, normally none."""

    def settings_hash(self, release: Release) -> str:
        """Return a hash of a release and the settings it runs with; a new hash needs a restart."""
        settings = self.model_dump(mode="json", exclude=set(self.no_restart_keys))
        content = json.dumps([settings, asdict(release)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def deployment_lock(context: DeploymentContext) -> AbstractContextManager[None]:
    """Lock the deployment of a folder against other processes.

    Raises
    ------
    DeploymentError: another process is deploying from it, or removing it, now.
    """
    path = context.folder / "deployment"
    return locked(path, purpose="deploying from it", timeout_seconds=0, error_type=DeploymentError)


def check_architecture(release: Release, architectures: Sequence[str], place: str) -> None:
    """Reject an image that no machine of a place runs; without architectures, they are not known.

    Raises
    ------
    DeploymentError: the image is for another architecture.
    """
    if architectures and release.architecture not in architectures:
        runs = " and ".join(sorted(set(architectures)))
        raise DeploymentError(
            f"{release.image} is for {release.architecture}, and {place} {runs}",
            hint=f"image.architecture: {architectures[0]}, and estimator image again",
        )


def check_public(release: Release, address: str, environment: Mapping[str, str], context: DeploymentContext) -> None:
    """Reject a public server without API keys.

    Raises
    ------
    DeploymentError: the server does not require API keys.
    """
    if context.version(release) is None:
        return
    serving = serving_of(release, environment, context)
    if serving.keys_file is None and serving.api_key_env is None:
        raise DeploymentError(
            f"{address} is public, but {release.model} does not require API keys",
            hint="set serving.keys_file or serving.api_key_env, or deployment.allow_public: true",
        )


def serving_of(release: Release, environment: Mapping[str, str], context: DeploymentContext) -> Serving:
    """Return how a release is served: as its image says, and the environment that it is deployed with."""
    artefact = context.version(release)
    stored = {} if artefact is None else artefact.config["serving"]
    return resolve_section("serving", Serving, stored, {**context.image_environment(release), **environment})


def previous_release(status: DeploymentStatus) -> Release:
    """Return the release to roll back to.

    Raises
    ------
    DeploymentError: there is none.
    """
    if status.previous is None:
        raise DeploymentError(
            "there is no previous release" if status.release else "nothing is deployed", hint="estimator deploy MODEL"
        )
    return replace(status.previous)
