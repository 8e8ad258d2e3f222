"""Tables over HTTP, for large batches: CSV, Arrow IPC and Parquet as request and response bodies."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from estimator.data.schema import Batch
from estimator.errors import MissingExtraError, RequestError, needs_extra
from estimator.prediction_log import row_id
from estimator.serving.service import PredictionResponse, Service
from estimator.store.predictor import prediction_columns

CSV = "text/csv"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
MEDIA_TYPES = (CSV, ARROW_STREAM, ARROW_FILE, PARQUET)


def table_type(content_type: str) -> str | None:
    """Return which of `MEDIA_TYPES` a Content-Type header names; None for JSON.

    Raises
    ------
    RequestError: the header names an encoding other than UTF-8.
    """
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise RequestError(415, f"content-type: expected UTF-8, got charset {charset!r}")
    media_type = media_type.strip().lower()
    return media_type if media_type in MEDIA_TYPES else None


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


def read_batch(service: Service, body: bytes, media_type: str) -> Batch:
    """Return the rows of a table, validated.

    Raises
    ------
    RequestError: the body is not such a table, is empty, or has too many rows.
    RowError: rows violate the schema.
    """
    try:
        with needs_extra("batch", f"reading {media_type}"):
            import polars as pl

            from estimator.data.schema.frames import read_frame
    except MissingExtraError as error:
        raise RequestError(415, error.message) from error
    max_rows = service.serving.max_rows
    readers: Mapping[str, Callable[[Any], Any]] = {
        CSV: lambda file: pl.read_csv(file, infer_schema=False, n_rows=max_rows + 1, truncate_ragged_lines=False),
        ARROW_STREAM: lambda file: pl.read_ipc_stream(file, n_rows=max_rows + 1),
        ARROW_FILE: lambda file: pl.read_ipc(file, n_rows=max_rows + 1),
        PARQUET: lambda file: pl.read_parquet(file, n_rows=max_rows + 1),
    }
    try:
        frame = readers[media_type](io.BytesIO(body))
    # A damaged file can make polars panic, and PanicException is not an Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise RequestError(422, f"the body is not valid {media_type}: {str(error).splitlines()[0]:.200}") from None
    if frame.is_empty():
        raise RequestError(422, "expected at least one row, got none")
    if frame.height > max_rows:
        raise RequestError(413, f"expected at most {max_rows:,} rows, got more")
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
