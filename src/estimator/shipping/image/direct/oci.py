"""Write an OCI image: layers, config and manifest in a layout, and an archive for `docker load`.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from estimator.core.files import atomic_path, scratch_folder, write_atomic
from estimator.errors import ImageError
from estimator.shipping.image.build_spec import ENTRYPOINT, UNUSED_FILES, USER, BuildSpec
from estimator.shipping.image.direct.layers import BLOCK_BYTES, Blob, ImageLayer, files_below, pack_layer, write_layer
from estimator.shipping.image.minimal_base import ENVIRONMENT, LayerFile, files_of_python
from estimator.shipping.image.registry import INDEX, MANIFEST
from estimator.shipping.image.wheels import platform_options, run_pip

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
NANOSECONDS = 1_000_000_000
# Numbers of architectures in ELF headers.
ELF_MACHINES = {"amd64": 62, "arm64": 183}
# Folders of the standard library that a server never imports.
UNUSED_MODULES = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages")


@dataclass(frozen=True)
class ImageLayout:
    """An image on disk: blobs named by their digest in `folder`/blobs/sha256."""

    folder: Path
    manifest: Blob
    config: Blob
    layers: tuple[ImageLayer, ...]

    @property
    def digest(self) -> str:
        """The digest of the image."""
        return self.manifest.digest

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that the image sets."""
        variables = json.loads(self.path(self.config).read_bytes())["config"].get("Env", [])
        return dict(variable.partition("=")[::2] for variable in variables)

    def path(self, blob: Blob) -> Path:
        """Return the file of a blob."""
        return _blob_path(self.folder, blob.digest)

    def to_data(self) -> dict[str, Any]:
        """Return the digests as JSON-ready data, which `read_layout` takes."""
        return {
            "manifest": self.manifest.digest,
            "config": self.config.digest,
            "layers": [[layer.blob.digest, layer.created_by] for layer in self.layers],
        }


def read_layout(folder: Path, data: Mapping[str, Any]) -> ImageLayout:
    """Return the layout in a folder from its `to_data`; layers do not have their unpacked size.

    Raises
    ------
    ImageError: a blob does not exist.
    """

    def blob(digest: str, media_type: str) -> Blob:
        path = _blob_path(folder, digest)
        if not path.is_file():
            raise ImageError(f"{path}: does not exist", hint="estimator image VERSION")
        return Blob(digest, path.stat().st_size, media_type)

    config = blob(data["config"], CONFIG)
    diff_ids = json.loads(_blob_path(folder, config.digest).read_bytes())["rootfs"]["diff_ids"]
    layers = tuple(
        ImageLayer(blob(digest, LAYER), diff_id, 0, created_by)
        for (digest, created_by), diff_id in zip(data["layers"], diff_ids, strict=True)
    )
    return ImageLayout(folder, blob(data["manifest"], MANIFEST), config, layers)


