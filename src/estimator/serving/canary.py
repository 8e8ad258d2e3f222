"""A canary: another version predicts a share of the requests, and the live version those on which it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from estimator.serving.service import Service
from estimator.serving.telemetry.exchange import Exchange

logger = logging.getLogger("estimator.serving")
Response = TypeVar("Response")


def is_for_canary(service: Service, body: bytes, request_id: str) -> bool:
    """Whether the canary of a service is to predict a request with a body in JSON."""
    return service.canary is not None and service.canary.traffic.includes(body, request_id)


def respond_by_version(
    service: Service, *, by_canary: bool, exchange: Exchange, respond: Callable[[Service], Response]
) -> Response:
    """Return the response of the canary or of the live version, `service`.

    Where the canary raises anything, the live version responds or raises in its place. Only what it can predict counts
    as the canary's failure: other requests are invalid.
    """
    canary = service.canary
    if canary is None or not by_canary:
        return respond(service)
    try:
        return respond(canary.service)
    except Exception as error:
        response = respond(service)
        exchange.failed_version = canary.service.artefact.version
        # The message may quote values, and these do not belong in the server's log.
        fields = {"version": exchange.failed_version, "request_id": exchange.id, "error": type(error).__name__}
        logger.warning("the canary failed on a request, and the live version predicted it", extra={"fields": fields})
        return response
