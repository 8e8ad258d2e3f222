"""One request and its response, as telemetry records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from estimator.serving.service import PredictionResponse, Service


@dataclass(slots=True)
class Exchange:
    """A request and its response. Mutable: filled in while the request is handled; `at` in seconds since 1970.

    `route` is the path as the docs have it, so that there are few; `rows` and `response` are the JSON of a prediction.
    `asked_model` is the model of which a prediction was requested, also where the request is rejected.
    """

    id: str
    at: float
    method: str
    route: str
    key: str | None = None
    status: int = 0
    duration_seconds: float = 0.0
    rejection: str | None = None
    asked_model: str = ""
    model: str = ""
    version: str = ""
    n_rows: int = 0
    out_of_range: Sequence[Sequence[str]] = ()
    imputed: Sequence[Sequence[str]] = ()
    # A canary that failed, so that the live version predicted.
    failed_version: str | None = None
    rows: bytes | None = None
    response: bytes | None = None
    # The W3C trace context of the request.
    traceparent: str | None = None
    private: frozenset[str] = frozenset()
    allowed_credentials: frozenset[str] = frozenset()

    def set_response(self, service: Service, rows: bytes, response: PredictionResponse) -> None:
        """Set the response of a service to the rows of the request."""
        artefact = service.artefact
        self.model, self.version, self.private, self.rows = artefact.name, artefact.version, service.private, rows
        self.allowed_credentials = service.allowed_credentials
        self.response, self.n_rows, self.out_of_range, self.imputed = response

    def log_fields(self) -> dict[str, Any]:
        """Return the fields of an access log line, which hold no value of any row."""
        fields = {
            "request_id": self.id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "duration_ms": round(self.duration_seconds * 1000, 3),
            "rows": self.n_rows,
            "model": self.model,
            "version": self.version,
            "key": self.key,
            "rejection": self.rejection,
        }
        return {name: value for name, value in fields.items() if value not in (None, "")}
