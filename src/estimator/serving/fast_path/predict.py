"""The hot path: bodies of predict requests -> bodies of their answers, without a framework.

What comes back for a body is, byte for byte, what `Service` would answer; whatever is unusual in a request gets None,
and the app answers it. Requests of one row each that came together are answered by one run of the graph, as the rows of
one request are. Nothing here knows of HTTP: the functions can be replaced one for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from estimator.core.task import Predictions
from estimator.graph.session import Feed
from estimator.prediction_log import row_id
from estimator.serving.fast_path.decode import Read, Reader, Row, echo
from estimator.serving.service import Reply, Service

# Rows that are answered in memory of their own; more are handed in as arrays.
BLOCK_ROWS = 64


class Asked(NamedTuple):
    """A body and the name of its request."""

    body: bytes
    name: str


# Requests -> an answer for each, or None. For one thread.
Answer = Callable[[Sequence[Asked]], list[Reply | None]]


class _Answered(NamedTuple):
    """Requests as read, what their rows were answered, and the columns of each row that training had not seen so."""

    asked: Sequence[Asked]
    reads: Sequence[Read]
    answers: Predictions
    outside: list[list[str]]


def hot_path(service: Service) -> Hot | None:
    """Return the hot path of a version; None when a column's name cannot be decoded at once."""
    try:
        return Hot(service)
    except ValueError:
        return None


class Hot:
    """Predictions bodies; few rows are written into preallocated memory."""

    def __init__(self, service: Service) -> None:
        self._service, self._predictor = service, service.artefact.predictor
        self._reader = Reader(service.artefact.schema)
        self._block = self._predictor.block(self._reader.numbers, BLOCK_ROWS)
        self._encode = msgspec.json.Encoder().encode

    def predict(self, asked: Sequence[Asked]) -> list[Reply | None]:
        """Answer in full, as `Service.predict` does."""
        return self._each(asked, self._in_full)

    def tutorial(self, asked: Sequence[Asked]) -> list[Reply | None]:
        """Answer as the tutorial's service does; the requests' names are not in it."""
        return self._each(asked, self._in_short)

    def _each(self, asked: Sequence[Asked], write: Callable[[_Answered], Iterator[Reply]]) -> list[Reply | None]:
        replies: list[Reply | None] = [None] * len(asked)
        reads = [self._read(each.body) for each in asked]
        for places in _together(reads):
            found = [read for place in places if (read := reads[place]) is not None]
            answered = self._run([row for read in found for row in read.rows], all(read.all_seen for read in found))
            if answered is not None:
                written = write(_Answered([asked[place] for place in places], found, *answered))
                for place, reply in zip(places, written, strict=True):
                    replies[place] = reply
            elif len(places) > 1:
                # One of them cannot be read, which is not to trouble the others.
                for place in places:
                    (replies[place],) = self._each([asked[place]], write)
        return replies

    def _read(self, body: bytes) -> Read | None:
        read = self._reader.decode(body) if len(body) <= self._service.serving.max_body_bytes else None
        return read if read is not None and 0 < len(read.rows) <= self._service.serving.max_rows else None

    def _run(self, rows: Sequence[Row], all_seen: bool) -> tuple[Predictions, list[list[str]]] | None:
        """Return the answers to rows, and what of them lies outside of training; None when not all can be read."""
        feed: Feed | None
        if len(rows) <= BLOCK_ROWS:
            feed = self._block.cells
            if not self._reader.fill(rows, self._block.numbers, feed):
                return None
            outputs = self._block.run(len(rows))
        else:
            feed = self._reader.feed(rows)
            if feed is None:
                return None
            outputs = self._predictor.run(feed)
        return self._predictor.predictions_from(outputs), self._reader.outside(len(rows), feed, all_seen=all_seen)

    def _in_full(self, found: _Answered) -> Iterator[Reply]:
        ids = [
            row_id(asked.name, place)
            for asked, read in zip(found.asked, found.reads, strict=True)
            for place in range(len(read.rows))
        ]
        rows = self._service.rows_told(found.answers, found.outside, ids)
        start = 0
        for read in found.reads:
            stop = start + len(read.rows)
            told = self._service.told(found.answers, rows[start:stop])
            yield Reply(self._encode(told), stop - start, found.outside[start:stop])
            start = stop

    def _in_short(self, found: _Answered) -> Iterator[Reply]:
        values = found.answers.values.tolist()
        start = 0
        for asked, read in zip(found.asked, found.reads, strict=True):
            stop = start + len(read.rows)
            predictions = self._encode(self._service.labelled(values[start:stop]))
            told = b'{"inputData":%b,"predictions":%b}' % (echo(asked.body, read.rows), predictions)
            yield Reply(told, stop - start, found.outside[start:stop])
            start = stop


def _together(reads: Sequence[Read | None]) -> Iterator[list[int]]:
    """Yield the places of requests that are answered by one run: all of a single row, and each of the others."""
    singles = []
    for place, read in enumerate(reads):
        if read is None:
            continue
        if len(read.rows) == 1:
            singles.append(place)
        else:
            yield [place]
    if singles:
        yield singles
