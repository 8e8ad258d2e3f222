"""serve: versions over HTTP, until the process is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from estimator.serving.reload import ModelReference
from estimator.serving.run import run_server
from estimator.store.artefact import Artefact
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
        ModelReference(reference, partial(locate, reference, store), partial(_locate_alias, reference, store))
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


def _locate_alias(reference: str, store: Store, alias: str) -> Path | None:
    """Return the folder of the version that another alias of the same model points at, None without that alias."""
    folder = locate(reference, store).parent
    version = read_aliases(folder).get(alias)
    return None if version is None else folder / version
