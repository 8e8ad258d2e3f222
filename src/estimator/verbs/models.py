"""models: every model of a store with its versions and aliases."""

from __future__ import annotations

from typing import Any

from estimator.store.store import Store, describe_models


def models(store: Store) -> list[dict[str, Any]]:
    """Return every model with its versions and aliases, as JSON-ready data."""
    return describe_models(store)