def _blob_path(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


@dataclass(frozen=True)
class BaseImage:
    """A base image: its layers, whose blobs are in the layout, and its config."""

    layers: tuple[ImageLayer, ...]
    config: Mapping[str, Any]


def base_of_rootfs(archive: Path, folder: Path) -> BaseImage:
    """Return the tar of a root file system, gzipped or not, as a base.

    Raises
    ------
    ImageError: the file is not such an archive, or cannot be read.
    """

    def copy(target: BinaryIO) -> None:
        with gzip.open(archive) if is_packed else archive.open("rb") as content:
            while block := content.read(BLOCK_BYTES):
                target.write(block)

    try:
        with archive.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with tarfile.open(archive, "r:gz" if is_packed else "r:"):
            layer = pack_layer(copy, blob_folder(folder), f"base {archive.name}", media_type=LAYER)
    except tarfile.TarError:
        raise ImageError(f"{archive}: not a tar archive of a file system") from None
    except (OSError, EOFError) as error:
        raise ImageError(f"{archive}: cannot be read: {error}") from error
    return BaseImage((layer,), {"Env": [f"{name}={ENVIRONMENT[name]}" for name in ("PATH", "LANG")]})


def base_of_python(folder: Path, epoch: int) -> BaseImage:
    """Return a base with nothing but this machine's Python; `epoch` is the time of its files, in seconds since 1970.

    Raises
    ------
    ImageError: this machine does not run Linux, or has no ldd.
    """
    layer = write_layer(files_of_python(), blob_folder(folder), "Python", epoch=epoch, media_type=LAYER)
    return BaseImage((layer,), {"Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()]})


def write_image(spec: BuildSpec, base: BaseImage, folder: Path) -> ImageLayout:
    """Write the image of a spec into the layout that has the blobs of its base.

    Raises
    ------
    ImageError: the packages cannot be installed, or the base has no such Python.
    """
    created, epoch = str(spec.artefact.manifest["created"]), spec.epoch
    blobs = blob_folder(folder)
    context = spec.context()
    model = [LayerFile(name, content) for name, content in context.items() if name.startswith(("model/", "sbom"))]
    layers = list(base.layers)
    with scratch_folder() as scratch:
        library = _compiled_library(spec, base, blobs, scratch / "library")
        if library:
            layers.append(write_layer(library, blobs, "compiled standard library", epoch=epoch, media_type=LAYER))
        packages = _packages(spec, context, scratch)
        layers.append(write_layer(packages, blobs, "packages", epoch=epoch, media_type=LAYER))
    layers.append(
        write_layer(
            model,
            blobs,
            f"{spec.artefact.name} {spec.artefact.version}",
            epoch=epoch,
            media_type=LAYER,
            # A tmpfs mounted there takes its mode; a minimal base has no /tmp.
            folders={"tmp": 0o1777},
        )
    )
    config = _put(blobs, CONFIG, _config(spec, base, layers, created))
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config),
        "layers": [_descriptor(layer.blob) for layer in layers],
        "annotations": {"org.opencontainers.image.created": created},
    }
    manifest = _put(blobs, MANIFEST, content)
    entry = {**_descriptor(manifest), "annotations": {"org.opencontainers.image.ref.name": spec.tag}}
    write_atomic(folder / "oci-layout", '{"imageLayoutVersion":"1.0.0"}')
    write_atomic(folder / "index.json", _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
    return ImageLayout(folder, manifest, config, tuple(layers))


def write_archive(layout: ImageLayout, tag: str, path: Path) -> None:
    """Write a layout as one file for `docker load`, `podman load` and `skopeo`."""
    blobs = [*(layer.blob for layer in layout.layers), layout.config, layout.manifest]
    files = {_blob_name(blob): layout.path(blob) for blob in blobs}
    layers = [_blob_name(layer.blob) for layer in layout.layers]
    texts = {name: (layout.folder / name).read_bytes() for name in ("oci-layout", "index.json")}
    texts["manifest.json"] = _json([{"Config": _blob_name(layout.config), "RepoTags": [tag], "Layers": layers}])
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
        for name, path_of_blob in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = path_of_blob.stat().st_size
            with path_of_blob.open("rb") as content:
                archive.addfile(entry, content)
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))


def _packages(spec: BuildSpec, context: Mapping[str, bytes], scratch: Path) -> list[LayerFile]:
    """Install the packages of an image, remove files that a server never reads, and compile the rest."""
    target = scratch / "packages"
    for name in ("requirements.txt", spec.wheel[0]):
        (scratch / name).write_bytes(context[name])
    options = ["--no-deps", "--no-compile", "--require-hashes", "--target", str(target), "-r", "requirements.txt"]
    run_pip(["install", *platform_options(spec.python, spec.architecture), *options], folder=scratch)
    for pattern in ("bin", *UNUSED_FILES):
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in target.glob("*.dist-info"):
        # It has the path of a temporary folder, which differs from build to build.
        (path / "direct_url.json").unlink(missing_ok=True)
        record = (path / "RECORD").read_text().splitlines()
        existing = [line for line in record if (target / line.split(",")[0]).exists()]
        (path / "RECORD").write_text("\n".join([*existing, ""]))
    _compile(target, spec.site_packages)
    return files_below(target, spec.site_packages.lstrip("/"))


