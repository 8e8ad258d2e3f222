"""The hot path: the body of a predict request -> the body of its answer, without a framework.

What comes back is, byte for byte, what the routes of app.py would answer, but for the ids; whatever is unusual in a
request gets None, and the app answers it. Nothing here knows of HTTP: the functions can be replaced one for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from estimator.server.reading import Read, Reader, echo
from estimator.server.service import PREDICT, TUTORIAL, Service
from estimator.task import Answers

Answer = Callable[[bytes], bytes | None]


@dataclass(frozen=True)
class HotRoutes:
    """By path, what answers a POST's body of at most so many bytes, or gives None. For one thread."""

    answers: Mapping[str, Answer]
    max_body_bytes: int


def hot_routes(service: Service) -> HotRoutes:
    """Return the hot path of a version; it has no routes when a column's name cannot be decoded at once."""
    try:
        hot = Hot(service)
    except ValueError:
        return HotRoutes({}, 0)
    return HotRoutes({PREDICT: hot.predict, TUTORIAL: hot.tutorial}, service.serving.max_body_bytes)


class Hot:
    """Answers bodies with one preallocated row, or an array per column when there are more."""

    def __init__(self, service: Service) -> None:
        self._service, self._predictor = service, service.artefact.predictor
        self._reader = Reader(service.artefact.schema)
        self._row = self._predictor.one_row(self._reader.numbers)
        self._encode = msgspec.json.Encoder().encode

    def predict(self, body: bytes) -> bytes | None:
        """Answer in full, as `Service.predict` does."""
        found = self._answered(body)
        if found is None:
            return None
        _, answers, outside = found
        return self._encode(self._service.told(answers, outside))

    def tutorial(self, body: bytes) -> bytes | None:
        """Answer as the tutorial's service does."""
        found = self._answered(body, asks_outside=False)
        if found is None:
            return None
        read, answers, _ = found
        predictions = self._encode(self._service.labelled(answers))
        return b'{"inputData":%b,"predictions":%b}' % (echo(body, read.rows), predictions)

    def _answered(self, body: bytes, *, asks_outside: bool = True) -> tuple[Read, Answers, list[list[str]]] | None:
        read = self._reader.decode(body) if len(body) <= self._service.serving.max_body_bytes else None
        if read is None or not 0 < len(read.rows) <= self._service.serving.max_rows:
            return None
        if len(read.rows) == 1:
            feed, row = self._row.cells, self._row
            outputs = row.run() if self._reader.fill(read.rows[0], row.numbers, feed) else None
        else:
            table = self._reader.feed(read.rows)
            feed, outputs = table or {}, None if table is None else self._predictor.run(table)
        if outputs is None:
            return None
        return read, self._predictor.answers_of(outputs), self._reader.outside(read, feed) if asks_outside else []
