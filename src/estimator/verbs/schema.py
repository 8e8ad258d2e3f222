"""schema: the JSON Schema of the config, and what a key of it is."""

from __future__ import annotations

from typing import Any

from estimator.config.reference import KeyHelp, key_help
from estimator.config.validation import config_schema
from estimator.verbs.context import SHELVES


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the config, with every kind of this installation."""
    return config_schema(SHELVES)


def explain(key: str) -> list[KeyHelp]:
    """Return the type, default and description of a key or of every key in a section; "" is the whole config.

    Raises
    ------
    ConfigError: there is no such key.
    """
    return key_help(key, SHELVES)
