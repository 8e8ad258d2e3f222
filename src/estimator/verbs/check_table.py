"""monitor --input: compare the rows of a table with the rows that a version was trained on."""

from __future__ import annotations

from functools import partial

from estimator.data.schema.frames import read_frame, select_columns, with_schema_names
from estimator.drift import CurrentRows
from estimator.errors import SourceError
from estimator.monitoring.drift_check import DriftCheck, check_drift
from estimator.monitoring.influence import moves_predictions
from estimator.monitoring.records import drift_reference
from estimator.verbs.context import Context, data_like
from estimator.verbs.monitor import MonitoredModel, loop_settings


def check_table(model: MonitoredModel, context: Context, table: str, *, query: str | None = None) -> DriftCheck:
    """Compare the rows of a table with the rows that a version was trained on, by all drift tests together.

    Raises
    ------
    SourceError: no row can be compared.
    """
    artefact = context.version(model.reference)
    settings = loop_settings(artefact, context, model.conf).monitoring
    reference = drift_reference(artefact, settings)
    with context.rows(data_like(artefact, context, table, query)) as source:
        frame = with_schema_names(artefact.schema, source.frame())
    names = [name for name in frame.columns if name in artefact.schema.by_name]
    batch = read_frame(artefact.schema, select_columns(frame, names), drop_faulty=True)
    if batch.n_rows == 0 or not batch.feed:
        raise SourceError(f"{table}: no row can be compared", hint=str(batch.faults[0]) if batch.faults else None)
    current = CurrentRows.of(reference, batch, artefact.predictor.predict_batch(batch))
    return check_drift(
        reference,
        current,
        settings.tests,
        alpha=settings.alpha,
        min_effect=settings.min_effect,
        moves_predictions=partial(moves_predictions, artefact.predictor, batch),
    )
