"""schema: the JSON Schema of the config."""

from __future__ import annotations

from typing import Any

from estimator.config.validation import config_schema
from estimator.verbs.context import SHELVES


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the config, with every kind of this installation."""
    return config_schema(SHELVES)
