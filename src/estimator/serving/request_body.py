"""A request's bytes -> rows, and refusals -> what the client is told."""

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
from estimator.errors import Fault, RowError
from estimator.prediction_log import Label

Rows = Sequence[Any]


# What the counts call a refusal.
REASONS = {404: "unknown", 408: "slow", 413: "too large", 415: "type", 422: "body", 503: "log"}


class BodyError(Exception):
    """The request is refused as a whole, with a status of `REASONS`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, REASONS[status]


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return a request's body, giving up as soon as it is longer than the limit or takes longer than so many seconds.

    Raises
    ------
    BodyError: it is too long, too slow or packed.
    """
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("identity", "gzip"):
        raise BodyError(415, f"expected a body as it is or packed by gzip, got content-encoding {packed!r}")
    told = request.headers.get("content-length", "0")
    too_long = BodyError(413, f"expected a body of at most {limit:,} bytes")
    if told.isdecimal() and int(told) > limit:
        raise too_long
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_long
                parts.append(part)
    except TimeoutError:
        raise BodyError(408, f"expected the whole body within {seconds:g} s") from None
    body = b"".join(parts)
    return body if packed == "identity" else _unpacked(body, limit)


def _unpacked(body: bytes, limit: int) -> bytes:
    """Return what a gzip holds, and never more of it than the limit."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(body, limit + 1)
    except zlib.error as error:
        raise BodyError(422, f"the body is no gzip: {error}") from None
    if len(found) > limit:
        raise BodyError(413, f"expected a body of at most {limit:,} bytes when it is unpacked")
    if not unpacking.eof or unpacking.unused_data:
        raise BodyError(422, "the body is no whole gzip")
    return found


def read_rows(body: bytes, *, max_rows: int) -> Rows:
    """Return the rows of a JSON body, which lists rows, or values by column.

    NaN and Infinity are not JSON; they are read all the same, to name their row and column.

    Raises
    ------
    BodyError: not JSON, not a list of rows, empty, or too many.
    RowError: cells hold NaN or Infinity.
    """
    rows = _decoded(body)
    _refuse_twice(body, rows)
    if b"\\u" in body and not _is_text(rows):
        raise BodyError(422, "the body holds half of a character (a lone surrogate)")
    if isinstance(rows, dict):
        rows = _by_row(rows)
    if not isinstance(rows, list):
        raise BodyError(422, f"expected a list of rows, got {json.dumps(rows)[:80]}")
    if not rows:
        raise BodyError(422, "expected at least one row, got an empty list")
    if len(rows) > max_rows:
        raise BodyError(413, f"expected at most {max_rows:,} rows, got {len(rows):,}")
    return rows


def as_rows(body: bytes) -> bytes:
    """Return a body that was read as a list of rows, also when it gives values by column."""
    return body if body.lstrip().startswith(b"[") else msgspec.json.encode(_by_row(msgspec.json.decode(body)))


def read_labels(body: bytes, *, max_rows: int) -> list[Label]:
    """Return the truths of a JSON body: a list of {"id": ..., "label": ...}.

    Raises
    ------
    BodyError: it is something else, empty, or too long.
    """
    try:
        labels = msgspec.json.decode(body, type=list[Label])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BodyError(422, f'expected a list of {{"id": ..., "label": ...}}: {error}') from None
    if not labels:
        raise BodyError(422, "expected at least one truth, got an empty list")
    if len(labels) > max_rows:
        raise BodyError(413, f"expected at most {max_rows:,} truths, got {len(labels):,}")
    return labels


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        problem = str(error)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BodyError(422, f"the body is not JSON: {problem}" if body else "the body is empty") from None
    faults = list(_not_json(found)) if isinstance(found, list) else []
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))
    return found


def _by_row(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of columns, each a list."""
    if not columns or not all(isinstance(values, list) for values in columns.values()):
        raise BodyError(422, "expected a list of rows, or an object with a list per column; put one row in [ ]")
    lengths = {name: len(values) for name, values in columns.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[shortest] != lengths[longest]:
        raise BodyError(
            422,
            f"expected as many values in each column, got {lengths[shortest]:,} in {shortest!r} "
            f"and {lengths[longest]:,} in {longest!r}",
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _refuse_twice(body: bytes, rows: Any) -> None:
    """Refuse rows, or columns, that name a column twice: which of the two is meant, nobody can say.

    Raises
    ------
    RowError: there is one.
    """
    if isinstance(rows, dict):
        lists = [values for values in rows.values() if isinstance(values, list)]
        if body.count(b'"') == 2 * (len(rows) + sum(isinstance(value, str) for values in lists for value in values)):
            return
    elif isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        n_texts = sum(isinstance(value, str) for row in rows for value in row.values())
        if body.count(b'"') == 2 * (sum(map(len, rows)) + n_texts):
            # Two quotes per name and text, and no more: nothing is there twice.
            return
    try:
        found = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return
    objects: list[Any] = [found] if isinstance(found, _Pairs) else found if isinstance(found, list) else []
    faults = [
        Fault(number, name, None, "this column is given twice")
        for number, row in enumerate(objects, start=1)
        if isinstance(row, _Pairs)
        for name, times in Counter(name for name, _ in row).items()
        if times > 1
    ]
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written."""


def _is_text(rows: object) -> bool:
    """Whether every text in it can be written as UTF-8 again."""
    try:
        msgspec.json.encode(rows)
    except UnicodeEncodeError:
        return False
    return True


def _not_json(rows: Rows) -> Iterator[Fault]:
    """Yield the cells that only Python's own reader takes."""
    for number, row in enumerate(rows, start=1):
        for column, value in row.items() if isinstance(row, dict) else ():
            if isinstance(value, float) and not math.isfinite(value):
                yield Fault(
                    number, column, value, f"expected a value JSON can hold, got {value}; a gap is given as null"
                )


def refusal(error: RowError) -> dict[str, Any]:
    """Return what a client is told of rows that break the contract, in the form FastAPI uses."""
    return {"detail": [_detail(fault) for fault in error.faults], **({"hint": error.hint} if error.hint else {})}


def body_refusal(error: BodyError) -> dict[str, Any]:
    """Return what a client is told of a body that is refused as a whole."""
    return {"detail": [{"loc": ["body"], "msg": str(error), "type": "body"}]}


def _detail(fault: Fault) -> dict[str, Any]:
    place = ["body", fault.row - 1, *([fault.column] if fault.column is not None else [])]
    return {
        "loc": place,
        "msg": str(fault),
        "type": "schema",
        "row": fault.row,
        "column": fault.column,
        "value": _sendable(fault.value),
    }


def _sendable(value: object) -> object:
    """Return a value as JSON can hold it; what cannot be held, or is long, as short text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
