"""A version -> all that its image is made of: the Dockerfile's context, as files in memory and as a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from string import Template

from estimator.config import Image
from estimator.shipping.image.sbom import bill_of_materials
from estimator.shipping.image.wheels import PinnedPackage, own_wheel, requirements, resolve_packages
from estimator.store.artefact import Artefact

# Of the packages' files, what no server reads: tests, tools for making models, headers.
USELESS = (
    "numpy/_core/include", "numpy/_core/lib", "numpy/_core/tests", "numpy/f2py", "numpy/testing", "numpy/*/tests",
    "onnxruntime/backend", "onnxruntime/datasets", "onnxruntime/quantization", "onnxruntime/tools",
    "onnxruntime/transformers",
    # Its Python module holds all of the same again.
    "onnxruntime/capi/libonnxruntime.so.*",
)  # fmt: skip
USER = "10001:10001"
ENVIRONMENT = {
    "MODEL_FOLDER": "/model", "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip
ENTRYPOINT = ("python", "-m", "estimator")


@dataclass(frozen=True)
class BuildSpec:
    """What an image is made of; the same spec makes the same image.

    `python` is as "3.11", `architecture` amd64 or arm64, `port` where it listens inside.
    """

    artefact: Artefact
    tag: str
    base: str
    python: str
    architecture: str
    port: int
    pins: tuple[PinnedPackage, ...]
    wheel: tuple[str, bytes]
    labels: Mapping[str, str]

    @property
    def epoch(self) -> int:
        """When the version was made, in seconds since 1970: the time of all files."""
        return int(datetime.fromisoformat(str(self.artefact.manifest["created"])).timestamp())

    @property
    def site(self) -> str:
        """Where packages are inside."""
        return f"/usr/local/lib/python{self.python}/site-packages"

    @property
    def command(self) -> list[str]:
        """What the image does when nothing else is asked for.

        Whether the port inside is published, and to whom, is decided where the image runs.
        """
        return ["serve", "--host", "0.0.0.0", "--port", str(self.port), "--allow-public"]  # noqa: S104 # inside

    @property
    def health(self) -> list[str]:
        """A request in a few milliseconds: no package is imported for it."""
        ask = f"s=socket.create_connection(('127.0.0.1',{self.port}),2);s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')"
        return ["python", "-I", "-S", "-c", f"import socket;{ask};raise SystemExit(b' 200 ' not in s.recv(64))"]

    @cached_property
    def all_labels(self) -> dict[str, str]:
        """The image's labels: those of the OCI image specification, and the user's own."""
        manifest = self.artefact.manifest
        return {
            "org.opencontainers.image.title": self.artefact.name,
            "org.opencontainers.image.version": self.artefact.version,
            "org.opencontainers.image.created": str(manifest["created"]),
            "org.opencontainers.image.description": f"Predicts {manifest['target']} over HTTP",
            "org.opencontainers.image.base.name": self.base,
            **self.labels,
        }

    def context(self) -> dict[str, bytes]:
        """Return the files a Dockerfile's build sees, by their path."""
        artefact = self.artefact
        model = {f"model/{name}": artefact.read(name) for name in artefact.manifest["files"]}
        return {
            "Dockerfile": self.dockerfile().encode(),
            "requirements.txt": requirements(self.pins, self.wheel).encode(),
            self.wheel[0]: self.wheel[1],
            "sbom.cdx.json": bill_of_materials(self.pins, self.all_labels),
            "model/manifest.json": (artefact.folder / "manifest.json").read_bytes(),
            **model,
        }

    def dockerfile(self) -> str:
        """Return the Dockerfile, for engines as old as Docker 20.10."""
        stdlib = self.site.rpartition("/")[0]
        labels = " \\\n      ".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.all_labels.items()
        )
        return Template(files("estimator.shipping.image").joinpath("Dockerfile").read_text()).substitute(
            title=self.artefact.name, version=self.artefact.version, tag=self.tag, base=self.base, site=self.site,
            stdlib=stdlib, labels=labels.replace("$", r"\$"), port=self.port, health=json.dumps(self.health),
            command=json.dumps(self.command), useless=" ".join(USELESS),
        )  # fmt: skip


def write_context(spec: BuildSpec, folder: Path) -> None:
    """Write what a build sees into a folder, which then holds nothing else."""
    if folder.exists():
        shutil.rmtree(folder)
    for name, content in spec.context().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def spec_for(artefact: Artefact, settings: Image, *, tag: str, python: str, architecture: str) -> BuildSpec:
    """Return what the image of a version is made of; asks pip for the packages' versions and hashes.

    Raises
    ------
    ImageError: pip finds no packages for that Python and architecture.
    """
    wheel = own_wheel()
    pins = resolve_packages(wheel, settings.extras, python=python, architecture=architecture)
    base = settings.base or f"python:{python}-slim"
    return BuildSpec(artefact, tag, base, python, architecture, settings.port, tuple(pins), wheel, settings.labels)
