"""The builders of images: the container engines, and `direct` where its package is installed."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import platform
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from estimator.errors import ImageError
from estimator.shipping.image import ecr
from estimator.shipping.image.build_spec import BuildSpec
from estimator.shipping.image.container_inputs import ContainerInputs, container_inputs
from estimator.shipping.image.engines import Engine, engine_named, find_engine
from estimator.shipping.image.registry import Registry
from estimator.shipping.image.smoke_test import RunningServer, SmokeTest
from estimator.shipping.image.stand_ins import StandIns

Builder = Literal["auto", "docker", "podman", "buildah", "direct"]
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# The package that builds without an engine; it can be left out of an installation.
DIRECT_PACKAGE = "estimator.shipping.image.direct"
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Where and how to build; `rootfs` is the base image as the tar of a root file system, for `direct`."""

    tag: str
    folder: Path
    builder: Builder = "auto"
    rootfs: Path | None = None


@dataclass(frozen=True)
class ImageBuild:
    """A built image; `layers` are (what created it, size in bytes), the base first.

    `digest`, `archive` (a tar for `docker load`) and `layout` (digests, for the record) are None for images of an
    engine; `smoke_test` is None if this machine cannot run the image.
    """

    spec: BuildSpec
    builder: str
    context: Path
    layers: tuple[tuple[str, int], ...]
    digest: str | None = None
    archive: Path | None = None
    layout: Mapping[str, Any] | None = None
    smoke_test: SmokeTest | None = None

    @property
    def size_bytes(self) -> int:
        """The uncompressed size of all layers."""
        return sum(size_bytes for _, size_bytes in self.layers)

    @property
    def inputs(self) -> ContainerInputs:
        """What a container of the image needs to serve."""
        return container_inputs(self.spec.serving)

    @property
    def record(self) -> dict[str, Any]:
        """The data of image.json."""
        return {
            "name": self.spec.artefact.name,
            "version": self.spec.artefact.version,
            "tag": self.spec.tag,
            "builder": self.builder,
            "architecture": self.spec.architecture,
            "port": self.spec.port,
            "environment": self.spec.environment,
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "smoke_tested": self.smoke_test is not None,
            "layout": self.layout,
        }


class ImageBuilder(ABC):
    """A way to build, start and push images."""

    @abstractmethod
    def build(
        self, spec: BuildSpec, options: BuildOptions, *, environment: Mapping[str, str], note: Note
    ) -> ImageBuild:
        """Build the image of a spec, whose context is in the folder's `context`; ImageError if it fails."""

    @abstractmethod
    def start(self, build: ImageBuild) -> AbstractContextManager[RunningServer]:
        """Run an image on localhost while the context is open; ImageError if it cannot run."""

    @abstractmethod
    def check_built(self, record: Mapping[str, Any], folder: Path) -> None:
        """Check that the image of a folder's record is still there; ImageError if it is gone or another one."""

    @abstractmethod
    def push(self, record: Mapping[str, Any], folder: Path, registry: Registry, note: Note) -> str:
        """Push the image of a folder's record; return its digest."""


def choose_builder(name: str, *, only_direct: bool = False) -> ImageBuilder:
    """Return a builder; `auto` is an engine that works here, else `direct`, which `only_direct` requires.

    Raises
    ------
    ImageError: the builder is not installed or does not work.
    """
    engine = None if only_direct or name == "direct" else find_engine(None if name == "auto" else name)
    if engine is not None:
        return EngineBuilder(engine)
    if importlib.util.find_spec(DIRECT_PACKAGE) is None:
        if name == "auto" and not only_direct:
            raise ImageError("no container engine works here", hint="install and start Docker, Podman or Buildah")
        raise ImageError(
            "this installation cannot build or push images without an engine: the builder `direct` is not part of it",
            hint="--builder docker, podman or buildah",
        )
    builder: ImageBuilder = importlib.import_module(f"{DIRECT_PACKAGE}.builder").DirectBuilder()
    return builder


def builder_of(record: Mapping[str, Any]) -> ImageBuilder:
    """Return the builder that built the image of a record."""
    return choose_builder("direct") if record["layout"] is not None else EngineBuilder(engine_named(record["builder"]))


@dataclass(frozen=True, slots=True)
class EngineBuilder(ImageBuilder):
    """Docker, Podman or Buildah."""

    engine: Engine

    def build(
        self, spec: BuildSpec, options: BuildOptions, *, environment: Mapping[str, str], note: Note
    ) -> ImageBuild:
        engine, context = self.engine, options.folder / "context"
        note(f"{engine.name} builds {spec.tag}")
        engine.build(context, spec.tag, architecture=spec.architecture, note=note)
        if (architecture := engine.architecture(spec.tag)) != spec.architecture:
            raise ImageError(f"{spec.tag}: {engine.name} built it for {architecture}, not for {spec.architecture}")
        return ImageBuild(spec, engine.name, context, tuple(engine.layers(spec.tag)))

    def start(self, build: ImageBuild) -> AbstractContextManager[RunningServer]:
        return self.engine.start(build.spec.tag, build.spec.port, StandIns(build.spec.serving))

    def check_built(self, record: Mapping[str, Any], folder: Path) -> None:
        if (architecture := self.engine.architecture(record["tag"])) != record["architecture"]:
            raise ImageError(
                f"{record['tag']} is now an image for {architecture}, not for {record['architecture']}",
                hint="estimator image VERSION",
            )

    def push(self, record: Mapping[str, Any], folder: Path, registry: Registry, note: Note) -> str:
        engine, reference = self.engine, registry.reference
        self.check_built(record, folder)
        note(f"{engine.name} pushes {reference}")
        if ecr.is_ecr(reference) and registry.authorization is not None:
            _log_in(engine.name, reference.host, registry.authorization)
        engine.push(record["tag"], str(reference))
        digest = registry.digest()
        if digest is None:
            raise ImageError(f"{reference}: {engine.name} pushed it, but the registry does not have it")
        return digest


def _log_in(engine: str, host: str, authorization: str) -> None:
    """Log an engine in; the token goes to its stdin, where other processes cannot read it."""
    user, _, token = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    done = subprocess.run(  # noqa: S603 # no shell
        [engine, "login", "--username", user, "--password-stdin", host],
        input=token,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ImageError(f"{engine} login {host}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def host_architecture() -> str:
    """Return the architecture of this machine as images name it; ImageError if images are not built for it."""
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        raise ImageError(
            f"images are built for amd64 and arm64; this machine is {machine}", hint="set image.architecture"
        )
    return ARCHITECTURES[machine]


def host_python() -> str:
    """Return the version of this Python, such as "3.11"."""
    return ".".join(platform.python_version_tuple()[:2])
