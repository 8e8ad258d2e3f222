"""The kinds a config may name, handed in from below so that config itself imports no shelf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from estimator.config.section import Section
from estimator.core.registry import Shelf


@dataclass(frozen=True, slots=True)
class Shelves:
    """The shelves; a kind of model or of target is a section, which validates its own settings.

    What the other shelves hold is of no matter here, only the names are.
    """

    models: Shelf[Section]
    metrics: Shelf[Any]
    encoders: Shelf[Any]
    sources: Shelf[Any]
    targets: Shelf[Section]
    drift: Shelf[Any]
    default_model: str = "ensemble"
    default_target: str = "docker"
