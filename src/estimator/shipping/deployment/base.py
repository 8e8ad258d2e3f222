"""The contract of a target: what an image is to run as, what would be done for that, and how it stands."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from estimator.config import Section, Serving, resolve_section
from estimator.config.section import Text
from estimator.errors import DeploymentError
from estimator.store.artefact import Artefact

PREFIX = "estimator."
Action = Literal["create", "change", "replace", "keep", "remove"]
State = Literal["absent", "ready", "failing", "stopped"]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


@dataclass(frozen=True, slots=True)
class Release:
    """An image that runs or is to run: by its digest, with what it holds and the port it listens at inside."""

    model: str
    version: str
    image: str
    port: int
    architecture: str

    def labels(self, settings: str, previous: Release | None) -> dict[str, str]:
        """Return what is written beside whatever runs, so that anybody who sees it knows what it is.

        `settings` is the mark of how it runs; `previous` is what a way back leads to.
        """
        own = {f"{PREFIX}{name}": str(value) for name, value in asdict(self).items()}
        before = {} if previous is None else asdict(previous)
        return {
            **own,
            f"{PREFIX}settings": settings,
            **{f"{PREFIX}previous-{name}": str(value) for name, value in before.items() if name != "model"},
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str], *, previous: bool = False) -> Self | None:
        """Return the release that labels speak of, or the one before it; None when they speak of none."""
        names = {name: f"{PREFIX}{'previous-' if previous and name != 'model' else ''}{name}" for name in FIELDS}
        if not names.keys() <= {name for name, label in names.items() if label in labels}:
            return None
        found: dict[str, Any] = {name: labels[label] for name, label in names.items()}
        return cls(**{**found, "port": int(found["port"])})


FIELDS = tuple(Release.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One thing that would be done, or is left as it is: `what` is a kind of thing, `name` which one."""

    action: Action
    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """What would be paid, in US dollars: an hour of each thing by its name; `as_of` is the day of the list."""

    hourly: Mapping[str, float]
    as_of: str

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
    """What would be done, in order."""

    steps: tuple[PlanStep, ...]
    price: Price | None = None
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[PlanStep, ...]:
        """The steps that are not to keep something."""
        return tuple(step for step in self.steps if step.action != "keep")


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that is there because of us."""

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """How a model stands at a target: what runs, what ran before, where it answers, and all that is there for it."""

    state: State
    release: Release | None = None
    previous: Release | None = None
    settings: str | None = None
    address: str | None = None
    resources: tuple[Resource, ...] = ()
    notes: tuple[str, ...] = ()


def _no_note(text: str) -> None:
    return None


@dataclass(frozen=True)
class DeploymentContext:
    """What a deployment is worked on from: a folder for what is written, the environment, and who is told of it.

    `version` opens the version of a release, None where it is not at hand.
    """

    folder: Path
    environment: Mapping[str, str]
    version: Callable[[Release], Artefact | None] = lambda release: None
    note: Callable[[str], None] = field(default=_no_note)


class DeploymentTarget(Section, ABC):
    """The settings of a kind of target. One model stands there once; its name is in all that is made for it.

    `beside` are the keys that change nothing of how a server that runs already was started.
    """

    no_restart_keys: ClassVar[frozenset[str]] = frozenset()
    environment: dict[Variable, Text] = Field(
        {},
        description="environment variables of the server, such as "
        "ESTIMATOR_CONFIG__SERVING__RATE_LIMIT; not for secrets",
    )

    @abstractmethod
    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        """Return what the image that a folder's record speaks of is called at the target, by its digest.

        Raises
        ------
        DeploymentError: the target cannot get it yet.
        """

    @abstractmethod
    def lock(self, model: str, context: DeploymentContext) -> AbstractContextManager[None]:
        """Keep others from changing the model's deployment, for a block; DeploymentError when somebody does."""

    @abstractmethod
    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        """Return what `apply` would do; nothing is changed.

        Raises
        ------
        DeploymentError: it cannot be done, and what must be mended first.
        """

    @abstractmethod
    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        """Run a release: it is checked from outside before it takes over, and what ran before stays when it fails.

        Raises
        ------
        DeploymentError: it fails; nothing half done is left.
        """

    @abstractmethod
    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        """Return how a model stands, as the target itself knows it."""

    @abstractmethod
    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        """Take down all that is there for a model; return what is left, which should be nothing."""

    def mark(self, release: Release) -> str:
        """Return what tells these settings from others, for a release."""
        told = json.dumps(
            [self.model_dump(mode="json", exclude=set(self.no_restart_keys)), asdict(release)], sort_keys=True
        )
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def check_public(release: Release, where: str, environment: Mapping[str, str], context: DeploymentContext) -> None:
    """Refuse to show the world a server that does not require API keys.

    Raises
    ------
    DeploymentError: it asks for none.
    """
    artefact = context.version(release)
    if artefact is None:
        return
    serving = resolve_section("serving", Serving, artefact.config.get("serving", {}), environment)
    if serving.keys_file is None and serving.api_key_env is None:
        raise DeploymentError(
            f"{where} is public, but {release.model} does not require API keys",
            hint="set serving.keys_file or serving.api_key_env, or deployment.allow_public: true",
        )


def previous_release(status: DeploymentStatus) -> Release:
    """Return the release that ran before.

    Raises
    ------
    DeploymentError: none did.
    """
    if status.previous is None:
        raise DeploymentError(
            "there is no previous release" if status.release else "nothing is deployed", hint="estimator deploy MODEL"
        )
    return replace(status.previous)