def _compiled_library(spec: BuildSpec, base: BaseImage, blobs: Path, scratch: Path) -> list[LayerFile]:
    """Return the standard library of the base as compiled files, which Python images do not have.

    Raises
    ------
    ImageError: the base has no Python of that version, or one for another architecture.
    """
    home = spec.site_packages.rpartition("/")[0].lstrip("/")
    has_python = False
    for layer in base.layers:
        with tarfile.open(blobs / layer.blob.digest[7:], "r:*") as archive:
            for entry in archive:
                name = entry.name.removeprefix("./").lstrip("/")
                if name == f"usr/local/bin/python{spec.python}" and entry.isfile():
                    _check_architecture(spec, archive.extractfile(entry))
                module = name.removeprefix(f"{home}/")
                if module == name or not entry.isfile() or not _is_used_module(module):
                    continue
                content = archive.extractfile(entry)
                path = scratch / module
                if content is None or not path.resolve().is_relative_to(scratch.resolve()):
                    continue
                has_python = True
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    if not has_python:
        raise ImageError(
            f"{spec.base}: the base has no Python {spec.python} in /usr/local",
            hint="use an image such as python:3.11-slim, or set image.python to the Python of the base",
        )
    _compile(scratch, f"/{home}")
    return [file for file in files_below(scratch, home) if file.name.endswith(".pyc")]


def _is_used_module(name: str) -> bool:
    return name.endswith(".py") and name.partition("/")[0] not in UNUSED_MODULES


def _check_architecture(spec: BuildSpec, program: IO[bytes] | None) -> None:
    """Reject a base for another architecture, by the ELF header of its Python."""
    header = program.read(20) if program is not None else b""
    machine = int.from_bytes(header[18:20], "little")
    if header[:4] == b"\x7fELF" and machine != ELF_MACHINES[spec.architecture]:
        names = {number: name for name, number in ELF_MACHINES.items()}
        architecture = names.get(machine, f"machine {machine}")
        raise ImageError(f"the base is for {architecture}, the image for {spec.architecture}")


def _compile(folder: Path, prefix: str) -> None:
    """Compile all modules with their paths below a prefix of the image; files with syntax errors are skipped."""
    options = ["-qq", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", prefix]
    # Compiled sets are reproducible only with a fixed hash seed.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "compileall", *options, str(folder)]
    subprocess.run(command, check=False, capture_output=True, env=environment)  # noqa: S603 # our own arguments


def _config(spec: BuildSpec, base: BaseImage, layers: Sequence[ImageLayer], created: str) -> dict[str, Any]:
    variables = [item for item in base.config.get("Env") or [] if item.partition("=")[0] not in spec.environment]
    return {
        "architecture": spec.architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Env": [*variables, *(f"{name}={value}" for name, value in spec.environment.items())],
            "User": USER,
            "WorkingDir": "/",
            "ExposedPorts": {f"{spec.port}/tcp": {}},
            "Entrypoint": list(ENTRYPOINT),
            "Cmd": spec.command,
            "Labels": {**(base.config.get("Labels") or {}), **spec.all_labels},
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", *spec.health_check],
                "Interval": 10 * NANOSECONDS,
                "Timeout": 3 * NANOSECONDS,
                "StartPeriod": 20 * NANOSECONDS,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": layer.created_by} for layer in layers],
    }


def blob_folder(folder: Path) -> Path:
    """Return the folder of a layout's blobs, which is created if it is missing."""
    path = folder / "blobs" / "sha256"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _put(blobs: Path, media_type: str, data: Mapping[str, Any]) -> Blob:
    content = _json(data)
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(blobs / digest, content)
    return Blob(f"sha256:{digest}", len(content), media_type)


def _descriptor(blob: Blob) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes}


def _blob_name(blob: Blob) -> str:
    return f"blobs/sha256/{blob.digest.removeprefix('sha256:')}"


def _json(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
