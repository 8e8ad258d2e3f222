"""The bytes of a request -> rows or labels; invalid ones -> the JSON of an error response."""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from fastapi import Request

from estimator.data.schema.schema import MAX_FAULTS
from estimator.errors import Fault, RequestError, RowError
from estimator.prediction_log import Label

JsonRows = Sequence[Any]
MAX_VALUE_CHARACTERS = 200


async def read_body(request: Request, max_bytes: int, timeout_seconds: float) -> bytes:
    """Return a request's body, decompressed; stop reading as soon as it is too large or too slow.

    Raises
    ------
    RequestError: the body is too large, too slow, or in an unknown encoding.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise RequestError(415, f"content-encoding: expected identity or gzip, got {encoding!r}")
    length = request.headers.get("content-length", "0")
    too_large = RequestError(413, f"expected a body of at most {max_bytes:,} bytes")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    chunks, n_bytes = [], 0
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                n_bytes += len(chunk)
                if n_bytes > max_bytes:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise RequestError(408, f"expected the whole body within {timeout_seconds:g} s") from None
    body = b"".join(chunks)
    return body if encoding == "identity" else _gunzip(body, max_bytes)


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """Return the content of a gzip file; a small file that holds gigabytes never fills the memory."""
    decompressor = zlib.decompressobj(wbits=31)
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RequestError(422, f"the body is not valid gzip: {error}") from None
    if len(content) > max_bytes:
        raise RequestError(413, f"expected a body of at most {max_bytes:,} bytes after decompression")
    if not decompressor.eof or decompressor.unused_data:
        raise RequestError(422, "the body is not valid gzip: it is truncated, or data follows its end")
    return content


def read_rows(body: bytes, *, max_rows: int) -> JsonRows:
    """Return the rows of a JSON body: a list of objects, or one object with a list per column.

    NaN and Infinity are not JSON; they are parsed nevertheless, so that the error can name row and column.

    >>> read_rows(b'{"rooms": [3, 4], "city": ["Oslo", "Bergen"]}', max_rows=10)
    [{'rooms': 3, 'city': 'Oslo'}, {'rooms': 4, 'city': 'Bergen'}]

    Raises
    ------
    RequestError: the body is not JSON, not a list of rows, empty, or has too many rows.
    RowError: a value is NaN or Infinity, or a row names a column twice.
    """
    rows = _decode(body)
    _check_duplicate_keys(body, rows)
    if b"\\u" in body and not _is_encodable(rows):
        raise RequestError(422, "the body holds a lone surrogate, which is half of a character")
    if isinstance(rows, dict):
        rows = _rows_of_columns(rows)
    if not isinstance(rows, list):
        raise RequestError(422, f"expected a list of rows, got {json.dumps(rows)[:80]}")
    if not rows:
        raise RequestError(422, "expected at least one row, got an empty list")
    if len(rows) > max_rows:
        raise RequestError(413, f"expected at most {max_rows:,} rows, got {len(rows):,}")
    return rows


def as_row_list(body: bytes) -> bytes:
    """Return a valid body as a JSON list of rows, whichever of the two forms it has.

    >>> as_row_list(b'{"rooms": [3, 4], "city": ["Oslo", "Bergen"]}')
    b'[{"rooms":3,"city":"Oslo"},{"rooms":4,"city":"Bergen"}]'
    """
    if body.lstrip().startswith(b"["):
        return body
    return msgspec.json.encode(_rows_of_columns(msgspec.json.decode(body)))


def read_labels(body: bytes, *, max_rows: int) -> list[Label]:
    """Return the labels of a JSON body: a list of {"id": ..., "label": ...}.

    >>> read_labels(b'[{"id": "4f1c2a-0", "label": 21.5}]', max_rows=10)
    [Label(id='4f1c2a-0', label=21.5)]

    Raises
    ------
    RequestError: the body has another form, is empty, or has too many labels.
    """
    try:
        labels = msgspec.json.decode(body, type=list[Label])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise RequestError(422, f'expected a list of {{"id": ..., "label": ...}}: {error}') from None
    if not labels:
        raise RequestError(422, "expected at least one label, got an empty list")
    if len(labels) > max_rows:
        raise RequestError(413, f"expected at most {max_rows:,} labels, got {len(labels):,}")
    return labels


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        problem = str(error)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(422, f"the body is not JSON: {problem}" if body else "the body is empty") from None
    faults = list(_non_finite_values(content)) if isinstance(content, list) else []
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))
    return content


def _rows_of_columns(columns: dict[str, Any]) -> list[dict[str, Any]]:
    if not columns or not all(isinstance(values, list) for values in columns.values()):
        raise RequestError(422, "expected a list of rows, or an object with a list per column; put one row in [ ]")
    lengths = {name: len(values) for name, values in columns.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[shortest] != lengths[longest]:
        raise RequestError(
            422,
            f"expected columns of the same length, got {lengths[shortest]:,} values in {shortest!r} "
            f"and {lengths[longest]:,} in {longest!r}",
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _check_duplicate_keys(body: bytes, rows: Any) -> None:
    """Raise where a row, or the body, names a column twice: a JSON decoder would silently keep the last value.

    Raises
    ------
    RowError: a column is named twice.
    """
    if _has_only_expected_quotes(body, rows):
        return
    try:
        content = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return
    objects: list[Any] = [content] if isinstance(content, _Pairs) else content if isinstance(content, list) else []
    faults = [
        Fault(number, name, None, "this column is given twice")
        for number, row in enumerate(objects, start=1)
        if isinstance(row, _Pairs)
        for name, count in Counter(name for name, _ in row).items()
        if count > 1
    ]
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))


def _has_only_expected_quotes(body: bytes, rows: Any) -> bool:
    """Whether the body has two quotes per key and text, so that no key can be there twice."""
    if isinstance(rows, dict):
        lists = [values for values in rows.values() if isinstance(values, list)]
        n_texts = sum(isinstance(value, str) for values in lists for value in values)
        return body.count(b'"') == 2 * (len(rows) + n_texts)
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        n_texts = sum(isinstance(value, str) for row in rows for value in row.values())
        return body.count(b'"') == 2 * (sum(map(len, rows)) + n_texts)
    return False


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, duplicates included."""


