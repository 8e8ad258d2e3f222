"""Tables over HTTP, for large batches: CSV, Arrow IPC and Parquet as request and response bodies."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import Response

from estimator.data.schema import Batch
from estimator.data.sources.base import ReadOptions
from estimator.errors import MissingExtraError, RequestError, needs_extra
from estimator.prediction_log import row_id
from estimator.serving.canary import is_for_canary, respond_by_version
from estimator.serving.request_body import JSON
from estimator.serving.service import PredictionResponse, Service
from estimator.serving.table_process import TableLimits, TableProcess, read_body
from estimator.serving.telemetry.exchange import Exchange
from estimator.store.predictor import prediction_columns

if TYPE_CHECKING:
    import polars as pl

CSV = "text/csv"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
# Media type -> the kind of source that reads it.
KINDS: Mapping[str, str] = {CSV: "csv", ARROW_STREAM: "arrow", ARROW_FILE: "arrow", PARQUET: "parquet"}
MEDIA_TYPES = tuple(KINDS)
TABLES = TableProcess()
# What no body in JSON is labeled with: workbooks, archives, forms with files.
UNREAD = (
    "application/csv",
    "text/tab-separated-values",
    "application/vnd.",
    "application/zip",
    "application/gzip",
    "application/x-gzip",
    "multipart/",
)


def table_type(content_type: str) -> str | None:
    """Return which of `MEDIA_TYPES` a Content-Type header names; None for JSON.

    Raises
    ------
    RequestError: the header names a format that is not read, an encoding other than UTF-8 for JSON, or an unknown one
        for CSV.
    """
    media_type, charset = content_type.partition(";")[0].strip().lower(), charset_of(content_type)
    if media_type == CSV and charset is not None:
        try:
            "x".encode(charset)
        except (LookupError, UnicodeError):
            raise RequestError(415, f"content-type: no encoding is called {charset!r}") from None
    elif charset not in (None, "utf-8", "utf8", "us-ascii"):
        raise RequestError(415, f"content-type: expected UTF-8, got charset {charset!r}")
    is_json = media_type.endswith("json")
    if media_type not in MEDIA_TYPES and media_type.startswith(UNREAD) and not is_json:
        raise RequestError(415, f"content-type: expected JSON, {', '.join(MEDIA_TYPES)}, got {media_type!r:.100}")
    return media_type if media_type in MEDIA_TYPES else None


def charset_of(content_type: str) -> str | None:
    """Return the encoding that a Content-Type header names; None if it names none.

    >>> charset_of('text/csv; charset="ISO-8859-1"')
    'iso-8859-1'
    """
    parameters = content_type.partition(";")[2].lower()
    return parameters.partition("charset=")[2].partition(";")[0].strip(' "') or None


def accepted_type(accept: str) -> str | None:
    """Return which of `MEDIA_TYPES` an Accept header prefers to JSON; None for JSON."""
    for item in accept.split(","):
        media_type, _, parameters = item.partition(";")
        media_type = media_type.strip().lower()
        if media_type in MEDIA_TYPES and "q=0" not in parameters.replace(" ", "").split(";"):
            return media_type
        if media_type in ("application/json", "*/*"):
            break
    return None


def respond_to_table(
    service: Service, body: bytes, sent: tuple[str | None, str | None], wanted_type: str | None, exchange: Exchange
) -> Response:
    """Predict rows that are sent as a table, by type and charset, or wanted as one; a type of None is JSON."""
    sent_type, charset = sent
    frame: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    if sent_type is None:
        by_canary = is_for_canary(service, body, exchange.id)
    else:
        frame, notes = read_table(service, body, sent_type, charset)
        row = next(frame.head(1).iter_rows(named=True), {})
        by_canary = service.canary is not None and service.canary.traffic.includes_row(row, exchange.id)

    def respond(version: Service) -> Response:
        batch = version.read(body)[1] if frame is None else read_batch(version, frame)
        response, content = predict_table(version, batch, exchange.id, wanted_type)
        rows = version.rows_to_log(body) if frame is None else rows_as_json(version, batch)
        exchange.set_response(version, rows, response)
        # A header holds ASCII, and JSON can write any text in it.
        headers = {"x-notes": json.dumps(notes)} if notes else None
        return Response(content, media_type=wanted_type or JSON, headers=headers)

    return respond_by_version(service, by_canary=by_canary, exchange=exchange, respond=respond)


def read_table(
    service: Service, body: bytes, media_type: str, charset: str | None = None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return a table, and the notes on how it was read: as `estimator predict` reads a file.

    Raises
    ------
    RequestError: the body is not such a table, is empty, or has too many rows.
    """
    try:
        with needs_extra("batch", f"reading {media_type}"):
            import polars  # noqa: F401 # only whether it is there
    except MissingExtraError as error:
        raise RequestError(415, error.message) from error
    serving = service.serving
    limits = TableLimits(serving.max_rows, serving.max_body_bytes)
    if media_type == CSV:
        options = ReadOptions.of(service.artefact.config["data"])
        options = replace(options, encoding=charset or options.encoding, on_bad_lines="error")
        frame, notes = read_body(body, KINDS[media_type], limits, options)
    else:
        frame, notes = TABLES.read(body, KINDS[media_type], limits, timeout_seconds=serving.request_timeout_seconds)
    return frame, tuple(notes)


def read_batch(service: Service, frame: pl.DataFrame) -> Batch:
    """Return the rows of a table, validated.

    Raises
    ------
    RowError: rows violate the schema.
    """
    from estimator.data.schema.frames import read_frame

    return read_frame(service.artefact.schema, frame)


def predict_table(
    service: Service, batch: Batch, request_id: str, media_type: str | None
) -> tuple[PredictionResponse, bytes]:
    """Return the response as JSON, for the log, and the body to send; a media type of None is JSON."""
    predictions = service.artefact.predictor.predict_finite(batch)
    response = service.full_response(batch, predictions, request_id)
    if media_type is None:
        return response, response.body
    import polars as pl

    ids = {"id": [row_id(request_id, index) for index in range(batch.n_rows)]}
    columns = {name: values.tolist() for name, values in prediction_columns(predictions).items()}
    frame, file = pl.DataFrame({**ids, **columns}), io.BytesIO()
    writers: Mapping[str, Callable[[Any], object]] = {
        CSV: frame.write_csv,
        ARROW_STREAM: frame.write_ipc_stream,
        ARROW_FILE: frame.write_ipc,
        PARQUET: frame.write_parquet,
    }
    writers[media_type](file)
    return response, file.getvalue()


def rows_as_json(service: Service, batch: Batch) -> bytes:
    """Return the rows of a batch as a client would send them in JSON, for the log."""
    return msgspec.json.encode([service.artefact.schema.to_json_row(batch, index) for index in range(batch.n_rows)])
