"""sign: make versions one's own, so that what their configs say of this machine applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from estimator.store.artefact import MANIFEST, Artefact, open_artefact
from estimator.store.signature import sign as sign_folder
from estimator.store.store import locate
from estimator.verbs.context import Context


def sign(references: Sequence[str], context: Context, *, confirm: Callable[[Artefact], bool]) -> list[Artefact]:
    """Sign versions with this user's key, and return those that were signed; without references, all of the store.

    `confirm` is asked for each version that is not signed yet: from then on, all of its config applies.

    Raises
    ------
    ArtefactError: a version is damaged, or its folder cannot be written.
    """
    store = context.store()
    if references:
        folders = [locate(reference, store) for reference in references]
    else:
        folders = [store.root / model / version for model in store.models() for version in store.versions(model)]
    signed = []
    for artefact in map(open_artefact, folders):
        manifest = (artefact.folder / MANIFEST).read_bytes()
        if not artefact.is_own and confirm(artefact):
            sign_folder(artefact.folder, manifest)
            signed.append(open_artefact(artefact.folder))
    return signed
