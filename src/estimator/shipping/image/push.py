"""Push the most recently built image of a folder to a registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from estimator.shipping.image import ecr
from estimator.shipping.image.build_record import read_record, write_record
from estimator.shipping.image.builders import builder_of
from estimator.shipping.image.registry import ImageReference, Registry, docker_login, parse_reference


def push(
    folder: Path, to: str, *, environment: Mapping[str, str], note: Callable[[str], None] = lambda text: None
) -> ImageReference:
    """Push the image built in a folder to HOST/NAME:TAG; return its reference by digest, which the record keeps.

    A missing repository of ECR is created, with the credentials that boto3 finds. Other registries use the
    credentials of `docker login`.

    Raises
    ------
    ImageError: no image was built in the folder, or the engine fails.
    RegistryError: the registry reports an error, or cannot be reached.
    """
    record, reference = read_record(folder), parse_reference(to)
    if ecr.is_ecr(reference):
        ecr.ensure_repository(reference, {"estimator.model": record["name"]}, note)
        registry = Registry(reference, ecr.authorization(reference))
    else:
        registry = Registry(reference, docker_login(reference.host, environment))
    digest = builder_of(record).push(record, folder, registry, note)
    pushed = replace(reference, digest=digest)
    write_record({**record, "pushed": str(pushed)}, folder)
    return pushed
