"""New rows to learn from, of a table or of the log's labels, in the columns of the live version's own table."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.core.text import join_names
from estimator.data.schema import Column, Schema
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.data.schema.dtypes import plain_series
from estimator.data.schema.frames import read_frame, read_series
from estimator.data.schema.schema import MAX_FAULTS
from estimator.data.target import read_labels
from estimator.errors import RetrainingError, RowError
from estimator.monitoring.records import unreadable_labels, unreadable_note
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log import Cursor
from estimator.store.artefact import Artefact
from estimator.store.learned_rows import KEY_BYTES, LearnedRows, hashed_columns, learned_rows, recognized
from estimator.training.prepare import PreparedData

Note = Callable[[str], None]
# Other kinds are text, as times are in a request.
DTYPES = {"number": pl.Float64, "integer": pl.Int64, "boolean": pl.Boolean}


def _no_note(sentence: str) -> None:
    return None


def labeled_records(live: Artefact, log: PredictionLog, *, note: Note = _no_note) -> pl.DataFrame:
    """Return the logged rows with a label that the live version cannot have been trained on, as its schema reads them.

    They come in the order of their time. Of a retrained version, rows from before its training whose label came later
    are among them; of one that a person has trained nothing says so, as its table may hold them.

    Rows that cannot be used are left out, with a sentence to `note`: those whose label is no value of the target, that
    were logged without a feature, and that break the schema.

    Raises
    ------
    RetrainingError: there are none.
    """
    trained_at = datetime.fromisoformat(live.manifest["created"]).timestamp()
    labeled = _labeled_since(log, live.name, trained_at)
    if "retraining" not in live.manifest:
        labeled = [record for record in labeled if record.at >= trained_at]
    unreadable = unreadable_labels(live, labeled)
    if unreadable:
        note(unreadable_note(unreadable))
    ids = {record.id for record, _ in unreadable}
    records = [record for record in labeled if record.id not in ids]
    if not records:
        raise RetrainingError(
            f"{live.name}: no row logged since {live.version} was trained has a label"
            + (f"; {unreadable_note(unreadable)}" if unreadable else ""),
            hint="POST /v1/labels, or give rows with --input",
        )
    rows = _as_read(live, _complete(live, records, note), note)
    columns = [_column(live.schema, name, [row.get(name) for row in rows]) for name in _names(rows)]
    return pl.DataFrame([column for column in columns if column is not None])


def _labeled_since(log: PredictionLog, model: str, time: float) -> list[PredictionRecord]:
    """Return the rows whose label came at a time or later, in the order of the rows."""
    cursor: Cursor = (time, "")
    labeled: list[PredictionRecord] = []
    while records := log.labeled_after(model, cursor):
        labeled += records
        cursor = (records[-1].labeled_at or 0.0, records[-1].id)
    return sorted(labeled, key=lambda record: (record.at, record.id))


def check_logged_columns(live: Artefact) -> None:
    """Raise the error of a version that cannot be retrained on the log, because its features are private."""
    private = live.config.get("serving", {}).get("private_columns", ())
    if not_logged := [column.name for column in live.schema.features if column.name in private]:
        raise _not_logged(live, not_logged)


def _not_logged(live: Artefact, names: Sequence[str]) -> RetrainingError:
    return RetrainingError(
        f"{live.name}: the log holds no values of {join_names(map(repr, names))}, which {live.version} was trained on; "
        "private columns are never logged",
        hint="give rows that have them with --input, or train a version without them (data.drop)",
    )


def _complete(live: Artefact, records: Sequence[PredictionRecord], note: Note) -> list[PredictionRecord]:
    """Return the records that hold every feature; what stood in for an optional column is logged, too."""
    left_out = [live.schema.left_out(list(record.inputs)) for record in records]
    complete = [record for record, names in zip(records, left_out, strict=True) if not names]
    if not complete:
        raise _not_logged(live, left_out[-1])
    if len(complete) < len(records):
        note(f"{len(records) - len(complete):,} logged rows are left out: private columns were not logged with them")
    return complete


def _as_read(live: Artefact, records: Sequence[PredictionRecord], note: Note) -> list[dict[str, Any]]:
    """Return each record as a row of the schema's values, with its label, and with what else was logged."""
    schema, rows, fault = live.schema, list[dict[str, Any]](), ""
    for record in records:
        inputs = {schema.resolve(name) or name: value for name, value in record.inputs.items()}
        try:
            batch = schema.read_rows([{column.name: inputs[column.name] for column in schema.features}])
        except RowError as error:
            fault = fault or error.message
            continue
        label = live.target_reader.label(record.label)
        rows.append({**inputs, **schema.to_json_row(batch, 0), schema.target.name: label})
    if fault:
        n_left_out = len(records) - len(rows)
        note(f"{n_left_out:,} logged rows are left out: {live.version} cannot read them; the first: {fault}")
    if not rows:
        raise RetrainingError(
            f"{live.name}: {live.version} can read none of the logged rows that have a label; the first: {fault}",
            hint="give rows with --input",
        )
    return rows


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _column(schema: Schema, name: str, values: Sequence[Any]) -> pl.Series | None:
    """Return values as a column; None for lists and objects, which only a column that is no feature can hold."""
    column = schema.by_name.get(name)
    if column is not None and column.is_feature and name != schema.target.name:
        return pl.Series(name, values, dtype=DTYPES.get(column.kind, pl.String))
    types = {type(value) for value in values} - {type(None)}
    if types & {list, dict}:
        return None
    if types <= {int, float} or len(types) == 1:
        return pl.Series(name, values, dtype=pl.Float64 if types == {int, float} else None)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def with_readable_labels(live: Artefact, rows: pl.DataFrame) -> pl.DataFrame:
    """Return new rows with their labels as the live version names them; a row without one keeps a missing value.

    Raises
    ------
    RowError: a label is no value of the target.
    """
    name = live.manifest["target"]
    if name not in rows.columns:
        return rows
    labels, faults = read_labels(live.target_reader, rows[name])
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults), hint="mend these labels, or leave the rows out")
    classes = live.predictor.task.classes
    values: list[Any] = [None if math.isnan(label) else label for label in labels.tolist()]
    if classes:
        values = [None if value is None else classes[int(value)] for value in values]
    return rows.with_columns(pl.Series(name, values, dtype=pl.String if classes else pl.Float64))


