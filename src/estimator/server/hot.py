"""The hot path: the body of a predict request -> the body of its answer, without a framework.

What comes back is, byte for byte, what `Service` would answer; whatever is unusual in a request gets None, and the
app answers it. Nothing here knows of HTTP: the functions can be replaced one for one.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from estimator.server.reading import Read, Reader, echo
from estimator.server.service import Reply, Service
from estimator.task import Answers

# A body and the name of its request -> the answer, or None. For one thread.
Answer = Callable[[bytes, str], Reply | None]


def hot_path(service: Service) -> Hot | None:
    """Return the hot path of a version; None when a column's name cannot be decoded at once."""
    try:
        return Hot(service)
    except ValueError:
        return None


class Hot:
    """Answers bodies with one preallocated row, or an array per column when there are more."""

    def __init__(self, service: Service) -> None:
        self._service, self._predictor = service, service.artefact.predictor
        self._reader = Reader(service.artefact.schema)
        self._row = self._predictor.one_row(self._reader.numbers)
        self._encode = msgspec.json.Encoder().encode

    def predict(self, body: bytes, named: str) -> Reply | None:
        """Answer in full, as `Service.predict` does."""
        found = self._answered(body)
        if found is None:
            return None
        read, answers, outside = found
        return Reply(self._encode(self._service.told(answers, outside, named)), len(read.rows), outside)

    def tutorial(self, body: bytes, named: str) -> Reply | None:
        """Answer as the tutorial's service does; the request's name is not in it."""
        found = self._answered(body)
        if found is None:
            return None
        read, answers, outside = found
        predictions = self._encode(self._service.labelled(answers))
        told = b'{"inputData":%b,"predictions":%b}' % (echo(body, read.rows), predictions)
        return Reply(told, len(read.rows), outside)

    def _answered(self, body: bytes) -> tuple[Read, Answers, list[list[str]]] | None:
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
        return read, self._predictor.answers_of(outputs), self._reader.outside(read, feed)
