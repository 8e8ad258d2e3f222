"""Records of the prediction log: a request and its response as bytes, and the rows in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from estimator.core.credentials import may_hold_credential, redacted_data
from estimator.core.names import nfc
from estimator.prediction_log.columns import JSON


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A served request: its id, `at` in seconds since 1970, the rows of the request and the response as JSON bytes.

    `rows` is a JSON list of objects, `response` the body that was sent back. Both are parsed only when they are
    written; the columns in `private` are never stored, and what looks like a credential is stored as its fingerprint,
    unless that is `allowed`.
    """

    request_id: str
    at: float
    model: str
    version: str
    rows: bytes
    response: bytes
    private: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()

    @property
    def size_bytes(self) -> int:
        """Memory that the entry holds."""
        return len(self.rows) + len(self.response)


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One row of a request and the response to it; `label` and `labeled_at` are None until the label arrives.

    `response` holds "prediction" and, where the version gives them, "interval", "probabilities", "set" and
    "out_of_range".
    """

    id: str
    at: float
    model: str
    version: str
    inputs: Mapping[str, Any] = field(metadata=JSON)
    response: Mapping[str, Any] = field(metadata=JSON)
    label: float | str | bool | None = field(default=None, metadata=JSON)
    labeled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """The actual value of a prediction, by its id."""

    id: str
    label: float | str | bool


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """A label as it is stored, with the time of its arrival."""

    id: str
    labeled_at: float
    label: float | str | bool = field(metadata=JSON)


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """The response of a version that is not live to a row that the live version has served."""

    id: str
    version: str
    at: float
    response: Mapping[str, Any] = field(metadata=JSON)


def records_of(entry: LogEntry) -> list[PredictionRecord]:
    """Return the rows of an entry, without private columns."""
    rows = _decoded(entry.rows)
    if may_hold_credential(entry.rows):
        rows = redacted_data(rows, entry.allowed, assignments=False)
    responses = msgspec.json.decode(entry.response)["predictions"]
    return [
        PredictionRecord(
            id=row_id(entry.request_id, index),
            at=entry.at,
            model=entry.model,
            version=entry.version,
            inputs={name: value for written, value in row.items() if (name := nfc(written)) not in entry.private},
            response=_row_response(response),
        )
        for index, (row, response) in enumerate(zip(rows, responses, strict=True))
    ]


def _decoded(rows: bytes) -> Any:
    try:
        return msgspec.json.decode(rows)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Not strict JSON, such as NaN in a column that the schema ignores: half a character becomes a mark.
        text = rows.decode(json.detect_encoding(rows), errors="replace")
        return json.loads(text, parse_constant=str)


def row_id(request_id: str, index: int) -> str:
    """Return the id of a row: the request's id and the row's index in it, from 0.

    >>> row_id("4f1c2a", 0)
    '4f1c2a-0'
    """
    return f"{request_id}-{index}"


def _row_response(response: dict[str, Any]) -> dict[str, Any]:
    if "id" in response and "prediction" in response:
        return {name: value for name, value in response.items() if name != "id"}
    # The tutorial's form: one value, under a name that holds the row's number.
    (value,) = response.values()
    return {"prediction": value}