def with_optional_columns(schema: Schema, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the columns that they may leave out, filled with their defaults or with missing values."""
    optional = {column.name: column for column in schema.features if not column.is_required}
    return rows.with_columns(
        pl.lit(optional[name].default, dtype=None if optional[name].default is not None else pl.String).alias(name)
        for name in schema.left_out(rows.columns)
        if name in optional
    )


def without_known(live: Artefact, old: PreparedData, new: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return new rows without those that the live version's table holds or that it has learned from, and a note.

    `old` are the rows of its table. A row that its schema cannot read is new.
    """
    schema, task = live.schema, live.predictor.task
    if schema.target.name not in new.columns or schema.left_out(new.columns):
        return new, []
    columns = hashed_columns(schema, live.config.get("serving", {}).get("private_columns", ()))
    table = LearnedRows.of(columns, old.rows.batch, old.rows.target, task, key=secrets.token_bytes(KEY_BYTES))
    known = [rows for rows in (table, learned_rows(live)) if rows is not None]
    batch = read_frame(schema, new, drop_faulty=True)
    labels, _ = read_labels(live.target_reader, new[schema.target.name])
    is_read = np.ones(new.height, dtype=np.bool_) if batch.is_valid is None else batch.is_valid
    is_read = is_read & ~np.isnan(labels)
    batch = batch.rows(is_read if batch.is_valid is None else is_read[batch.is_valid])
    is_known = np.zeros(new.height, dtype=np.bool_)
    for rows in known:
        is_known[is_read] |= rows.contains(batch, labels[is_read], task)
    if not known:
        return new, []
    is_left_out, notes = recognized(
        is_known, known[0], name="new rows", holder=f"{live.version} was trained and scored on", use="uses"
    )
    return new.filter(pl.Series(~is_left_out)), notes


def with_sample_weights(name: str | None, old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return new rows whose missing weights are the mean of the old rows' weights, and a note if there are any."""
    if name is None:
        return new, []
    weights = plain_series(new[name]).cast(pl.Float64, strict=False) if name in new.columns else None
    n_missing = new.height if weights is None else new[name].null_count()
    if not n_missing:
        return new, []
    mean = float(np.nanmean(plain_series(old[name]).cast(pl.Float64, strict=False).to_numpy()))
    filled = pl.lit(mean).alias(name) if weights is None else weights.fill_null(mean)
    note = f"{name}: {n_missing:,} new rows have no weight, and count {mean:.4g} each, the mean of the old rows"
    return new.with_columns(filled), [note]


def join_rows(old: pl.DataFrame, new: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return old rows followed by new ones; a column with different types becomes numbers, or else text.

    New rows need not have the columns that are no features: their values are missing there.

    Raises
    ------
    RetrainingError: the new rows lack a feature.
    """
    needed = {schema.target.name, *(column.name for column in schema.features)}
    for name in [name for name in old.columns if name not in new.columns]:
        if name in needed:
            raise RetrainingError(
                f"the new rows have no column {name!r}", hint="give rows with the columns of the training table"
            )
        new = new.with_columns(pl.lit(None, dtype=old[name].dtype).alias(name))
    pairs = [_same_type(old[name], new[name], schema.by_name.get(name)) for name in old.columns]
    return pl.concat([pl.DataFrame([first for first, _ in pairs]), pl.DataFrame([second for _, second in pairs])])


def _same_type(old: pl.Series, new: pl.Series, column: Column | None) -> tuple[pl.Series, pl.Series]:
    if old.dtype == new.dtype:
        return old, new
    if column is not None and column.kind in NUMERIC_KINDS:
        # As text, the number 1.234 would be read by the column's rules, where a point may separate thousands.
        lenient = replace(column, nullable=True, range=None)
        (first, faults), (second, more_faults) = read_series(lenient, old), read_series(lenient, new)
        if not faults and not more_faults:
            return _as_numbers(old.name, first), _as_numbers(new.name, second)
    return _as_text(old), _as_text(new)


def _as_numbers(name: str, values: Floats) -> pl.Series:
    return pl.Series(name, values[:, 0]).fill_nan(None)


def _as_text(values: pl.Series) -> pl.Series:
    """Return values as text; whole numbers without a fraction."""
    if values.dtype.is_float() and (values.drop_nulls() % 1 == 0).all():
        values = values.cast(pl.Int64)
    return values.cast(pl.String)
