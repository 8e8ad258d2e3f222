"""The builder `direct`: writes, starts and pushes an image without an engine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from estimator.core.files import scratch_folder
from estimator.errors import ImageError
from estimator.shipping.image import engines
from estimator.shipping.image.build_spec import SCRATCH, BuildSpec
from estimator.shipping.image.builders import BuildOptions, ImageBuild, ImageBuilder, host_architecture, host_python
from estimator.shipping.image.direct.oci import (
    BaseImage,
    ImageLayout,
    base_of_python,
    base_of_rootfs,
    read_layout,
    write_archive,
    write_image,
)
from estimator.shipping.image.direct.transfer import pull_base, push_layout
from estimator.shipping.image.registry import Registry, docker_login, parse_reference
from estimator.shipping.image.smoke_test import RunningServer
from estimator.shipping.image.stand_ins import StandIns

Note = Callable[[str], None]


class DirectBuilder(ImageBuilder):
    """Writes an OCI layout and an archive; only root can start the image in its own file system."""

    def build(
        self, spec: BuildSpec, options: BuildOptions, *, environment: Mapping[str, str], note: Note
    ) -> ImageBuild:
        if spec.python != host_python():
            raise ImageError(
                f"image.python: this is Python {host_python()}, which cannot compile packages for {spec.python}",
                hint="--builder docker, podman or buildah, or run estimator with that Python",
            )
        folder = _layout_folder(options.folder)
        if folder.exists():
            shutil.rmtree(folder)
        note(f"base {options.rootfs or spec.base}")
        base = _base(spec, options.rootfs, folder, environment, note)
        note("installing packages")
        layout = write_image(spec, base, folder)
        archive = options.folder / f"{spec.artefact.name}.tar"
        write_archive(layout, spec.tag, archive)
        return ImageBuild(
            spec,
            "direct",
            options.folder / "context",
            tuple((layer.created_by, layer.unpacked_bytes) for layer in layout.layers),
            digest=layout.digest,
            archive=archive,
            layout=layout.to_data(),
        )

    @contextmanager
    def start(self, build: ImageBuild) -> Iterator[RunningServer]:
        assert build.layout is not None, "built by this builder"
        layout = read_layout(_layout_folder(build.context.parent), build.layout)
        with start_layout(layout, build.spec) as server:
            yield server

    def check_built(self, record: Mapping[str, Any], folder: Path) -> None:
        read_layout(_layout_folder(folder), record["layout"])

    def push(self, record: Mapping[str, Any], folder: Path, registry: Registry, note: Note) -> str:
        return push_layout(read_layout(_layout_folder(folder), record["layout"]), registry, note)


def _layout_folder(folder: Path) -> Path:
    return folder / "layout"


def _base(spec: BuildSpec, rootfs: Path | None, folder: Path, environment: Mapping[str, str], note: Note) -> BaseImage:
    if rootfs is not None:
        return base_of_rootfs(rootfs, folder)
    if spec.base == SCRATCH:
        if spec.architecture != host_architecture():
            raise ImageError(
                f"image.base: scratch uses this machine's Python, for {host_architecture()}, not for "
                f"{spec.architecture}",
                hint="use an image such as python:3.11-slim",
            )
        return base_of_python(folder, spec.epoch)
    reference = parse_reference(spec.base)
    registry = Registry(reference, docker_login(reference.host, environment))
    return pull_base(registry, spec.architecture, folder, note)


@contextmanager
def start_layout(layout: ImageLayout, spec: BuildSpec) -> Iterator[RunningServer]:
    """Start the server of a layout while the context is open: root in its file system, others with this Python."""
    is_chroot = os.geteuid() == 0 and engines.CHROOT is not None
    with scratch_folder() as root:
        # Only root can create the devices of a base; packages and model are the last two layers.
        for layer in layout.layers if is_chroot else layout.layers[-2:]:
            archive = str(layout.path(layer.blob))
            engines.run_command("tar", ["--extract", "--gzip", "--file", archive, "--directory", str(root)])
        root.chmod(0o755)
        # A minimal base has no /tmp.
        (root / "tmp").mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        stand_ins = StandIns(spec.serving)
        with (
            engines.start_in_root(root, layout.environment, stand_ins)
            if is_chroot
            else _start_packages(root, spec, stand_ins)
        ) as server:
            yield server


@contextmanager
def _start_packages(root: Path, spec: BuildSpec, stand_ins: StandIns) -> Iterator[RunningServer]:
    stand_ins.write(root)
    environment = {
        **spec.environment,
        "MODEL_FOLDER": str(root / "model"),
        "PYTHONPATH": str(root / spec.site_packages.lstrip("/")),
        "PATH": os.environ["PATH"],
        **stand_ins.environment(root),
    }
    command = [sys.executable, "-S", "-s", "-m", "estimator"]
    with engines.start_process(command, environment, stand_ins, started_by="this machine's Python") as server:
        yield server
