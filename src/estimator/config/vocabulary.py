"""The kinds a config may name, handed in from below so that config itself imports no shelf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from estimator.config.sections import Section


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of the kinds on each shelf; a model kind's class validates its own settings."""

    models: Sequence[str]
    model_settings: Callable[[str], type[Section]]
    default_model: str
    metrics: Sequence[str]
    encoders: Sequence[str]
    sources: Sequence[str]
