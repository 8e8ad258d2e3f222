"""serve: versions over HTTP, until the process is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from estimator.serving.reload import ModelReference
from estimator.serving.run import run_server
from estimator.store.artefact import Artefact
from estimator.store.store import Store, locate
from estimator.verbs.context import Context


def serve(
    references: Sequence[str],
    context: Context,
    *,
    settings: Mapping[str, Any],
    allow_public: bool = False,
    monitors: bool = False,
    ready: Callable[[Sequence[Artefact], str], None],
) -> None:
    """Serve the versions that references name, also when an alias moves; `settings` win over a version's own config.

    With `monitors`, a process next to the server monitors the log of every model.
    """
    store = context.store()
    run_server(
        [_reference(name, store) for name in references],
        settings,
        environment=context.environment,
        allow_public=allow_public,
        ready=ready,
        monitors=monitors,
        note=lambda sentence: context.notes.add([sentence]),
    )


def canary_settings(text: str, by: str | None = None) -> dict[str, Any]:
    """Return `serving.canary` for a version and its share of the requests, as the command line has them.

    >>> canary_settings("candidate=0.05", by="customer_id")
    {'version': 'candidate', 'share': 0.05, 'by': 'customer_id'}

    Raises
    ------
    ValueError: the text is something else.
    """
    version, _, share = text.rpartition("=")
    try:
        return {"version": version or text, "share": float(share), "by": by}
    except ValueError:
        raise ValueError(f"expected VERSION=SHARE, such as candidate=0.05, got {text!r}") from None


def _reference(name: str, store: Store) -> ModelReference:
    poll_seconds = 0.0 if Path(name).is_dir() else store.storage.poll_seconds
    return ModelReference(name, partial(locate, name, store), partial(_locate_other, name, store), poll_seconds)


def _locate_other(reference: str, store: Store, name: str) -> Path | None:
    """Return the folder of another version of the same model, by an alias or its own name; None if there is none."""
    if Path(reference).is_dir():
        folder = locate(reference, store).parent
        store, model = Store(folder.parent), folder.name
    else:
        model, _ = store.find(reference)
    version = store.aliases(model).get(name)
    if version is None and store.storage.has_version(model, name):
        version = name
    return None if version is None else store.folder(model, version)
