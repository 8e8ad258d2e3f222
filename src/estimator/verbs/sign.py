"""sign: make versions one's own, so that what their configs say of this machine applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from estimator.store.artefact import Artefact, open_artefact
from estimator.store.local_storage import LocalStorage
from estimator.store.storage import Storage
from estimator.store.store import Store, locate
from estimator.verbs.context import Context


def sign(references: Sequence[str], context: Context, *, confirm: Callable[[Artefact], bool]) -> list[Artefact]:
    """Sign versions with this user's key, and return those that were signed; without references, all of the store.

    `confirm` is asked for each version that is not signed yet: from then on, all of its config applies.

    Raises
    ------
    ArtefactError: a version is damaged, or its folder cannot be written.
    """
    store = context.store()
    signed = []
    for storage, model, version in _versions(references, store):
        artefact = open_artefact(storage.folder(model, version))
        if not artefact.is_own and confirm(artefact):
            storage.sign(model, version)
            signed.append(open_artefact(artefact.folder))
    return signed


def _versions(references: Sequence[str], store: Store) -> Iterator[tuple[Storage, str, str]]:
    """Yield the versions that references mean, else all of the store: where they lie, their models and names."""
    for reference in references:
        if Path(reference).is_dir():
            folder = locate(reference, store).resolve()
            yield LocalStorage(folder.parents[1]), folder.parent.name, folder.name
        else:
            yield store.storage, *store.find(reference)
    if not references:
        yield from ((store.storage, model, version) for model in store.models() for version in store.versions(model))
