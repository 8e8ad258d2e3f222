"""monitor --input: compare the rows of a table with the rows that a version was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from estimator.core.files import write_atomic
from estimator.core.task import Predictions
from estimator.data.schema import Batch
from estimator.data.schema.frames import read_frame, select_columns, with_schema_names
from estimator.drift import CurrentRows, DriftReference
from estimator.drift.reference import BinCodes, ColumnReference, monitored_predictions
from estimator.errors import SourceError
from estimator.monitoring.checked_table import CheckedTable, check_frame
from estimator.monitoring.drift_cards import checked_table_page
from estimator.monitoring.influence import moves_predictions
from estimator.monitoring.lenient_rows import read_leniently
from estimator.monitoring.records import drift_reference
from estimator.store.artefact import Artefact
from estimator.verbs.context import Context, data_like
from estimator.verbs.monitor import MonitoredModel, loop_settings


def check_table(model: MonitoredModel, context: Context, table: str, *, query: str | None = None) -> CheckedTable:
    """Compare the rows of a table with the rows that a version was trained on, by all drift tests together.

    Raises
    ------
    RowError: columns are missing.
    SourceError: there is no row.
    """
    artefact = context.version(model.reference)
    settings = loop_settings(artefact, context, model.conf).monitoring
    reference = drift_reference(artefact, settings)
    with context.rows(data_like(artefact, context, table, query)) as source:
        frame = with_schema_names(artefact.schema, source.frame())
    frame = select_columns(frame, [name for name in frame.columns if name in artefact.schema.by_name])
    if not frame.height:
        raise SourceError(f"{table}: no row can be compared")
    valid, rows = read_frame(artefact.schema, frame, drop_faulty=True), read_leniently(artefact.schema, frame)

    def is_used(column: ColumnReference) -> bool:
        return column.name in rows.faults or moves_predictions(artefact.predictor, valid, column)

    current = _current_rows(artefact, reference, valid, rows.batch)
    check, diagnosis = check_frame(reference, current, frame, settings, faults=rows.faults, moves_predictions=is_used)
    return CheckedTable(Path(table).name, f"{artefact.name} {artefact.version}", check, diagnosis)


def write_page(checked: CheckedTable, path: Path) -> None:
    """Write the check of a table as one offline HTML page."""
    write_atomic(path, checked_table_page(checked))


def _current_rows(artefact: Artefact, reference: DriftReference, valid: Batch, rows: Batch) -> CurrentRows:
    """Return all `rows` to compare; those that the schema rejects have no prediction."""
    predictions: BinCodes = np.zeros(rows.n_rows, np.uint8)
    if valid.n_rows and valid.feed:
        is_valid = np.ones(rows.n_rows, np.bool_) if valid.is_valid is None else valid.is_valid
        predicted = monitored_predictions(artefact.predictor.predict_batch(valid))
        predictions[is_valid] = reference.predictions.codes(predicted)
    batch = replace(rows, faults=valid.faults, is_valid=valid.is_valid)
    current = CurrentRows.of(reference, batch, Predictions(np.empty(0)))
    return replace(current, predictions=predictions)
