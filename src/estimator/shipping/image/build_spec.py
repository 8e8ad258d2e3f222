"""The spec of a version's image, and the build context with its Dockerfile."""

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

from estimator.config import ENVIRONMENT_PREFIX, Image, Serving
from estimator.shipping.image.minimal_base import ENVIRONMENT
from estimator.shipping.image.sbom import bill_of_materials
from estimator.shipping.image.wheels import PinnedPackage, estimator_wheel, requirements, resolve_packages
from estimator.store.artefact import Artefact
from estimator.store.signature import SIGNATURE

# Files of packages that a server never reads: tests, headers, type stubs, development tools.
UNUSED_FILES = (
    "numpy/_core/include", "numpy/_core/lib", "numpy/_core/tests", "numpy/f2py", "numpy/testing", "numpy/*/tests",
    "numpy/distutils", "numpy/random/lib", "numpy/random/_examples", "numpy/*.pyi", "numpy/*/*.pyi",
    "uvloop/*.pyx", "uvloop/*/*.pyx",
    "onnxruntime/backend", "onnxruntime/datasets", "onnxruntime/quantization", "onnxruntime/tools",
    "onnxruntime/transformers",
    # The Python extension has the same code.
    "onnxruntime/capi/libonnxruntime.so.*",
)  # fmt: skip
USER = "10001:10001"
# The base that is only Python and the libraries that it needs.
SCRATCH = "scratch"
COMPILE = "python -m compileall -q -j 0 --invalidation-mode unchecked-hash"
# Steps of the Dockerfile, for $stdlib.
COMPILE_LIBRARY = f"""\
# Python images ship without compiled standard library files; with them the server starts in half the time.
RUN {COMPILE} -x '/(test|idlelib|tkinter|turtledemo|lib2to3|ensurepip|site-packages)/' $stdlib"""
COLLECT_PYTHON = f"""\
# Collect Python, compiled, and the shared libraries that it and the packages need: the next stage has nothing else.
RUN python -c "from estimator.shipping.image.minimal_base import write_python as w; w('/python')" \\
    && mkdir -m 1777 /python/tmp \\
    && {COMPILE} -s /python -p / /python$stdlib
"""
COPY_PYTHON = "COPY --from=build /python /"
IMAGE_ENVIRONMENT = {
    "MODEL_FOLDER": "/model", "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip
ENTRYPOINT = ("python", "-m", "estimator")


@dataclass(frozen=True)
class BuildSpec:
    """Everything that determines an image; the same spec gives the same image.

    `python` is such as "3.11", `architecture` amd64 or arm64, `port` the one in the container.
    """

    artefact: Artefact
    tag: str
    base: str
    python: str
    architecture: str
    port: int
    packages: tuple[PinnedPackage, ...]
    wheel: tuple[str, bytes]
    labels: Mapping[str, str]

    @property
    def epoch(self) -> int:
        """The time of all files, in seconds since 1970: when the version was created."""
        return int(datetime.fromisoformat(str(self.artefact.manifest["created"])).timestamp())

    @property
    def site_packages(self) -> str:
        """The folder of packages in the image."""
        return f"/usr/local/lib/python{self.python}/site-packages"

    @property
    def command(self) -> list[str]:
        """The default arguments; who can reach the port is decided where the container runs."""
        return ["serve", "--host", "0.0.0.0", "--port", str(self.port), "--allow-public"]  # noqa: S104 # inside

    @property
    def health_check(self) -> list[str]:
        """A command that requests /healthz in a few milliseconds, without importing a package."""
        connection = f"socket.create_connection(('127.0.0.1',{self.port}),2)"
        if self.serving.tls_certificate is not None:
            # The certificate is for the name under which clients reach the server.
            connection = f"__import__('ssl')._create_unverified_context().wrap_socket({connection})"
        request = f"s={connection};s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')"
        return ["python", "-I", "-S", "-c", f"import socket;{request};raise SystemExit(b' 200 ' not in s.recv(64))"]

    @cached_property
    def serving(self) -> Serving:
        """The section with which the image serves, unless its container says otherwise."""
        stored = self.artefact.config["serving"]
        return Serving(**{key: stored[key] for key in Serving.model_fields if key in stored})

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment variables of the image.

        Inside, there is no key that the version is signed with, so what one's own version says of its server is
        written down here.
        """
        defaults = Serving().model_dump(mode="json")
        changed = {key: value for key, value in self.serving.model_dump(mode="json").items() if value != defaults[key]}
        serving = {f"{ENVIRONMENT_PREFIX}SERVING__{key.upper()}": json.dumps(value) for key, value in changed.items()}
        return {**IMAGE_ENVIRONMENT, **serving}

    @cached_property
    def all_labels(self) -> dict[str, str]:
        """The labels of the image: those of the OCI image specification, and image.labels."""
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
        """Return the files of the build context by path."""
        artefact = self.artefact
        model = {f"model/{name}": artefact.read(name) for name in artefact.manifest["files"]}
        if artefact.is_own:
            model[f"model/{SIGNATURE}"] = (artefact.folder / SIGNATURE).read_bytes()
        return {
            "Dockerfile": self.dockerfile().encode(),
            "requirements.txt": requirements(self.packages, self.wheel).encode(),
            self.wheel[0]: self.wheel[1],
            "sbom.cdx.json": bill_of_materials(self.packages, self.all_labels),
            "model/manifest.json": (artefact.folder / "manifest.json").read_bytes(),
            **model,
        }

    def dockerfile(self) -> str:
        """Return the Dockerfile, for Docker 20.10 or newer."""
        stdlib = self.site_packages.rpartition("/")[0]
        is_scratch = self.base == SCRATCH
        environment = {**(ENVIRONMENT if is_scratch else {}), **self.environment}
        labels = " \\\n      ".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.all_labels.items()
        )
        template = Template(files("estimator.shipping.image").joinpath("Dockerfile").read_text())
        return template.substitute(
            title=self.artefact.name,
            version=self.artefact.version,
            tag=self.tag,
            base=self.base,
            build_base=f"python:{self.python}-slim" if is_scratch else self.base,
            collect=COLLECT_PYTHON.replace("$stdlib", stdlib) if is_scratch else "",
            library=COPY_PYTHON if is_scratch else COMPILE_LIBRARY.replace("$stdlib", stdlib),
            site_packages=self.site_packages,
            labels=labels.replace("$", r"\$"),
            environment=" ".join(f"{name}={_quoted(value)}" for name, value in environment.items()),
            port=self.port,
            health=json.dumps(self.health_check),
            command=json.dumps(self.command),
            unused=" ".join(UNUSED_FILES),
        )


def _quoted(value: str) -> str:
    """Return a value for ENV in a Dockerfile, which replaces no variable in it.

    >>> _quoted("/model"), _quoted('"${NAME}"')
    ('/model', '"\\\\"\\\\${NAME}\\\\""')
    """
    return value if value.replace("/", "").isalnum() else json.dumps(value, ensure_ascii=False).replace("$", r"\$")


def write_context(spec: BuildSpec, folder: Path) -> None:
    """Write the build context into a folder, and remove everything else from it."""
    if folder.exists():
        shutil.rmtree(folder)
    for name, content in spec.context().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def spec_for(artefact: Artefact, settings: Image, *, tag: str, python: str, architecture: str) -> BuildSpec:
    """Return the spec of a version's image; pip resolves the packages.

    Raises
    ------
    ImageError: pip finds no wheels for that Python and architecture.
    """
    wheel = estimator_wheel()
    packages = resolve_packages(wheel, tuple(settings.extras), python=python, architecture=architecture)
    base = settings.base or f"python:{python}-slim"
    return BuildSpec(artefact, tag, base, python, architecture, settings.port, packages, wheel, settings.labels)
