"""Which version is live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from estimator.core.clock import Moment
from estimator.store.artefact import open_artefact
from estimator.store.store import AliasChange, Store, describe_models
from estimator.verbs.context import candidate_of, only_model


def promote(store: Store, reference: str, *, why: str) -> AliasChange:
    """Make a version live in one atomic step."""
    model, version = store.find(reference if "@" in reference or "/" in reference else candidate_of(store, reference))
    open_artefact(store.root / model / version)
    return store.point(model, "live", version, action="promote", reason=why, moment=Moment.now())


def rollback(store: Store, model: str | None, *, why: str) -> AliasChange:
    """Make the version live that was live before."""
    name = model or only_model(store)
    version = store.previous_live(name)
    return store.point(name, "live", version, action="rollback", reason=why, moment=Moment.now())


def list_models(store: Store) -> list[dict[str, Any]]:
    """Return every model with its aliases and versions."""
    return describe_models(store)


def history(store: Store, model: str) -> Sequence[AliasChange]:
    """Return every move of a model's aliases, oldest first."""
    found = store.history(model)
    if not found:
        store.find(model)
    return found


def live_at(store: Store, model: str, at: str) -> AliasChange | None:
    """Return the move by which the version came to be live that was live at a time, ISO 8601; None before the first."""
    moves = [move for move in history(store, model) if move.alias == "live" and move.time <= at]
    return moves[-1] if moves else None
