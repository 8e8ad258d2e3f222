"""push: the most recently built image of a model -> a registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from estimator.shipping.image import build_record
from estimator.shipping.image.registry import ImageReference
from estimator.verbs.context import Context


def push(folder: Path, to: str, context: Context, *, note: Callable[[str], None] = lambda text: None) -> ImageReference:
    """Push the image built in a folder to HOST/NAME:TAG; return its reference by digest."""
    return build_record.push(folder, to, environment=context.environment, note=note)
