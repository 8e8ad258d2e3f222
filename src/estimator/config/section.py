"""The base of every section of a config, the types that keys share, and the shelves whose kinds a config may name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from estimator.core.registry import Shelf

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


def _as_written(value: object) -> object:
    """Return a number as the text that was written: 3.10 stays "3.10"."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_written)]


class Section(BaseModel):
    """Base of every section and of every kind's settings: frozen, unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def with_dependent_settings(cls, settings: dict[str, Any], changed: Collection[str]) -> dict[str, Any]:
        """Return settings after the keys `changed` were changed, with the settings that depend on them adapted."""
        return settings

    def callback_faults(self, callbacks: Sequence[Section]) -> list[tuple[int, str]]:
        """Return (position, message) of each of `training.callbacks` that this kind of model rejects."""
        return []


@dataclass(frozen=True, slots=True)
class Shelves:
    """The kinds that a config may name, passed in so that config imports no shelf.

    A kind of model or of deployment target is a section that validates its own settings; of the other shelves only the
    names are used.
    """

    models: Shelf[Section]
    metrics: Shelf[Any]
    encoders: Shelf[Any]
    sources: Shelf[Any]
    targets: Shelf[Section]
    drift: Shelf[Any]
    default_model: str = "ensemble"
    default_target: str = "docker"
