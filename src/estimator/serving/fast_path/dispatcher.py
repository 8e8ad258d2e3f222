"""Requests of all connections -> batches for the fast path; access, metrics and the log as for any other request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from estimator.serving.auth.access import Rejection
from estimator.serving.auth.keys import ApiKey
from estimator.serving.canary import is_for_canary
from estimator.serving.fast_path.http_head import RequestHead
from estimator.serving.fast_path.predict import MAX_BLOCK_ROWS, fast_predictor
from estimator.serving.gateway import Gateway
from estimator.serving.routes import BatchHandler, FastRoute, PredictionRequest, Route
from estimator.serving.service import PredictionResponse, new_request_id
from estimator.serving.telemetry.exchange import Exchange

logger = logging.getLogger("estimator.serving")

# The id of a request and the body of its response; None when FastAPI has to handle the request, by the same id.
FastResponse = tuple[str, bytes | None]


class AdmittedRequest(NamedTuple):
    """A request that the fast path may handle, and whose key it brought."""

    fast_route: FastRoute
    key: ApiKey | None
    traceparent: bytes | None


class _PendingRequest(NamedTuple):
    admitted: AdmittedRequest
    request: PredictionRequest
    send: Callable[[FastResponse], None]
    started: float


def build_fast_routes(routes: Sequence[Route]) -> dict[str, FastRoute]:
    """Return the routes that have a fast path, by URL path."""
    live = _handlers(routes)
    canaries = [
        route._replace(service=route.service.canary.service) for route in routes if route.service.canary is not None
    ]
    routes_of_canaries = {
        # What the canary's own fast path cannot take, FastAPI lets it predict.
        route.path: FastRoute(route, handler or _decline)
        for route, handler in _handlers(canaries)
    }
    return {
        route.path: FastRoute(route, handler, routes_of_canaries.get(route.path))
        for route, handler in live
        if handler is not None
    }


def _handlers(routes: Sequence[Route]) -> list[tuple[Route, BatchHandler | None]]:
    """Return routes with their handlers, which those of one model share."""
    services = {route.service.artefact.name: route.service for route in routes}
    predictors = {name: fast_predictor(service) for name, service in services.items()}
    by_route = [(route, predictors[route.service.artefact.name]) for route in routes]
    return [
        (route, None if predictor is None else predictor.handler(route.response_format))
        for route, predictor in by_route
    ]


def _decline(requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
    return [None] * len(requests)


class Dispatcher:
    """Hands requests to the fast routes of a gateway. One per process, used by its event loop alone."""

    def __init__(self, gateway: Gateway) -> None:
        self.request_timeout_seconds = gateway.request_timeout_seconds
        self._gateway, self._access, self._recorder = gateway, gateway.access, gateway.recorder
        self._pending: list[_PendingRequest] = []

    def admit(self, head: RequestHead) -> AdmittedRequest | None:
        """Return the request if the fast path may handle it; None when the gateway has to."""
        snapshot = self._gateway.snapshot
        fast_route = snapshot.fast_routes.get(head.path)
        if fast_route is None or head.content_length > snapshot.max_fast_bytes or self._recorder.is_full:
            return None
        key = self._access.check(head.credential, head.path)
        return None if isinstance(key, Rejection) else AdmittedRequest(fast_route, key, head.traceparent)

    def submit(self, admitted: AdmittedRequest, body: bytes, send: Callable[[FastResponse], None]) -> None:
        """Handle a request once the loop has read what else has arrived; a lone request does not wait."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self.flush)
        self._pending.append(self._begin(admitted, body, send))

    def respond(self, admitted: AdmittedRequest, body: bytes) -> FastResponse:
        """Handle a request alone, now."""
        responses: list[FastResponse] = []
        pending = self._begin(admitted, body, responses.append)
        self._handle(pending.admitted.fast_route.handler, [pending])
        return responses[0]

    def flush(self) -> None:
        """Handle all pending requests, those of one route together, in batches that one run of a graph can take."""
        pending, self._pending = self._pending, []
        by_handler: dict[BatchHandler, list[_PendingRequest]] = {}
        for item in pending:
            by_handler.setdefault(item.admitted.fast_route.handler, []).append(item)
        for handler, items in by_handler.items():
            for start in range(0, len(items), MAX_BLOCK_ROWS):
                self._handle(handler, items[start : start + MAX_BLOCK_ROWS])

    def _begin(self, admitted: AdmittedRequest, body: bytes, send: Callable[[FastResponse], None]) -> _PendingRequest:
        self._access.spend(admitted.key)
        pending = _PendingRequest(admitted, PredictionRequest(body, new_request_id()), send, time.perf_counter())
        return pending if admitted.fast_route.canary is None else _by_version(pending, admitted.fast_route.canary)

    def _handle(self, handler: BatchHandler, pending: Sequence[_PendingRequest]) -> None:
        responses: Sequence[PredictionResponse | None] = [None] * len(pending)
        try:
            responses = handler([item.request for item in pending])
        except Exception:
            logger.exception("the fast path failed; FastAPI handles the requests")
        for item, response in zip(pending, responses, strict=True):
            sent: FastResponse = item.request.id, None
            if response is None:
                self._access.refund(item.admitted.key)
            else:
                self._record(item, response)
                sent = item.request.id, response.body
            try:
                item.send(sent)
            except Exception:
                # One broken connection must not keep the others from their responses.
                logger.exception("a response could not be sent")

    def _record(self, item: _PendingRequest, response: PredictionResponse) -> None:
        (fast_route, key, traceparent), (body, request_id) = item.admitted, item.request
        key_name = None if key is None else key.name
        exchange = Exchange(request_id, time.time(), "POST", fast_route.route.path, key_name, 200)
        exchange.set_response(fast_route.route.service, body, response)
        exchange.traceparent = None if traceparent is None else traceparent.decode("latin-1")
        exchange.duration_seconds = time.perf_counter() - item.started
        self._recorder.record(exchange)


def _by_version(pending: _PendingRequest, canary: FastRoute) -> _PendingRequest:
    """Return a request with the route of the version that is to predict it."""
    admitted, request = pending.admitted, pending.request
    if not is_for_canary(admitted.fast_route.route.service, request.body, request.id):
        return pending
    return pending._replace(admitted=admitted._replace(fast_route=canary))
