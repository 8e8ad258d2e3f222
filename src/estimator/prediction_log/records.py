"""What is written down: a request and its answer as bytes, and the rows that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that was answered: its name, `at` in seconds since 1970, the rows asked and the answer as JSON bytes.

    `rows` is a JSON list of objects, `answer` what was sent back. Nothing is read of them until they are written; what
    rows hold under the names in `private` never is.
    """

    name: str
    at: float
    model: str
    version: str
    rows: bytes
    answer: bytes
    private: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Bytes that it keeps in memory."""
        return len(self.rows) + len(self.answer)


@dataclass(frozen=True, slots=True)
class Logged:
    """One row that was asked and what it was answered; `truth` is None until it is known, and `truth_at` when it came.

    `answer` holds "prediction" and, where the version gives them, "interval", "probabilities", "set" and "out_of_range".
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
    """The actual value of a prediction, by its id."""

    id: str
    label: float | str


def records_of(entry: Entry) -> list[Logged]:
    """Return the rows of an entry, without what is private."""
    rows = msgspec.json.decode(entry.rows)
    answers = msgspec.json.decode(entry.answer)["predictions"]
    return [
        Logged(
            row_id(entry.name, place), entry.at, entry.model, entry.version,
            {name: value for name, value in row.items() if name not in entry.private}, _told(answer),
        )
        for place, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]  # fmt: skip


def row_id(request: str, place: int) -> str:
    """Return the id of a row: the name of its request and its place in it, from 0."""
    return f"{request}-{place}"


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    if "id" in answer and "prediction" in answer:
        return {name: value for name, value in answer.items() if name != "id"}
    # The tutorial's form: one value under a label with the row's number.
    (value,) = answer.values()
    return {"prediction": value}
