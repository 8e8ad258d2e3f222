"""What is written into a table is what arrives, or it is named: checked on made tables of every kind."""

from __future__ import annotations

import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estimator.config import Serving
from estimator.core.text import join_names
from estimator.data.schema import Batch, Schema
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import TableChoices, infer_schema, scan_table, schema_from_scan
from estimator.data.schema.notes import check_values, scan_notes, unused_notes
from estimator.data.sources.base import with_composed_names
from estimator.data.sources.csv import Csv
from estimator.data.sources.files import MemoryFile
from estimator.data.sources.opener import open_source
from estimator.errors import EstimatorError
from estimator.serving.request_body import read_rows
from estimator.serving.tabular import ARROW_FILE, ARROW_STREAM, CSV, MEDIA_TYPES, PARQUET, read_batch, read_table
from tests.cruel_tables import WAYS, CruelTable, cruel_tables, csv_text

N_TABLES = int(os.environ.get("ESTIMATOR_CRUEL_TABLES", "150"))
WRITERS = {
    CSV: lambda frame, file: frame.write_csv(file),
    PARQUET: pl.DataFrame.write_parquet,
    ARROW_FILE: pl.DataFrame.write_ipc,
    ARROW_STREAM: pl.DataFrame.write_ipc_stream,
}
QUICK = settings(max_examples=N_TABLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


@QUICK
@given(table=cruel_tables(), way=st.sampled_from(sorted(WAYS)))
def test_what_is_written_arrives_or_is_named(table: CruelTable, way: str):
    with tempfile.TemporaryDirectory() as folder:
        address = WAYS[way](table, Path(folder))
        query = "rows" if address.startswith("sqlite") else None
        try:
            with open_source(address, query=query) as source:
                frame = source.frame()
            # Names are compared and kept as Unicode composes them.
            written = {unicodedata.normalize("NFC", name): cells for name, cells in table.columns.items()}
            assert frame.columns == list(written), (way, table.texts())
            choices = TableChoices(table.target)
            scan = scan_table(frame, choices)
            schema = schema_from_scan(scan, choices)
            check_values(scan, schema)
            batch = read_frame(schema, frame.drop(table.target))
        except EstimatorError as error:
            assert error.message
            return
    assert batch.n_rows == len(table.columns[table.target])
    notes = [*scan_notes(scan, schema), *unused_notes(schema, {}, scan)]
    for column in schema.columns:
        shown = join_names([column.name])
        about = [note for note in notes if column.name in note or shown in note]
        assert column.is_feature or about, (way, column, notes)
        for cell, reading in zip(written[column.name], batch.feed.get(column.name, ()), strict=False):
            is_named = reading[0] != reading[0] and any(repr(cell.text) in note for note in about)
            assert is_named or cell.accepts(reading[0], column.kind), (way, column, cell, reading, about)


def _from_csv(content: bytes) -> pl.DataFrame:
    return Csv((MemoryFile("the body", content),)).frame()


def _read(schema: Schema, read: Callable[[], Batch]) -> dict[str, list[Any]] | str:
    """Return the arrays that a way gives, or the sentence that it is rejected with."""
    try:
        batch = read()
    except EstimatorError as error:
        return error.message
    return {name: list(map(repr, values[:, 0].tolist())) for name, values in batch.feed.items()}


@QUICK
@given(table=cruel_tables())
def test_rows_are_read_as_frames_are(table: CruelTable):
    try:
        frame = with_composed_names(table.frame())
        schema = infer_schema(frame, frame.columns[-1])
    except EstimatorError:
        return
    frame = frame.drop(schema.target.name)
    assert _read(schema, lambda: read_frame(schema, frame)) == _read(schema, lambda: schema.read_rows(frame.to_dicts()))


@QUICK
@given(table=cruel_tables())
def test_requests_are_read_as_files_are(table: CruelTable):
    try:
        frame = with_composed_names(_from_csv(csv_text(table).encode()))
        schema = infer_schema(frame, frame.columns[-1])
    except EstimatorError:
        return
    texts = frame.drop(schema.target.name)
    from_file = _read(schema, lambda: read_frame(schema, texts))
    assert from_file == _read(
        schema, lambda: schema.read_rows(read_rows(json.dumps(texts.to_dicts()).encode(), max_rows=100))
    )


@QUICK
@given(table=cruel_tables(), media_type=st.sampled_from(MEDIA_TYPES))
def test_bodies_are_read_as_files_are(table: CruelTable, media_type: str):
    try:
        frame = with_composed_names(table.frame() if media_type != CSV else _from_csv(csv_text(table).encode()))
        schema = infer_schema(frame, frame.columns[-1])
    except EstimatorError:
        return
    features, file = frame.drop(schema.target.name), io.BytesIO()
    WRITERS[media_type](features, file)
    # Of a service, only what decides how a body is read.
    artefact = SimpleNamespace(schema=schema, config={"data": {}})
    service: Any = SimpleNamespace(artefact=artefact, serving=Serving())
    from_body = _read(schema, lambda: read_batch(service, read_table(service, file.getvalue(), media_type)[0]))
    as_file = (lambda: _from_csv(file.getvalue())) if media_type == CSV else (lambda: features)
    if from_body == "expected at least one row, got none":
        # Lines without a cell are no rows, and a request needs one.
        assert as_file().height == 0
    else:
        assert from_body == _read(schema, lambda: read_frame(schema, as_file()))
