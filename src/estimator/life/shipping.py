"""A version -> an image, in a registry, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from estimator.artefact import Artefact, check_golden
from estimator.config import Image, resolve_kept
from estimator.order import Order

if TYPE_CHECKING:
    from estimator.image.building import Built, Job
    from estimator.image.registry import Reference


def image(
    artefact: Artefact, order: Order, job: Job, *, note: Callable[[str], None] = lambda text: None
) -> Built:  # fmt: skip
    """Build a version's image, start it, and check that it answers as the version must."""
    from estimator.image.building import build

    check_golden(artefact)
    kept = artefact.config.get("image", {})
    settings = resolve_kept("image", Image, kept, order.environment, overrides=order.overrides)
    return build(artefact, settings, job, environment=order.environment, note=note)


def push(folder: Path, to: str, order: Order, *, note: Callable[[str], None] = lambda text: None) -> Reference:
    """Push the image that was built in a folder to a registry; return it by its digest."""
    from estimator.image import pushing

    return pushing.push(folder, to, environment=order.environment, note=note)
