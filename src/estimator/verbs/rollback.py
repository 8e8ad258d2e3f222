"""rollback: make the version live that was live before."""

from __future__ import annotations

from estimator.core.clock import Moment
from estimator.store.history import AliasChange
from estimator.store.store import Store


def rollback(store: Store, model: str | None = None, *, why: str) -> AliasChange:
    """Make the previous live version of a model live again; without a name, of the store's only model."""
    name = model or store.only_model()
    return store.roll_back(name, reason=why, moment=Moment.now())
