"""An image written without an engine: layers, config and manifest in a layout, and one file that engines load.

Follows the OCI image specification 1.1 (https://github.com/opencontainers/image-spec).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from estimator.core.files import atomic_path, write_atomic
from estimator.errors import ImageError
from estimator.shipping.image.build_spec import ENTRYPOINT, ENVIRONMENT, USELESS, USER, BuildSpec
from estimator.shipping.image.direct.layers import (
    BLOCK,
    Blob,
    ImageLayer,
    LayerFile,
    files_below,
    packed_layer,
    write_layer,
)
from estimator.shipping.image.direct.minimal_base import OWN_LIBRARIES, files_of_python
from estimator.shipping.image.wheels import platform, run_pip

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"
SECOND = 1_000_000_000
# As ELF files name what they are for.
ELF_MACHINES = {"amd64": 62, "arm64": 183}
# Of Python's own library, what a server never imports.
UNUSED = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages")


@dataclass(frozen=True)
class ImageLayout:
    """An image on disk as blobs by their digest, below `folder`/blobs/sha256."""

    folder: Path
    manifest: Blob
    config: Blob
    layers: tuple[ImageLayer, ...]

    @property
    def digest(self) -> str:
        """What the image is known by everywhere."""
        return self.manifest.digest

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        found = json.loads(self.path(self.config).read_bytes())["config"].get("Env", [])
        return dict(each.partition("=")[::2] for each in found)

    def path(self, blob: Blob) -> Path:
        """Return where a blob is."""
        return self.folder / "blobs" / "sha256" / blob.digest.removeprefix("sha256:")


@dataclass(frozen=True)
class BaseImage:
    """What an image stands on: layers that are in a layout's blobs, and its config."""

    layers: tuple[ImageLayer, ...]
    config: Mapping[str, Any]


def base_of_rootfs(archive: Path, folder: Path) -> BaseImage:
    """Return the base that a tar of a whole file system is, packed by gzip or not.

    Raises
    ------
    ImageError: it is none.
    """

    def copy(target: BinaryIO) -> None:
        with gzip.open(archive) if is_packed else archive.open("rb") as content:
            while block := content.read(BLOCK):
                target.write(block)

    try:
        with archive.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with tarfile.open(archive, "r:gz" if is_packed else "r:"):
            layer = packed_layer(copy, _blobs(folder), f"base {archive.name}", media_type=LAYER)
    except tarfile.TarError:
        raise ImageError(f"{archive}: not a tar archive of a file system") from None
    except (OSError, EOFError) as error:
        raise ImageError(f"{archive}: cannot be read: {error}") from error
    return BaseImage((layer,), {"Env": [PATH, "LANG=C.UTF-8"]})


def base_of_python(folder: Path, epoch: int) -> BaseImage:
    """Return a base of this machine's Python alone; its files' times are `epoch`, in seconds since 1970.

    Raises
    ------
    ImageError: it cannot be made here.
    """
    layer = write_layer(files_of_python(), _blobs(folder), "Python", epoch=epoch, media_type=LAYER)
    return BaseImage((layer,), {"Env": [PATH, "LANG=C.UTF-8", f"LD_LIBRARY_PATH={OWN_LIBRARIES}"]})


def write_image(spec: BuildSpec, base: BaseImage, folder: Path) -> ImageLayout:
    """Write a spec's image into a layout that holds the base's blobs.

    Raises
    ------
    ImageError: the packages cannot be installed, or the base has another Python.
    """
    created, epoch = str(spec.artefact.manifest["created"]), spec.epoch
    blobs = _blobs(folder)
    context = spec.context()
    model = [LayerFile(name, content) for name, content in context.items() if name.startswith(("model/", "sbom"))]
    layers = list(base.layers)
    with tempfile.TemporaryDirectory(prefix="estimator-image-") as scratch:
        library = _compiled_library(spec, base, blobs, Path(scratch) / "library")
        if library:
            layers.append(write_layer(library, blobs, "compiled standard library", epoch=epoch, media_type=LAYER))
        packages = _packages(spec, context, Path(scratch))
        layers.append(write_layer(packages, blobs, "packages", epoch=epoch, media_type=LAYER))
    layers.append(
        write_layer(
            model,
            blobs,
            f"{spec.artefact.name} {spec.artefact.version}",
            epoch=epoch,
            media_type=LAYER,
            # What is mounted there takes its mode from it, and a bare base has none.
            folders={"tmp": 0o1777},
        )
    )
    config = _put(blobs, CONFIG, _config(spec, base, layers, created))
    manifest = _put(
        blobs, MANIFEST,
        {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": _described(config),
            "layers": [_described(layer.blob) for layer in layers],
            "annotations": {"org.opencontainers.image.created": created},
        },
    )  # fmt: skip
    named = {**_described(manifest), "annotations": {"org.opencontainers.image.ref.name": spec.tag}}
    write_atomic(folder / "oci-layout", '{"imageLayoutVersion":"1.0.0"}')
    write_atomic(folder / "index.json", _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    return ImageLayout(folder, manifest, config, tuple(layers))


def write_archive(layout: ImageLayout, tag: str, path: Path) -> None:
    """Write a layout as one file that `docker load`, `podman load` and `skopeo` take."""
    placed = {f"blobs/sha256/{layer.blob.digest[7:]}": layout.path(layer.blob) for layer in layout.layers}
    for blob in (layout.config, layout.manifest):
        placed[f"blobs/sha256/{blob.digest[7:]}"] = layout.path(blob)
    docker = [
        {
            "Config": f"blobs/sha256/{layout.config.digest[7:]}",
            "RepoTags": [tag],
            "Layers": [f"blobs/sha256/{layer.blob.digest[7:]}" for layer in layout.layers],
        }
    ]
    texts = {name: (layout.folder / name).read_bytes() for name in ("oci-layout", "index.json")}
    texts["manifest.json"] = _json(docker)
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
        for name, source in sorted(placed.items()):
            entry = tarfile.TarInfo(name)
            entry.size = source.stat().st_size
            with source.open("rb") as content:
                archive.addfile(entry, content)
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))


