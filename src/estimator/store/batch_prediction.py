"""Batch prediction: read a source in batches, predict each row, write the predictions in the same order."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import accumulate, islice
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Indices, Mask
from estimator.core.lock import locked
from estimator.core.task import Predictions
from estimator.core.text import did_you_mean, join_names
from estimator.data.sample_weights import read_sample_weights
from estimator.data.schema import Batch
from estimator.data.schema.frames import read_frame, select_columns, with_schema_names
from estimator.data.sinks import Sink, SinkPlan
from estimator.data.sources.base import FileSource, Source, with_composed_names
from estimator.data.target import read_labels
from estimator.errors import Fault, RowError, SchemaError, SourceError
from estimator.store.artefact import Artefact
from estimator.store.partial_output import MAX_FAULTS, BatchSummary, PartialOutput
from estimator.store.predictor import Predictor, prediction_columns

# Batches per part. A part is the unit of progress: an interrupted run repeats at most one.
BATCHES_PER_PART = 4
# What the system, SQLite and PostgreSQL say of a full disk.
NO_SPACE = ("No space left", "disk is full", "could not extend file")


def predict_source(
    predictor: Predictor,
    source: Source,
    sink: Sink,
    *,
    keep: Sequence[str] = (),
    invalid_as_missing: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> BatchSummary:
    """Predict every row of a source and write the predictions to a sink, atomically and with bounded memory.

    The columns `keep` of the source are copied, as they were read, before the predictions; the schema need not know
    them. With `invalid_as_missing`, a row that breaks the schema gets a missing prediction and is counted; otherwise it
    stops the run. `progress` receives the number of rows so far.

    Predictions are saved in parts next to the output while the run lasts. After an interruption, the same call (same
    version, rows and options) resumes after the last part; if all rows were written, it writes none again.

    Raises
    ------
    RowError: a row breaks the schema.
    SourceError: the output cannot be written, another process is predicting into it, or a column of `keep` does not
    exist.
    """
    _check_output(sink, source)
    purpose = "predicting into it"
    parts: PartialOutput | None = None
    try:
        with locked(sink.parts_path, purpose=purpose, name=sink.name, timeout_seconds=0, error_type=SourceError):
            parts = PartialOutput(sink, _rows_id(predictor, source, [*keep, invalid_as_missing]))
            summary = parts.summary
            if not parts.is_finished:
                sink.check_existing()
                summary = _predict_parts(predictor, source, parts, keep, invalid_as_missing, progress)
                sink.write(parts.paths, parts.attempt)
            parts.finish(summary)
    except (pl.exceptions.PolarsError, OSError, SourceError) as error:
        if not any(text in str(error) for text in NO_SPACE):
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{sink.name}: cannot be written: {error}") from error
        kept = "" if parts is None else parts.kept_after_failure()
        raise SourceError(
            f"{sink.name}: cannot be written: no space left on the device",
            hint=f"free some space, and run the same command again{kept}",
        ) from error
    return summary


@dataclass(frozen=True, slots=True)
class PredictionPlan:
    """What predictions would do to an output; `n_rows` is their number, None where only reading all rows gives it."""

    sink: SinkPlan
    n_rows: int | None


def plan_source(
    predictor: Predictor, source: Source, sink: Sink, *, keep: Sequence[str] = (), invalid_as_missing: bool = False
) -> PredictionPlan:
    """Return what `predict_source` would do, from the first batch of rows, which is predicted; nothing is written.

    Raises
    ------
    RowError, SourceError: as for `predict_source`; later rows may still break the schema.
    """
    _check_output(sink, source)
    frames = map(with_composed_names, source.batches())
    first = next(frames)
    _, table = _frame_predictor(predictor, source, sink, keep, invalid_as_missing)(first, 0)
    n_rows = first.height if next(frames, None) is None else None
    return PredictionPlan(sink.plan(table.schema), n_rows)


class LabeledRows(NamedTuple):
    """The rows of a table that have a label, their labels as numbers or class codes, and their numbers from 1.

    `sample_weights` are those of the version's column of weights, all 1 in a table without that column.
    """

    batch: Batch
    labels: Floats
    numbers: Indices
    sample_weights: Floats

    def take(self, mask: Mask) -> LabeledRows:
        """Return the rows of a mask."""
        return LabeledRows(self.batch.rows(mask), self.labels[mask], self.numbers[mask], self.sample_weights[mask])


def labeled_rows(artefact: Artefact, frame: pl.DataFrame) -> LabeledRows:
    """Return the rows of a table that have a label, which is read as the target was read in training.

    Raises
    ------
    SchemaError: the target is not in the table, no row has a label, or a weight is no number of at least 0.
    RowError: a label is no value of the version's target.
    """
    schema, weight_column = artefact.schema, artefact.config["data"].get("sample_weight")
    frame = with_schema_names(schema, frame)
    if schema.target.name not in frame.columns:
        raise SchemaError(
            f"the table has no column {schema.target.name!r}, the target",
            hint=did_you_mean(schema.target.name, frame.columns),
        )
    labels, faults = read_labels(artefact.target_reader, frame[schema.target.name])
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults), hint="mend these labels, or leave the rows out")
    has_label = ~np.isnan(labels)
    if not has_label.any():
        raise SchemaError(f"no row has a label in {schema.target.name!r}")
    # All rows are read, so that faults have the numbers of the table's rows.
    batch = read_frame(schema, frame, drop_faulty=True)
    faults = [fault for fault in batch.faults if has_label[fault.row - 1]]
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))
    is_read = has_label if batch.is_valid is None else has_label[batch.is_valid]
    numbers = np.flatnonzero(has_label) + 1
    weight_column = weight_column if weight_column in frame.columns else None
    weights = read_sample_weights(weight_column, frame.filter(pl.Series(has_label)), numbers)
    if not weights.any():
        raise SchemaError(
            f"data.sample_weight: column {weight_column!r}: all weights are 0, so there is nothing to score",
            hint="give some rows a weight of more than 0, or leave out the column to weigh all rows alike",
        )
    return LabeledRows(batch.rows(is_read), labels[has_label], numbers, weights)


def _rows_id(predictor: Predictor, source: Source, options: Sequence[str | bool]) -> str:
    """Return a hash of everything that decides the predictions."""
    read_as = type(source).__name__
    if isinstance(source, FileSource):
        if len(source.paths) < len(source.files):
            # A stream cannot be read again.
            return secrets.token_hex(8)
        read_as += repr(source.options)
    scratch = Path(gettempdir()).resolve()
    paths = [path.resolve() for path in source.paths]
    if paths and not any(path.is_relative_to(scratch) for path in paths):
        files: object = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    else:
        # What is copied from elsewhere has other paths and times each time: the rows themselves are known again.
        files = source.fingerprint()
    content = [files, read_as, repr(predictor.schema), options, BATCHES_PER_PART, version("estimator-lifepath")]
    return hashlib.sha256(predictor.graph + json.dumps(content).encode()).hexdigest()[:16]


def _predict_parts(
    predictor: Predictor,
    source: Source,
    parts: PartialOutput,
    keep: Sequence[str],
    invalid_as_missing: bool,
    progress: Callable[[int], None],
) -> BatchSummary:
    """Predict the rows after those of `parts`, and add them to it."""
    summary = parts.summary
    predict_frame = _frame_predictor(predictor, source, parts.sink, keep, invalid_as_missing)
    frames = islice(map(with_composed_names, source.batches()), parts.n_parts * BATCHES_PER_PART, None)
    # Threads help: reading and onnxruntime release the interpreter lock.
    with ThreadPoolExecutor(min(BATCHES_PER_PART, os.cpu_count() or 1)) as threads:
        while part := list(islice(frames, BATCHES_PER_PART)):
            tables = []
            starts = accumulate((frame.height for frame in part), initial=summary.rows)
            try:
                for predicted, table in threads.map(predict_frame, part, starts):
                    tables.append(table)
                    summary = summary.plus(predicted)
                    progress(summary.rows)
            except RowError:
                parts.discard()
                raise
            parts.add(pl.concat(tables), summary)
    return summary


def _check_output(sink: Sink, source: Source) -> None:
    sink.check()
    if sink.parts_path.resolve() in {path.resolve() for path in source.paths}:
        raise SourceError(f"{sink.name}: the output is also the input", hint="choose another file for the predictions")


def _frame_predictor(
    predictor: Predictor, source: Source, sink: Sink, keep: Sequence[str], invalid_as_missing: bool
) -> Callable[[pl.DataFrame, int], tuple[BatchSummary, pl.DataFrame]]:
    """Return a function of a batch and the number of rows before it, which returns the rows to write for it."""
    not_in_schema = [name for name in keep if predictor.schema.resolve(name) is None]

    def predict_frame(frame: pl.DataFrame, rows_before: int) -> tuple[BatchSummary, pl.DataFrame]:
        rows = select_columns(frame, [name for name in frame.columns if name not in not_in_schema])
        batch = read_frame(predictor.schema, rows, first_row=rows_before + 1, drop_faulty=invalid_as_missing)
        batch = _without_bad_rows(batch, source, rows_before, frame.height)
        batch, predictions = _predicted(predictor, batch, rows_before + 1, drop_faulty=invalid_as_missing)
        keys = _key_columns(frame, keep, source, rows_before if sink.numbers_rows else None)
        table = _side_by_side(keys, _prediction_table(batch, predictions, frame.height))
        return BatchSummary.of(predictor.schema, frame, batch), table

    return predict_frame


def _without_bad_rows(batch: Batch, source: Source, rows_before: int, n_rows: int) -> Batch:
    """Return a batch without the rows that stand for lines that cannot be read; each is a fault."""
    bad = {
        row: reason
        for row, reason in (source.bad_rows.items() if isinstance(source, FileSource) else ())
        if rows_before <= row < rows_before + n_rows
    }
    if not bad:
        return batch
    was_valid = np.ones(n_rows, dtype=np.bool_) if batch.is_valid is None else batch.is_valid
    is_valid = was_valid.copy()
    is_valid[[row - rows_before for row in bad]] = False
    faults = [fault for fault in batch.faults if fault.row - 1 not in bad]
    faults += [Fault(row + 1, None, None, reason) for row, reason in bad.items()]
    kept = is_valid[was_valid]
    return Batch(
        {name: values[kept] for name, values in batch.feed.items()},
        int(is_valid.sum()),
        tuple(sorted(faults, key=lambda fault: fault.row)),
        is_valid,
    )


def _key_columns(frame: pl.DataFrame, keep: Sequence[str], source: Source, rows_before: int | None) -> pl.DataFrame:
    """Return the columns that identify rows: `keep`, or else their numbers from 1 where the sink has no order."""
    for name in keep:
        if name not in frame.columns:
            where = str(source.paths[0]) if source.paths else "the table"
            raise SourceError(f"{where}: no column {name!r} to keep", hint=did_you_mean(name, frame.columns))
    if keep or rows_before is None:
        return select_columns(frame, keep)
    return pl.DataFrame({"row": np.arange(rows_before + 1, rows_before + 1 + frame.height)})


def _side_by_side(keys: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
    if clash := set(keys.columns) & set(predictions.columns):
        raise SourceError(
            f"cannot keep {join_names(map(repr, clash))}: the predictions have a column of that name",
            hint="rename it in the input",
        )
    return pl.concat([keys, predictions], how="horizontal")


def _predicted(predictor: Predictor, batch: Batch, first_row: int, *, drop_faulty: bool) -> tuple[Batch, Predictions]:
    """Return the rows and their predictions; a row whose prediction is not finite breaks the run, or is dropped."""
    predictions = predictor.predict_batch(batch)
    positions = np.arange(batch.n_rows) if batch.is_valid is None else np.flatnonzero(batch.is_valid)
    faults = predictor.non_finite(batch, predictions, positions + first_row)
    if not faults:
        return batch, predictions
    if not drop_faulty:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))
    is_finite = predictions.is_finite
    is_valid = np.ones(batch.n_rows, dtype=np.bool_) if batch.is_valid is None else batch.is_valid.copy()
    is_valid[positions[~is_finite]] = False
    all_faults = tuple(sorted([*batch.faults, *faults], key=lambda fault: fault.row))
    return replace(batch.rows(is_finite), faults=all_faults, is_valid=is_valid), predictions.rows(is_finite)


def _prediction_table(batch: Batch, predictions: Predictions, n_rows: int) -> pl.DataFrame:
    """Return predictions for `n_rows` rows, missing where `batch` left a row out."""
    columns = prediction_columns(predictions)
    series = {name: _series(values) for name, values in columns.items()}
    if batch.is_valid is None:
        return pl.DataFrame(series)
    indices = np.flatnonzero(batch.is_valid)
    return pl.DataFrame({name: _scattered(values, indices, n_rows) for name, values in series.items()})


def _series(values: npt.NDArray[np.generic]) -> pl.Series:
    return pl.Series(values.tolist(), dtype=pl.String) if values.dtype == object else pl.Series(values)


def _scattered(values: pl.Series, indices: Indices, n_rows: int) -> pl.Series:
    missing = pl.Series([None] * n_rows, dtype=values.dtype)
    return missing.scatter(indices, values) if len(indices) else missing
