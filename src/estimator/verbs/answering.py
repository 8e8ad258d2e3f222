"""A version -> answers: to a table, over HTTP, as a page, and why one was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimator.core.files import write_atomic
from estimator.errors import SourceError, needs_extra
from estimator.store.artefact import Artefact, check_golden
from estimator.verbs.context import Order, like_training, load, locate, locate_alias, open_store, opened

if TYPE_CHECKING:
    from estimator.data.sinks import IfExists
    from estimator.serving.explain_prediction import PredictionExplanation
    from estimator.serving.model_page.page import ModelPage
    from estimator.store.batch_prediction import BatchSummary


def predict(
    artefact: Artefact, table: str, output: str, *, query: str | None = None, into: str | None = None,
    if_exists: IfExists | None = None, keep: Sequence[str] = (), order: Order | None = None,
    invalid_as_missing: bool = False, progress: Callable[[int], None],
) -> BatchSummary:  # fmt: skip
    """Answer every row of a table and write the answers, in order, to a file or into a table of a database."""
    with needs_extra("batch", "reading a table"):
        from estimator.data.sinks import sink_for
        from estimator.store.batch_prediction import predict_source

    order = order or Order()
    sink = sink_for(output, order.environment, table=into, if_exists=if_exists)
    with opened(like_training(artefact, table, query), order) as source:
        return predict_source(
            artefact.predictor, source, sink, keep=keep, invalid_as_missing=invalid_as_missing, progress=progress
        )


def serve(
    references: Sequence[str],
    order: Order,
    *,
    settings: Mapping[str, Any],
    allow_public: bool = False,
    watches: bool = False,
    ready: Callable[[Sequence[Artefact], str], None],
) -> None:
    """Serve what names mean until told to end, also when it moves; `settings` win over a version's serving section.

    With `watches`, the log of every model is watched from a process beside the server.
    """
    from estimator.serving.reload import ModelReference
    from estimator.serving.run import run_server

    store = open_store(None, order)
    found = [
        ModelReference(reference, partial(locate, reference, store), partial(locate_alias, reference, store))
        for reference in references
    ]
    run_server(
        found, settings, environment=order.environment, allow_public=allow_public, ready=ready, monitors=watches
    )  # fmt: skip


def why(named: str, place: str, order: Order) -> PredictionExplanation:
    """Say of a logged answer what was asked, what was answered by which version, and what moved it."""
    from estimator.prediction_log import open_log
    from estimator.serving.explain_prediction import explain_logged_prediction

    database = open_log(place, Path(), order.environment, must_exist=True)
    try:
        logged, shadows = database.find(named), database.shadows(named)
    finally:
        database.close()
    if logged is None:
        raise SourceError(
            f"{database.name}: no answer with the id {named!r}", hint="ids are told by POST /v1/predict, not by others"
        )
    return explain_logged_prediction(logged, load(f"{logged.model}/{logged.version}", open_store(None, order)), shadows)


def page(artefact: Artefact, output: Path) -> ModelPage:
    """Write a version as one offline HTML file that answers by itself, once it answers its golden rows."""
    from estimator.serving.model_page.page import build_model_page

    check_golden(artefact)
    made = build_model_page(artefact)
    write_atomic(output, made.content)
    return made
