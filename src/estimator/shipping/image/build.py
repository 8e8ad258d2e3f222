"""The build of an image, whichever way: written, weighed, started and tried."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from estimator.config import Image
from estimator.core.text import format_bytes
from estimator.errors import ImageError
from estimator.shipping.image.build_record import RECORD, write_record
from estimator.shipping.image.build_spec import BuildSpec, spec_for, write_context
from estimator.shipping.image.direct.minimal_base import SCRATCH
from estimator.shipping.image.direct.oci import (
    BaseImage,
    ImageLayout,
    base_of_python,
    base_of_rootfs,
    write_archive,
    write_image,
)
from estimator.shipping.image.engines import BuildahEngine, DockerEngine, RunningContainer, find_engine, started_layout
from estimator.shipping.image.registry import Registry, docker_login, parse_reference
from estimator.shipping.image.smoke_test import SmokeTest, run_smoke_test
from estimator.store.artefact import Artefact

Builder = Literal["auto", "docker", "podman", "buildah", "direct"]
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What is to be built where; a base given as the tar of a file system is for images that are written here."""

    tag: str
    folder: Path
    builder: Builder = "auto"
    rootfs: Path | None = None


@dataclass(frozen=True)
class ImageBuild:
    """An image that is good: `layers` are what made each and its bytes, the base's first.

    `digest` is None where an engine has built it, which knows it only once it is pushed; `archive` is the file that an
    image written here is in. `trial` is None where this machine cannot start it.
    """

    recipe: BuildSpec
    builder: str
    context: Path
    layers: tuple[tuple[str, int], ...]
    digest: str | None = None
    archive: Path | None = None
    layout: ImageLayout | None = None
    trial: SmokeTest | None = None

    @property
    def size(self) -> int:
        """Bytes of all layers, unpacked."""
        return sum(size for _, size in self.layers)

    @property
    def record(self) -> dict[str, Any]:
        """What the steps that follow need to know."""
        layout = self.layout
        return {
            "name": self.recipe.artefact.name,
            "version": self.recipe.artefact.version,
            "tag": self.recipe.tag,
            "builder": self.builder,
            "architecture": self.recipe.architecture,
            "port": self.recipe.port,
            "bytes": self.size,
            "digest": self.digest,
            "tried": self.trial is not None,
            "layout": None
            if layout is None
            else {
                "manifest": layout.manifest.digest,
                "config": layout.config.digest,
                "layers": [[layer.blob.digest, layer.holds] for layer in layout.layers],
            },
        }


def build(
    artefact: Artefact, settings: Image, job: BuildOptions, *, environment: Mapping[str, str],
    note: Callable[[str], None] = lambda text: None,
) -> ImageBuild:  # fmt: skip
    """Write the context of a version's image to the folder's `context`, build it, start it, try it and note it.

    Raises
    ------
    ImageError: it cannot be built, is larger than it may be, or does not answer as the version must.
    RegistryError: tag or base name no image, or the base cannot be fetched.
    """
    for named in (job.tag, settings.base):
        if named is not None and named != SCRATCH:
            parse_reference(named)
    architecture = settings.architecture or _here()
    with _held(job.folder):
        recipe = spec_for(
            artefact, settings, tag=job.tag, python=settings.python or _python(), architecture=architecture
        )
        write_context(recipe, job.folder / "context")
        note(f"context {job.folder / 'context'}")
        direct = job.builder == "direct" or job.rootfs is not None or settings.base == SCRATCH
        if settings.base == SCRATCH and job.builder not in ("auto", "direct"):
            raise ImageError(f"image.base: {job.builder} cannot start from scratch", hint="--builder direct")
        engine = None if direct else find_engine(None if job.builder == "auto" else job.builder)
        built = _written(recipe, job, environment, note) if engine is None else _built(recipe, engine, job.folder, note)
        weigh(built, settings.max_size_mb)
        if architecture != _here():
            note(f"not started: it is for {architecture}, and this machine is {_here()}")
        elif engine is None and sys.platform != "linux":
            note("not started: without an engine, only Linux can")
        else:
            with _started(built, engine) as started:
                trial = run_smoke_test(
                    artefact, started.address, started=started.how, began=started.began, is_alive=started.is_alive
                )
            built = replace(built, trial=trial)
        write_record(built.record, job.folder)
        return built


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep a folder for one build, and tell what the disk refuses; what was built there before is forgotten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ImageError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / RECORD).unlink(missing_ok=True)
        yield
    except BlockingIOError:
        raise ImageError(
            f"{folder}: another process is building there", hint="wait for it, or give a --folder"
        ) from None
    except OSError as error:
        raise ImageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        os.close(lock)


