"""image: a version -> a container image that has been started and has predicted as it must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from estimator.config import Image, resolve_section
from estimator.shipping.image.build import build
from estimator.shipping.image.builders import Builder, BuildOptions, ImageBuild
from estimator.store.artefact import Artefact, check_golden
from estimator.verbs.context import Context


def image(
    artefact: Artefact,
    context: Context,
    *,
    tag: str | None = None,
    folder: Path | None = None,
    builder: Builder = "auto",
    rootfs: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> ImageBuild:
    """Build a version's image in `folder` (build/MODEL), start it, and check its predictions and errors.

    `rootfs` is the base image as the tar of a root file system, for the builder `direct`.
    """
    check_golden(artefact)
    settings = resolve_section(
        "image", Image, artefact.config.get("image", {}), context.environment, overrides=context.overrides
    )
    options = BuildOptions(
        tag or f"{artefact.name.lower()}:latest", folder or Path("build") / artefact.name, builder, rootfs
    )
    return build(artefact, settings, options, environment=context.environment, note=note)
