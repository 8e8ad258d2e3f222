"""What every section of a config is: frozen, with unknown keys refused; and the types that keys share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


def _as_written(value: object) -> object:
    """Numbers where text is wanted mean the text that was written: 3.10 stays "3.10"."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_written)]


class Section(BaseModel):
    """Base of every section and of every kind's settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def followed(cls, settings: dict[str, Any], changed: Collection[str]) -> dict[str, Any]:
        """Return settings of which some were changed, with those that depend on them."""
        return settings
