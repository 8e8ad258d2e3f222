"""The record of a built image, image.json, and the push of that image to a registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from estimator.config.secrets import credentials_in_files
from estimator.core.files import write_atomic
from estimator.core.lock import locked
from estimator.errors import ImageError
from estimator.shipping.image import ecr
from estimator.shipping.image.builders import builder_of
from estimator.shipping.image.registry import ImageReference, Registry, docker_login, parse_reference

RECORD, CONTEXT = "image.json", "context"


def record_lock(folder: Path, *, purpose: str) -> AbstractContextManager[None]:
    """Lock the image of a folder against other processes; `purpose` completes "another process is ...".

    Raises
    ------
    ImageError: another process builds or pushes it now.
    """
    return locked(folder / RECORD, purpose=purpose, name=str(folder), timeout_seconds=0, error_type=ImageError)


def write_record(record: Mapping[str, Any], folder: Path) -> None:
    """Write the record of the image built in a folder."""
    write_atomic(folder / RECORD, json.dumps(record, indent=2).encode())


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the image built in a folder, with "pushed" once it was pushed.

    Raises
    ------
    ImageError: no image was built there, or the record cannot be read.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise ImageError(f"{folder}: contains no built image", hint="estimator image VERSION") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {error}", hint="estimator image VERSION") from None
    if not isinstance(record, dict) or not record.keys() >= {"name", "tag", "builder", "layout"}:
        raise ImageError(f"{path}: is not a record of a built image", hint="estimator image VERSION")
    return record


def push(
    folder: Path, to: str, *, environment: Mapping[str, str], note: Callable[[str], None] = lambda text: None
) -> ImageReference:
    """Push the image built in a folder to HOST/NAME:TAG; return its reference by digest, which the record keeps.

    A missing repository of ECR is created, with the credentials that boto3 finds. Other registries use the
    credentials of `docker login`.

    Raises
    ------
    ImageError: no image was built in the folder, another process builds or pushes it, or the engine fails.
    RegistryError: the registry reports an error, or cannot be reached.
    """
    reference = parse_reference(to)
    reject_credentials(_written_files(folder), _written_config(folder), "pushed")
    # Until the digest is written down, so that it is that of the image in the record.
    with record_lock(folder, purpose="pushing it"):
        return _pushed(read_record(folder), folder, reference, environment, note)


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would do to the tag of a reference.

    `digest` is that of the built image, None before an engine pushes it; `stored_digest` that of the image that has
    the tag now, None without one. `has_repository` is False if the push would create the repository.
    """

    reference: ImageReference
    tag: str
    architecture: str
    digest: str | None
    stored_digest: str | None
    has_repository: bool = True


def plan_push(folder: Path, to: str, *, environment: Mapping[str, str]) -> PushPlan:
    """Return what `push` would do, after the checks that it makes; nothing is changed, here or in the registry.

    Raises
    ------
    ImageError, RegistryError: as for `push`.
    """
    reference = parse_reference(to)
    reject_credentials(_written_files(folder), _written_config(folder), "pushed")
    record = read_record(folder)
    builder_of(record).check_built(record, folder)
    if ecr.is_ecr(reference):
        has_repository, stored = ecr.stored_digest(reference)
    else:
        has_repository, stored = True, Registry(reference, docker_login(reference.host, environment)).digest()
    return PushPlan(reference, record["tag"], record["architecture"], record["digest"], stored, has_repository)


def reject_credentials(files: Mapping[str, bytes], config: Mapping[str, Any], done: str) -> None:
    """Raise an error that names every credential in the files of an image, which is not built or not pushed (`done`).

    Raises
    ------
    ImageError: there are some that `config` does not allow.
    """
    if sentences := credentials_in_files(files, config):
        raise ImageError(
            f"the image would hold credentials, so it was not {done}:\n  " + "\n  ".join(sentences),
            hint="train the version without them; if one is none, secrets.allow: [its fingerprint] in its config",
        )


def _written_files(folder: Path) -> dict[str, bytes]:
    """Return the record and the build context of an image as they are now."""
    paths = [folder / RECORD, *(folder / CONTEXT).rglob("*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def _written_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONTEXT / "model" / "config.resolved.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _pushed(
    record: Mapping[str, Any],
    folder: Path,
    reference: ImageReference,
    environment: Mapping[str, str],
    note: Callable[[str], None],
) -> ImageReference:
    if ecr.is_ecr(reference):
        ecr.ensure_repository(reference, {"estimator.model": record["name"]}, note)
        registry = Registry(reference, ecr.authorization(reference))
    else:
        registry = Registry(reference, docker_login(reference.host, environment))
    digest = builder_of(record).push(record, folder, registry, note)
    pushed = replace(reference, digest=digest)
    write_record({**record, "pushed": str(pushed)}, folder)
    return pushed
