"""The image that was built last -> a registry, which from then on knows it by its digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from estimator.errors import ImageError
from estimator.shipping.image import ecr
from estimator.shipping.image.build_record import read_record, write_record
from estimator.shipping.image.direct.layers import Blob, ImageLayer
from estimator.shipping.image.direct.oci import CONFIG, LAYER, MANIFEST, ImageLayout
from estimator.shipping.image.engines import DockerEngine, run_program
from estimator.shipping.image.registry import ImageReference, Registry, docker_login, parse_reference


def push(
    folder: Path, to: str, *, environment: Mapping[str, str], note: Callable[[str], None] = lambda text: None
) -> ImageReference:
    """Push the image that was built in a folder; return it by its digest, and note that beside it.

    A repository of ECR is made when it is missing, and AWS's own chain of credentials lets us in; other registries ask
    for what `docker login` has kept.

    Raises
    ------
    ImageError: nothing was built there, or the engine fails.
    RegistryError: the registry refuses, or cannot be reached.
    """
    record, reference = read_record(folder), parse_reference(to)
    if ecr.is_ecr(reference):
        tags = {"estimator.model": record["name"]}
        ecr.ensure_repository(reference, tags, note)
        allowed: str | None = ecr.authorization(reference)
    else:
        allowed = docker_login(reference.host, environment)
    if record["layout"] is not None:
        digest = Registry(reference, allowed).push(_layout(folder / "layout", record["layout"]), note)
    else:
        digest = _pushed_by_engine(record, reference, allowed, note)
    pushed = replace(reference, digest=digest)
    write_record({**record, "pushed": str(pushed)}, folder)
    return pushed


def _pushed_by_engine(
    record: Mapping[str, Any], reference: ImageReference, allowed: str | None, note: Callable[[str], None]
) -> str:
    """Let the engine that has built an image push it; ask the registry what it is known by."""
    engine = record["builder"]
    note(f"{engine} pushes {reference}")
    if ecr.is_ecr(reference) and allowed is not None:
        _log_in(engine, reference, allowed)
    if engine == "buildah":
        run_program(engine, ["push", record["tag"], f"docker://{reference}"], {})
    else:
        docker = DockerEngine(engine)
        docker.run("tag", record["tag"], str(reference))
        docker.run("push", str(reference))
    found = Registry(reference, allowed).digest()
    if found is None:
        raise ImageError(f"{reference}: {engine} pushed it, but the registry does not have it")
    return found


def _log_in(engine: str, reference: ImageReference, allowed: str) -> None:
    """Log an engine in; the token goes by its stdin, where nobody sees it."""
    import base64
    import subprocess

    user, _, token = base64.b64decode(allowed.removeprefix("Basic ")).decode().partition(":")
    done = subprocess.run(  # noqa: S603 # no shell
        [engine, "login", "--username", user, "--password-stdin", reference.host], input=token, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ImageError(f"{engine} login {reference.host}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def _layout(folder: Path, record: Mapping[str, Any]) -> ImageLayout:
    """Return a layout from what was noted of it.

    Raises
    ------
    ImageError: a blob is not there any more.
    """

    def blob(digest: str, media_type: str) -> Blob:
        path = folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if not path.is_file():
            raise ImageError(f"{path}: does not exist", hint="estimator image VERSION")
        return Blob(digest, path.stat().st_size, media_type)

    layers = tuple(ImageLayer(blob(digest, LAYER), "", 0, created_by) for digest, created_by in record["layers"])
    return ImageLayout(folder, blob(record["manifest"], MANIFEST), blob(record["config"], CONFIG), layers)
