"""The build of an image, whichever way: written, weighed, started and tried."""

from __future__ import annotations

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
from estimator.shipping.files import folder_lock
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

    spec: BuildSpec
    builder: str
    context: Path
    layers: tuple[tuple[str, int], ...]
    digest: str | None = None
    archive: Path | None = None
    layout: ImageLayout | None = None
    smoke_test: SmokeTest | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all layers, unpacked."""
        return sum(size for _, size in self.layers)

    @property
    def record(self) -> dict[str, Any]:
        """What the steps that follow need to know."""
        layout = self.layout
        return {
            "name": self.spec.artefact.name,
            "version": self.spec.artefact.version,
            "tag": self.spec.tag,
            "builder": self.builder,
            "architecture": self.spec.architecture,
            "port": self.spec.port,
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "smoke_tested": self.smoke_test is not None,
            "layout": None
            if layout is None
            else {
                "manifest": layout.manifest.digest,
                "config": layout.config.digest,
                "layers": [[layer.blob.digest, layer.created_by] for layer in layout.layers],
            },
        }


def build(
    artefact: Artefact, settings: Image, options: BuildOptions, *, environment: Mapping[str, str],
    note: Callable[[str], None] = lambda text: None,
) -> ImageBuild:  # fmt: skip
    """Write the context of a version's image to the folder's `context`, build it, start it, try it and note it.

    Raises
    ------
    ImageError: it cannot be built, is larger than it may be, or does not answer as the version must.
    RegistryError: tag or base name no image, or the base cannot be fetched.
    """
    for named in (options.tag, settings.base):
        if named is not None and named != SCRATCH:
            parse_reference(named)
    architecture = settings.architecture or _here()
    with _build_folder(options.folder):
        spec = spec_for(
            artefact, settings, tag=options.tag, python=settings.python or _python(), architecture=architecture
        )
        write_context(spec, options.folder / "context")
        note(f"context {options.folder / 'context'}")
        direct = options.builder == "direct" or options.rootfs is not None or settings.base == SCRATCH
        if settings.base == SCRATCH and options.builder not in ("auto", "direct"):
            raise ImageError(f"image.base: {options.builder} cannot build from scratch", hint="--builder direct")
        engine = None if direct else find_engine(None if options.builder == "auto" else options.builder)
        built = (
            _written(spec, options, environment, note) if engine is None else _built(spec, engine, options.folder, note)
        )
        weigh(built, settings.max_size_mb)
        if architecture != _here():
            note(f"not tested: the image is for {architecture}, this machine is {_here()}")
        elif engine is None and sys.platform != "linux":
            note("not tested: without an engine, an image only starts on Linux")
        else:
            with _started(built, engine) as started:
                trial = run_smoke_test(
                    artefact, started.address, started=started.how, began=started.began, is_alive=started.is_alive
                )
            built = replace(built, smoke_test=trial)
        write_record(built.record, options.folder)
        return built


@contextmanager
def _build_folder(folder: Path) -> Iterator[None]:
    """Lock the folder of a build and forget the build before it; errors of the disk become ImageError."""
    with folder_lock(folder, purpose="building in it", error_type=ImageError):
        try:
            (folder / RECORD).unlink(missing_ok=True)
            yield
        except OSError as error:
            raise ImageError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _built(
    spec: BuildSpec, engine: DockerEngine | BuildahEngine, folder: Path, note: Callable[[str], None]
) -> ImageBuild:
    note(f"{engine.name} builds {spec.tag}")
    engine.build(folder / "context", spec.tag, architecture=spec.architecture, note=note)
    if (found := engine.architecture(spec.tag)) != spec.architecture:
        raise ImageError(f"{spec.tag}: {engine.name} built it for {found}, not for {spec.architecture}")
    return ImageBuild(spec, engine.name, folder / "context", tuple(engine.layers(spec.tag)))


def _written(
    spec: BuildSpec, options: BuildOptions, environment: Mapping[str, str], note: Callable[[str], None]
) -> ImageBuild:
    if spec.python != _python():
        raise ImageError(
            f"image.python: this is Python {_python()}, which cannot compile packages for {spec.python}",
            hint="--builder docker, podman or buildah, or run estimator with that Python",
        )
    folder, rootfs = options.folder, options.rootfs
    layout = folder / "layout"
    if layout.exists():
        shutil.rmtree(layout)
    note(f"base {rootfs or spec.base}")
    base = _base(spec, rootfs, layout, environment, note)
    note("installing packages")
    made = write_image(spec, base, layout)
    archive = folder / f"{spec.artefact.name}.tar"
    write_archive(made, spec.tag, archive)
    layers = tuple((layer.created_by, layer.unpacked_bytes) for layer in made.layers)
    return ImageBuild(spec, "direct", folder / "context", layers, made.digest, archive, made)


def _base(
    spec: BuildSpec, rootfs: Path | None, layout: Path, environment: Mapping[str, str], note: Callable[[str], None]
) -> BaseImage:
    if rootfs is not None:
        return base_of_rootfs(rootfs, layout)
    if spec.base == SCRATCH:
        if spec.architecture != _here():
            raise ImageError(
                f"image.base: scratch uses this machine's Python, for {_here()}, not for {spec.architecture}",
                hint="use an image such as python:3.11-slim",
            )
        return base_of_python(layout, spec.epoch)
    reference = parse_reference(spec.base)
    registry = Registry(reference, docker_login(reference.host, environment))
    return registry.pull_base(spec.architecture, layout, note)


def weigh(built: ImageBuild, most: float) -> None:
    """Refuse an image that is larger than so many megabytes.

    Raises
    ------
    ImageError: it is; the message names its heaviest layers.
    """
    if built.size_bytes > most * 1e6:
        heaviest = ", ".join(
            f"{format_bytes(size)} {what[:60]}" for what, size in sorted(built.layers, key=lambda layer: -layer[1])[:3]
        )
        raise ImageError(
            f"{built.spec.tag}: {format_bytes(built.size_bytes)} is more than image.max_size_mb allows: {heaviest}",
            hint="a smaller image.base, fewer image.extras, or a larger image.max_size_mb",
        )


def _started(
    built: ImageBuild, engine: DockerEngine | BuildahEngine | None
) -> AbstractContextManager[RunningContainer]:
    if engine is not None:
        return engine.started(built.spec.tag, built.spec.port)
    assert built.layout is not None
    return started_layout(built.layout, built.spec)


def _here() -> str:
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        raise ImageError(
            f"images are built for amd64 and arm64; this machine is {machine}", hint="set image.architecture"
        )
    return ARCHITECTURES[machine]


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
