"""The base of every section of a config, the types that keys share, and the shelves whose kinds a config may name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from estimator.config.faults import ConfigFault
from estimator.core.names import nfc
from estimator.core.registry import Shelf
from estimator.core.text import parse_bytes

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


def _as_written(value: object) -> object:
    """Return a number as the text that was written: 3.10 stays "3.10"."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_written)]


def _check_size(text: str) -> str:
    parse_bytes(text)
    return text


# Memory or disk, such as 4GB.
Size = Annotated[Text, AfterValidator(_check_size)]
# Names are compared as Unicode composes them.
ColumnName = Annotated[Text, AfterValidator(nfc)]


class Section(BaseModel):
    """Base of every section and of every kind's settings: frozen, unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _boolean_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Reject true where a number is expected: pydantic would read it as 1."""
        types = _scalar_types(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and types & {int, float} and not types & {bool, str, Any}:
            expected = "a number" if float in types else "a whole number"
            raise ValueError(f"expected {expected}, got {str(value).lower()}")
        return value

    @classmethod
    def with_dependent_settings(cls, settings: dict[str, Any], changed: Collection[str]) -> dict[str, Any]:
        """Return settings after the keys `changed` were changed, with the settings that depend on them adapted."""
        return settings

    def callback_faults(self, callbacks: Sequence[Section]) -> list[ConfigFault]:
        """Return what this kind of model rejects in `training.callbacks`; the paths start with a position."""
        return []


def _scalar_types(annotation: Any) -> set[Any]:
    """Return a type, or all types of a union."""
    return {annotation, *(inner for argument in get_args(annotation) for inner in _scalar_types(argument))}


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
    engines: Shelf[Any]
    default_model: str = "ensemble"
    default_target: str = "docker"
