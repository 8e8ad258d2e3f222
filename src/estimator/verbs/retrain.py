"""retrain: new rows -> candidate versions, compared with the live version, and the decision with its reasons."""

from __future__ import annotations

from collections.abc import Callable

from estimator.data.schema.frames import with_schema_names
from estimator.errors import needs_extra
from estimator.models import Progress, silent
from estimator.monitoring.decision import Decision
from estimator.monitoring.new_rows import labeled_records
from estimator.verbs.context import SHELVES, Context, data_like
from estimator.verbs.monitor import MonitoredModel, loop_settings, opened_log, retrainer


def retrain(
    model: MonitoredModel,
    context: Context,
    *,
    data: str | None = None,
    query: str | None = None,
    include_learned: bool = False,
    isolated: bool = True,
    reason: str = "started by hand",
    progress: Progress = silent,
    note: Callable[[str], None] = lambda text: None,
) -> Decision:
    """Train candidates on new rows, of a table or the labeled ones of the log, and compare them with the live version.

    Rows of the live version's own table are left out, with a note, unless `include_learned`. Candidates are trained in
    a process of their own, so that a library that crashes stops nothing else; if not `isolated`, in this one.

    Raises
    ------
    RetrainingError: there are no new rows, or too few.
    """
    context.store().check_local()
    live = context.version(model.reference)
    settings = loop_settings(live, context, model.conf).retraining
    if data is not None:
        with context.rows(data_like(live, context, data, query)) as source:
            new_rows = with_schema_names(live.schema, source.frame())
    else:
        with opened_log(model, live, context) as log:
            new_rows = labeled_records(live, log, note=lambda sentence: context.notes.add([sentence]))
    decision = retrainer(model, settings, context, isolated=isolated).retrain(
        live, new_rows, include_learned=include_learned, reason=reason, progress=progress, note=note
    )
    context.notes.add(decision.notes)
    return decision


def train_candidates(context: Context) -> None:
    """Train the candidates of the job on standard input: the process that `retrain` and the monitor start."""
    with needs_extra("train", "retraining"):
        from estimator.monitoring.candidate_process import train_job
    train_job(SHELVES, context.environment)
