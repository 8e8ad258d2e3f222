"""monitor --input: compare the rows of a table with those that a version was trained on, or with another table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from estimator.config import Data, Monitoring, resolve_section
from estimator.core.files import write_atomic
from estimator.core.task import Predictions
from estimator.data.schema import Batch
from estimator.data.schema.frames import read_frame, select_columns, with_schema_names
from estimator.data.tables import as_frame
from estimator.drift import CurrentRows, DriftReference
from estimator.drift.reference import BinCodes, ColumnReference, monitored_predictions
from estimator.errors import SourceError
from estimator.monitoring import compared_tables
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
    names = Path(table).name, f"{artefact.name} {artefact.version}"
    return check_frame(reference, current, frame, settings, names=names, faults=rows.faults, moves_predictions=is_used)


def compare_tables(
    current: Any,
    reference: Any,
    context: Context,
    *,
    target: str | None = None,
    query: str | None = None,
    conf: Path | None = None,
) -> CheckedTable:
    """Compare the rows of a table with those of another, without a model.

    Each is named by its path or address, or handed in: a polars or pandas frame, or a list of dictionaries. `target` is
    a column that is left out; `query` is for databases; `conf` names a config whose section monitoring applies.

    Raises
    ------
    SourceError: a table has no row, or the reference no column that can be compared.
    """
    if conf is None:
        settings = resolve_section("monitoring", Monitoring, {}, context.environment, overrides=context.overrides)
    else:
        settings = context.config(conf).monitoring
    now, before = (
        _named_table(table, name, context, query) for table, name in ((current, "rows"), (reference, "reference"))
    )
    return compared_tables.compare_tables(now, before, settings, ignore=[] if target is None else [target])


def _named_table(table: Any, name: str, context: Context, query: str | None) -> compared_tables.NamedTable:
    """Return a table that was handed in, or the one at a path."""
    if not isinstance(table, str | Path):
        return compared_tables.NamedTable(name, as_frame(table))
    settings = {"path": str(table), "target": "target", "query": query}
    data = resolve_section("data", Data, {}, {}, overrides=context.overrides, settings=settings)
    with context.rows(data) as source:
        rows = source.frame()
    kept = [column for column in rows.columns if column not in data.drop]
    return compared_tables.NamedTable(Path(table).name, select_columns(rows, kept))


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
