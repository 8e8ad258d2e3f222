"""The bytes of a request -> rows; invalid ones -> the JSON of an error response."""

from __future__ import annotations

import asyncio
import codecs
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from fastapi import Request

from estimator.data.schema.schema import MAX_FAULTS
from estimator.errors import Fault, RequestError, RowError
from estimator.serving.request_forms import rows_of, tables_in

JsonRows = Sequence[Any]
JSON = "application/json"
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


def json_text(body: bytes) -> bytes:
    """Return a JSON body without a byte order mark, which RFC 8259 lets a reader ignore.

    >>> json_text(b'\\xef\\xbb\\xbf[1]')
    b'[1]'

    Raises
    ------
    RequestError: the body is not UTF-8.
    """
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in body[:4]:
        raise RequestError(400, "the body is not UTF-8 but seems to be UTF-16 or UTF-32; send JSON as UTF-8")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise RequestError(400, f"the body is not UTF-8, from byte {error.start:,} on") from None
    return body.removeprefix(codecs.BOM_UTF8)


def read_rows(body: bytes, *, max_rows: int) -> JsonRows:
    """Return the rows of a JSON body, in any of the forms of `rows_of`.

    NaN and Infinity are not JSON; they are parsed nevertheless, so that the error can name row and column.

    >>> read_rows(b'{"rooms": [3, 4], "city": ["Oslo", "Bergen"]}', max_rows=10)
    [{'rooms': 3, 'city': 'Oslo'}, {'rooms': 4, 'city': 'Bergen'}]

    Raises
    ------
    RequestError: the body is not JSON, has no rows, or too many.
    RowError: a value is NaN or Infinity, or a row names a column twice.
    """
    content, is_strict = read_json(body)
    rows = rows_of(content)
    if not is_strict:
        raise_faults(non_finite_values(rows))
    if not _has_only_expected_quotes(body, content):
        raise_faults(repeated_keys(body))
    if not rows:
        raise RequestError(422, "expected at least one row, got an empty list")
    if len(rows) > max_rows:
        raise RequestError(413, f"expected at most {max_rows:,} rows, got {len(rows):,}")
    return rows


def as_row_list(body: bytes) -> bytes:
    """Return a valid body as a JSON list of rows, whichever of the forms it has.

    >>> as_row_list(b'{"rooms": [3, 4], "city": ["Oslo", "Bergen"]}')
    b'[{"rooms":3,"city":"Oslo"},{"rooms":4,"city":"Bergen"}]'
    """
    if body.lstrip().startswith(b"["):
        return body
    return msgspec.json.encode(rows_of(msgspec.json.decode(body)))


def read_json(body: bytes) -> tuple[Any, bool]:
    """Return the content of a JSON body, and whether it is strict JSON: it may hold NaN, Infinity or 1e999 if not.

    Raises
    ------
    RequestError: the body is not JSON, or cannot be sent back.
    """
    is_strict = True
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        is_strict, problem = False, str(error)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            if not body:
                raise RequestError(422, "the body is empty") from None
            is_table = body.lstrip()[:1] not in (b"[", b"{")
            hint = "; a table is read with a header such as Content-Type: text/csv" if is_table else ""
            raise RequestError(422, f"the body is not JSON: {problem}{hint}") from None
    if (not is_strict or b"\\u" in body) and not _is_encodable(content):
        raise RequestError(422, "the body holds a lone surrogate, which is half of a character")
    return content, is_strict


def raise_faults(faults: Iterable[Fault]) -> None:
    """Raise the RowError of the faults, if there are any."""
    found = list(faults)
    if found:
        raise RowError(found[:MAX_FAULTS], n_faults=len(found))


def repeated_keys(body: bytes) -> Iterator[Fault]:
    """Yield where a row, or the body, names a column twice: a JSON decoder would silently keep the last value."""
    try:
        content = json.loads(body, object_pairs_hook=_Object.of)
    except (ValueError, RecursionError):
        return
    for table in tables_in(content):
        yield from (_repeated(1, name) for name in table.repeated) if isinstance(table, _Object) else ()
    for number, row in enumerate(rows_of(content), start=1):
        yield from (_repeated(number, name) for name in row.repeated) if isinstance(row, _Object) else ()


def _repeated(row: int, column: str) -> Fault:
    return Fault(row, column, None, "this column is given twice")


def _has_only_expected_quotes(body: bytes, content: Any) -> bool:
    """Whether the body has two quotes per key and text, so that no key can be there twice."""
    if isinstance(content, dict):
        lists = [values for values in content.values() if isinstance(values, list)]
        n_texts = sum(isinstance(value, str) for values in lists for value in values)
        return body.count(b'"') == 2 * (len(content) + n_texts)
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        n_texts = sum(isinstance(value, str) for row in content for value in row.values())
        return body.count(b'"') == 2 * (sum(map(len, content)) + n_texts)
    return False


class _Object(dict[str, Any]):
    """A JSON object, and the keys that it has twice."""

    repeated: Sequence[str] = ()

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, Any]]) -> _Object:
        made = cls(pairs)
        if len(made) < len(pairs):
            made.repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        return made


def _is_encodable(rows: object) -> bool:
    """Whether every text in the rows can be encoded as UTF-8 again."""
    try:
        msgspec.json.encode(rows)
    except UnicodeEncodeError:
        return False
    return True


def non_finite_values(rows: JsonRows) -> Iterator[Fault]:
    """Yield the cells that hold NaN or Infinity, at any depth."""
    for number, row in enumerate(rows, start=1):
        for column, cell in row.items() if isinstance(row, dict) else [(None, row)]:
            for value in _numbers_in(cell):
                if not math.isfinite(value):
                    message = f"expected a finite number or null, got {value}, which JSON does not allow"
                    yield Fault(number, column, value, message)


def _numbers_in(cell: Any) -> Iterator[float]:
    if isinstance(cell, float):
        yield cell
    elif isinstance(cell, dict | list):
        for value in cell.values() if isinstance(cell, dict) else cell:
            yield from _numbers_in(value)


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