def _is_encodable(rows: object) -> bool:
    """Whether every text in the rows can be encoded as UTF-8 again."""
    try:
        msgspec.json.encode(rows)
    except UnicodeEncodeError:
        return False
    return True


def _non_finite_values(rows: JsonRows) -> Iterator[Fault]:
    for number, row in enumerate(rows, start=1):
        for column, value in row.items() if isinstance(row, dict) else ():
            if isinstance(value, float) and not math.isfinite(value):
                message = f"expected a finite number or null, got {value}, which JSON does not allow"
                yield Fault(number, column, value, message)


def row_error_content(error: RowError) -> dict[str, Any]:
    """Return the content of a 422 response that names row, column and value, in FastAPI's format."""
    return {"detail": [_detail(fault) for fault in error.faults], **({"hint": error.hint} if error.hint else {})}


def request_error_content(error: RequestError) -> dict[str, Any]:
    """Return the content of the response to a request that is rejected as a whole, in FastAPI's format."""
    return {"detail": [{"loc": ["body"], "msg": error.message, "type": error.reason}]}


def _detail(fault: Fault) -> dict[str, Any]:
    location = ["body", fault.row - 1, *([fault.column] if fault.column is not None else [])]
    return {
        "loc": location,
        "msg": str(fault),
        "type": "schema",
        "row": fault.row,
        "column": fault.column,
        "value": _as_json(fault.value),
    }


def _as_json(value: object) -> object:
    """Return a value as JSON allows it; other values, and long ones, as a short text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 3]}..."
