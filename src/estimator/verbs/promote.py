"""promote: make a version live."""

from __future__ import annotations

from estimator.core.clock import Moment
from estimator.store.artefact import open_artefact
from estimator.store.history import AliasChange
from estimator.store.store import Store


def promote(store: Store, reference: str, *, why: str) -> AliasChange:
    """Make a version live in one atomic step; the bare name of a model means its candidate.

    Raises
    ------
    StoreError, ArtefactError: there is no such version, or it is damaged.
    """
    model, version = store.find(f"{reference}@candidate" if store.storage.has_model(reference) else reference)
    open_artefact(store.folder(model, version))
    return store.point(model, "live", version, action="promote", reason=why, moment=Moment.now())
