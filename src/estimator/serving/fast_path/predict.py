"""Request bodies -> response bodies of the predict routes, without a framework.

A response is, byte for byte, what `Service` gives; an unusual body gets None, and FastAPI handles it. Requests of one
row each that arrive together share one run of the graph. This module does not depend on HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from estimator.core.task import Predictions
from estimator.graph.session import Feed
from estimator.prediction_log import row_id
from estimator.serving.fast_path.decode import BodyDecoder, DecodedBody, Row, echo
from estimator.serving.routes import BatchHandler, PredictionRequest
from estimator.serving.service import PredictionResponse, ResponseFormat, Service

# Up to this many rows are written into preallocated memory; more are passed as new arrays.
MAX_BLOCK_ROWS = 64


class _Predicted(NamedTuple):
    """Decoded requests, the predictions of all their rows, and each row's columns outside the training range."""

    requests: Sequence[PredictionRequest]
    bodies: Sequence[DecodedBody]
    predictions: Predictions
    out_of_range: list[list[str]]


def fast_predictor(service: Service) -> FastPredictor | None:
    """Return the fast path of a version; None when a column's name cannot be decoded fast."""
    try:
        return FastPredictor(service)
    except ValueError:
        return None


class FastPredictor:
    """Handles batches of request bodies of one version, in one thread."""

    def __init__(self, service: Service) -> None:
        self._service, self._predictor = service, service.artefact.predictor
        self._decoder = BodyDecoder(service.artefact.schema)
        self._block = self._predictor.block(self._decoder.numbers, MAX_BLOCK_ROWS)
        self._encode = msgspec.json.Encoder().encode

    def handler(self, response_format: ResponseFormat) -> BatchHandler:
        """Return the function that handles requests as `Service.respond` does in this format."""
        return self.respond_in_full if response_format is ResponseFormat.FULL else self.respond_as_tutorial

    def respond_in_full(self, requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
        """Return the responses in the full format; None for requests that FastAPI has to handle."""
        return self._respond(requests, self._full_responses)

    def respond_as_tutorial(self, requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
        """Return the responses in the tutorial's format; None for requests that FastAPI has to handle."""
        return self._respond(requests, self._tutorial_responses)

    def _respond(
        self, requests: Sequence[PredictionRequest], write: Callable[[_Predicted], Iterator[PredictionResponse | None]]
    ) -> list[PredictionResponse | None]:
        responses: list[PredictionResponse | None] = [None] * len(requests)
        decoded = [self._decode(request.body) for request in requests]
        for group in _groups(decoded):
            bodies = [body for index in group if (body := decoded[index]) is not None]
            rows = [row for body in bodies for row in body.rows]
            result = self._run(rows, in_range=all(body.in_range for body in bodies))
            if result is not None:
                written = write(_Predicted([requests[index] for index in group], bodies, *result))
                for index, response in zip(group, written, strict=True):
                    responses[index] = response
            elif len(group) > 1:
                # One body is invalid: try each alone, so that the others still get their predictions.
                for index in group:
                    (responses[index],) = self._respond([requests[index]], write)
        return responses

    def _decode(self, body: bytes) -> DecodedBody | None:
        decoded = self._decoder.decode(body) if len(body) <= self._service.serving.max_body_bytes else None
        if decoded is None or not 0 < len(decoded.rows) <= self._service.serving.max_rows:
            return None
        return decoded

    def _run(self, rows: Sequence[Row], *, in_range: bool) -> tuple[Predictions, list[list[str]]] | None:
        """Return the predictions, and each row's columns outside the training range; None when a cell is invalid."""
        feed: Feed | None
        if len(rows) <= MAX_BLOCK_ROWS:
            feed = self._block.cells
            if not self._decoder.fill(rows, self._block.numbers, feed):
                return None
            outputs = self._block.run(len(rows))
        else:
            feed = self._decoder.feed(rows)
            if feed is None:
                return None
            outputs = self._predictor.run(feed)
        return self._predictor.predictions_from(outputs), self._decoder.out_of_range(len(rows), feed, in_range=in_range)

    def _full_responses(self, predicted: _Predicted) -> Iterator[PredictionResponse | None]:
        ids = [
            row_id(request.id, index)
            for request, body in zip(predicted.requests, predicted.bodies, strict=True)
            for index in range(len(body.rows))
        ]
        rows = self._service.full_rows(predicted.predictions, predicted.out_of_range, ids)
        start = 0
        for body in predicted.bodies:
            stop = start + len(body.rows)
            content = self._encode(self._service.full_content(predicted.predictions, rows[start:stop]))
            yield _finite(content, PredictionResponse(content, stop - start, predicted.out_of_range[start:stop]))
            start = stop

    def _tutorial_responses(self, predicted: _Predicted) -> Iterator[PredictionResponse | None]:
        values = predicted.predictions.values.tolist()
        start = 0
        for request, body in zip(predicted.requests, predicted.bodies, strict=True):
            stop = start + len(body.rows)
            rows = self._encode(self._service.tutorial_rows(values[start:stop]))
            content = b'{"inputData":%b,"predictions":%b}' % (echo(request.body, body.rows), rows)
            yield _finite(rows, PredictionResponse(content, stop - start, predicted.out_of_range[start:stop]))
            start = stop


def _finite(predictions: bytes, response: PredictionResponse) -> PredictionResponse | None:
    """Return a response unless its predictions may not be finite: JSON has only null for these."""
    return None if b"null" in predictions else response


def _groups(bodies: Sequence[DecodedBody | None]) -> Iterator[list[int]]:
    """Yield the indices of requests that share a run: all requests of a single row, and each of the others alone."""
    singles = []
    for index, body in enumerate(bodies):
        if body is None:
            continue
        if len(body.rows) == 1:
            singles.append(index)
        else:
            yield [index]
    if singles:
        yield singles
