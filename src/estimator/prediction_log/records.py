"""What is written down: a request and its answer as bytes, and the rows that they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that was answered: `at` in seconds since 1970, the rows asked and the answer as JSON bytes.

    `rows` is a JSON list of objects, `answer` what was sent back. Nothing is read of them until they are written.
    """

    at: float
    model: str
    version: str
    rows: bytes
    answer: bytes

    @property
    def size(self) -> int:
        """Bytes that it keeps in memory."""
        return len(self.rows) + len(self.answer)


@dataclass(frozen=True, slots=True)
class Logged:
    """One row that was asked and what it was answered; `truth` is None until it is known, and `truth_at` when it came.

    `answer` holds "prediction" and, where the version gives them, "interval", "probabilities", "set" and "outside".
    """

    id: str
    at: float
    model: str
    version: str
    inputs: Mapping[str, Any]
    answer: Mapping[str, Any]
    truth: float | str | None = None
    truth_at: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """The truth of one answer, by its id."""

    id: str
    truth: float | str


def records_of(entry: Entry, private: Collection[str] = ()) -> list[Logged]:
    """Return the rows of an entry; columns that are private are left out, and rows without an id are given one."""
    rows = msgspec.json.decode(entry.rows)
    answers = msgspec.json.decode(entry.answer)["predictions"]
    return [
        _record(entry, {name: value for name, value in row.items() if name not in private}, answer)
        for row, answer in zip(rows, answers, strict=True)
    ]


def _record(entry: Entry, inputs: Mapping[str, Any], answer: dict[str, Any]) -> Logged:
    if "prediction" in answer:
        named = str(answer.pop("id"))
        return Logged(named, entry.at, entry.model, entry.version, inputs, answer)
    # The tutorial's form: one value under a label with the row's number.
    (value,) = answer.values()
    return Logged(uuid4().hex, entry.at, entry.model, entry.version, inputs, {"prediction": value})
