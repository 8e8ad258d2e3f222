"""Bodies that are tables, for batches over HTTP: CSV, Arrow IPC and Parquet in, and out beside JSON."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from estimator.data.schema import Batch
from estimator.errors import MissingExtraError, needs_extra
from estimator.prediction_log import row_id
from estimator.serving.request_body import BodyError
from estimator.serving.service import Reply, Service
from estimator.store.predictor import prediction_columns

CSV, ARROW_STREAM, ARROW_FILE, PARQUET = (
    "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file",
    "application/vnd.apache.parquet",
)  # fmt: skip
MEDIA = (CSV, ARROW_STREAM, ARROW_FILE, PARQUET)


def table_type(content_type: str) -> str | None:
    """Return which of `MEDIA` a Content-Type means; None for JSON.

    Raises
    ------
    BodyError: it names an encoding other than UTF-8.
    """
    kind, _, rest = content_type.partition(";")
    encoding = rest.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if encoding not in ("", "utf-8", "utf8", "us-ascii"):
        raise BodyError(415, f"expected text in UTF-8, got charset {encoding!r}")
    kind = kind.strip().lower()
    return kind if kind in MEDIA else None


def answer_type(accept: str) -> str | None:
    """Return which of `MEDIA` an Accept asks for before JSON; None for JSON."""
    for item in accept.split(","):
        kind, _, rest = item.partition(";")
        if (kind := kind.strip().lower()) in MEDIA and "q=0" not in rest.replace(" ", "").split(";"):
            return kind
        if kind in ("application/json", "*/*"):
            break
    return None


def read_batch(service: Service, body: bytes, kind: str) -> Batch:
    """Return the rows of a table, checked.

    Raises
    ------
    BodyError: it is no such table, is empty, or holds too many rows.
    RowError: rows break the contract.
    """
    try:
        with needs_extra("batch", f"reading {kind}"):
            import polars as pl

            from estimator.data.schema.frames import read_frame
    except MissingExtraError as error:
        raise BodyError(415, error.message) from error
    limit = service.serving.max_rows
    readers: Mapping[str, Callable[[Any], Any]] = {
        CSV: lambda file: pl.read_csv(file, infer_schema=False, n_rows=limit + 1, truncate_ragged_lines=False),
        ARROW_STREAM: lambda file: pl.read_ipc_stream(file, n_rows=limit + 1),
        ARROW_FILE: lambda file: pl.read_ipc(file, n_rows=limit + 1),
        PARQUET: lambda file: pl.read_parquet(file, n_rows=limit + 1),
    }
    try:
        frame = readers[kind](io.BytesIO(body))
    # A polars that panics on a damaged file raises what is no Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise BodyError(422, f"the body is not {kind}: {str(error).splitlines()[0]:.200}") from None
    if frame.is_empty():
        raise BodyError(422, "expected at least one row, got none")
    if frame.height > limit:
        raise BodyError(413, f"expected at most {limit:,} rows, got more")
    return read_frame(service.artefact.schema, frame)


def predict_batch(service: Service, batch: Batch, name: str, kind: str | None) -> tuple[Reply, bytes]:
    """Return the answer as JSON and in the form that was asked for (None for JSON)."""
    answers, outside = service.artefact.predictor.predict_batch(batch), service.artefact.schema.out_of_range(batch)
    reply = service.reply(answers, outside, name)
    if kind is None:
        return reply, reply.body
    import polars as pl

    columns = {"id": [row_id(name, place) for place in range(batch.n_rows)]}
    told = {title: values.tolist() for title, values in prediction_columns(answers).items()}
    frame, file = pl.DataFrame({**columns, **told}), io.BytesIO()
    if kind == CSV:
        frame.write_csv(file)
    elif kind == PARQUET:
        frame.write_parquet(file)
    elif kind == ARROW_FILE:
        frame.write_ipc(file)
    else:
        frame.write_ipc_stream(file)
    return reply, file.getvalue()


def rows_as_json(service: Service, batch: Batch) -> bytes:
    """Return the rows of a batch as a client could send them in JSON."""
    return msgspec.json.encode([service.artefact.schema.to_json_row(batch, place) for place in range(batch.n_rows)])
