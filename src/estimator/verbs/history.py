"""history: every move of a model's aliases, and which version was live at a time."""

from __future__ import annotations

from collections.abc import Sequence

from estimator.store.history import AliasChange
from estimator.store.store import Store


def history(store: Store, model: str | None = None) -> Sequence[AliasChange]:
    """Return every move of a model's aliases, oldest first; without a name, of the store's only model.

    Raises
    ------
    StoreError: there is no such model.
    """
    name = model or store.only_model()
    moves = store.history(name)
    if not moves:
        store.find(name)
    return moves


def live_at(store: Store, model: str | None, time: str) -> AliasChange | None:
    """Return the move that made the version live that was live at an ISO 8601 time; None before the first."""
    moves = [move for move in history(store, model) if move.alias == "live" and move.time <= time]
    return moves[-1] if moves else None