def _built(
    recipe: BuildSpec, engine: DockerEngine | BuildahEngine, folder: Path, note: Callable[[str], None]
) -> ImageBuild:
    note(f"{engine.name} builds {recipe.tag}")
    engine.build(folder / "context", recipe.tag, architecture=recipe.architecture, note=note)
    if (found := engine.architecture(recipe.tag)) != recipe.architecture:
        raise ImageError(f"{recipe.tag}: {engine.name} has built it for {found}, not for {recipe.architecture}")
    return ImageBuild(recipe, engine.name, folder / "context", tuple(engine.layers(recipe.tag)))


def _written(
    recipe: BuildSpec, job: BuildOptions, environment: Mapping[str, str], note: Callable[[str], None]
) -> ImageBuild:
    if recipe.python != _python():
        raise ImageError(
            f"image.python: this is Python {_python()}, which compiles nothing for {recipe.python}",
            hint="--builder docker, podman or buildah, or run estimator with that Python",
        )
    folder, rootfs = job.folder, job.rootfs
    layout = folder / "layout"
    if layout.exists():
        shutil.rmtree(layout)
    note(f"base {rootfs or recipe.base}")
    base = _base(recipe, rootfs, layout, environment, note)
    note("installing packages")
    made = write_image(recipe, base, layout)
    archive = folder / f"{recipe.artefact.name}.tar"
    write_archive(made, recipe.tag, archive)
    layers = tuple((layer.holds, layer.unpacked) for layer in made.layers)
    return ImageBuild(recipe, "direct", folder / "context", layers, made.digest, archive, made)


def _base(
    recipe: BuildSpec, rootfs: Path | None, layout: Path, environment: Mapping[str, str], note: Callable[[str], None]
) -> BaseImage:
    if rootfs is not None:
        return base_of_rootfs(rootfs, layout)
    if recipe.base == SCRATCH:
        if recipe.architecture != _here():
            raise ImageError(
                f"image.base: scratch is made of this machine's Python, for {_here()}, not for {recipe.architecture}",
                hint="take an image such as python:3.11-slim",
            )
        return base_of_python(layout, recipe.epoch)
    reference = parse_reference(recipe.base)
    registry = Registry(reference, docker_login(reference.host, environment))
    return registry.pull_base(recipe.architecture, layout, note)


def weigh(built: ImageBuild, most: float) -> None:
    """Refuse an image that is larger than so many megabytes.

    Raises
    ------
    ImageError: it is; the message names its heaviest layers.
    """
    if built.size > most * 1e6:
        heaviest = ", ".join(
            f"{format_bytes(size)} {what[:60]}" for what, size in sorted(built.layers, key=lambda layer: -layer[1])[:3]
        )
        raise ImageError(
            f"{built.recipe.tag}: weighs {format_bytes(built.size)}, more than image.max_size_mb allows: {heaviest}",
            hint="a smaller image.base, fewer image.extras, or a larger image.max_size_mb",
        )


def _started(
    built: ImageBuild, engine: DockerEngine | BuildahEngine | None
) -> AbstractContextManager[RunningContainer]:
    if engine is not None:
        return engine.started(built.recipe.tag, built.recipe.port)
    assert built.layout is not None
    return started_layout(built.layout, built.recipe)


def _here() -> str:
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        raise ImageError(
            f"images are made for amd64 and arm64; this machine is {machine}", hint="set image.architecture"
        )
    return ARCHITECTURES[machine]


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
