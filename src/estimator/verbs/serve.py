"""serve: versions over HTTP, until the process is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from estimator.serving.reload import ModelReference
from estimator.serving.run import run_server
from estimator.store.artefact import MANIFEST, Artefact
from estimator.store.store import Store, locate, read_aliases
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
    served = [
        ModelReference(reference, partial(locate, reference, store), partial(_locate_other, reference, store))
        for reference in references
    ]
    run_server(
        served,
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


def _locate_other(reference: str, store: Store, name: str) -> Path | None:
    """Return the folder of another version of the same model, by an alias or its own name; None if there is none."""
    folder = locate(reference, store).parent
    version = read_aliases(folder).get(name)
    if version is None and name in (path.parent.name for path in folder.glob(f"*/{MANIFEST}")):
        version = name
    return None if version is None else folder / version