def _packages(spec: BuildSpec, context: Mapping[str, bytes], scratch: Path) -> list[LayerFile]:
    """Install what the image needs, without what no server reads, and compile it."""
    target = scratch / "packages"
    for name in ("requirements.txt", spec.wheel[0]):
        (scratch / name).write_bytes(context[name])
    words = ["--no-deps", "--no-compile", "--require-hashes", "--target", str(target), "-r", "requirements.txt"]
    run_pip(["install", *platform(spec.python, spec.architecture), *words], folder=scratch)
    for pattern in ("bin", *USELESS):
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in target.glob("*.dist-info"):
        # Where a file came from differs from run to run.
        (path / "direct_url.json").unlink(missing_ok=True)
        there = [line for line in (path / "RECORD").read_text().splitlines() if (target / line.split(",")[0]).exists()]
        (path / "RECORD").write_text("\n".join([*there, ""]))
    _compile(target, spec.site)
    return files_below(target, spec.site.lstrip("/"))


def _compiled_library(spec: BuildSpec, base: BaseImage, blobs: Path, scratch: Path) -> list[LayerFile]:
    """Return Python's own library of the base as compiled files, which images of Python come without.

    Raises
    ------
    ImageError: the base has no Python of that version, or one for another architecture.
    """
    home = spec.site.rpartition("/")[0].lstrip("/")
    found = False
    for layer in base.layers:
        with tarfile.open(blobs / layer.blob.digest[7:], "r:*") as archive:
            for entry in archive:
                name = entry.name.removeprefix("./").lstrip("/")
                if name == f"usr/local/bin/python{spec.python}" and entry.isfile():
                    _check_machine(spec, archive.extractfile(entry))
                rest = name.removeprefix(f"{home}/")
                if rest == name or not entry.isfile() or not rest.endswith(".py") or rest.partition("/")[0] in UNUSED:
                    continue
                content = archive.extractfile(entry)
                path = scratch / rest
                if content is None or not path.resolve().is_relative_to(scratch.resolve()):
                    continue
                found = True
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    if not found:
        raise ImageError(
            f"{spec.base}: the base has no Python {spec.python} in /usr/local",
            hint="use an image such as python:3.11-slim, or set image.python to the Python of the base",
        )
    _compile(scratch, f"/{home}")
    return [file for file in files_below(scratch, home) if file.name.endswith(".pyc")]


def _check_machine(spec: BuildSpec, program: IO[bytes] | None) -> None:
    """Refuse a base for another architecture, by the header of its Python (ELF)."""
    head = program.read(20) if program is not None else b""
    machine = int.from_bytes(head[18:20], "little")
    if head[:4] == b"\x7fELF" and machine != ELF_MACHINES[spec.architecture]:
        names = {number: name for name, number in ELF_MACHINES.items()}
        found = names.get(machine, f"machine {machine}")
        raise ImageError(f"the base is for {found}, the image for {spec.architecture}")


def _compile(folder: Path, place: str) -> None:
    """Compile all modules as if they were at a place; files that are not meant for this Python stay as they are."""
    words = ["-qq", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", place, str(folder)]
    # The same source gives the same bytes only when sets have the same order.
    same = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([sys.executable, "-m", "compileall", *words], check=False, capture_output=True, env=same)  # noqa: S603 # our own words


def _config(spec: BuildSpec, base: BaseImage, layers: Sequence[ImageLayer], created: str) -> dict[str, Any]:
    given = base.config
    environment = [item for item in given.get("Env") or [] if item.partition("=")[0] not in ENVIRONMENT]
    return {
        "architecture": spec.architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Env": [*environment, *(f"{name}={value}" for name, value in ENVIRONMENT.items())],
            "User": USER,
            "ExposedPorts": {f"{spec.port}/tcp": {}},
            "Entrypoint": list(ENTRYPOINT),
            "Cmd": spec.command,
            "Labels": {**(given.get("Labels") or {}), **spec.all_labels},
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", *spec.health], "Interval": 10 * SECOND, "Timeout": 3 * SECOND,
                "StartPeriod": 20 * SECOND, "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": layer.created_by} for layer in layers],
    }  # fmt: skip


def _blobs(folder: Path) -> Path:
    path = folder / "blobs" / "sha256"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _put(blobs: Path, media_type: str, data: Mapping[str, Any]) -> Blob:
    content = _json(data)
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(blobs / digest, content)
    return Blob(f"sha256:{digest}", len(content), media_type)


def _described(blob: Blob) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}


def _json(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
