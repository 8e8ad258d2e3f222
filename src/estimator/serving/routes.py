"""What a server serves: its services, and the URL paths under which each one predicts and shows its schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from estimator.prediction_log import PredictionLog
from estimator.serving.auth.session import Sessions
from estimator.serving.service import PredictionResponse, ResponseFormat, Service
from estimator.serving.telemetry.recorder import RequestRecorder


class Route(NamedTuple):
    """A URL path that predicts rows."""

    path: str
    service: Service
    response_format: ResponseFormat


class PredictionRequest(NamedTuple):
    """The body of a predict request, and the id of the request."""

    body: bytes
    id: str


# Requests of one route -> a response for each, None where FastAPI has to handle the request. For one thread.
BatchHandler = Callable[[Sequence[PredictionRequest]], list[PredictionResponse | None]]


class FastRoute(NamedTuple):
    """A route, a function that handles its requests without FastAPI, and the same of its canary, if it has one."""

    route: Route
    handler: BatchHandler
    canary: FastRoute | None = None


@dataclass(frozen=True)
class ServerContext:
    """What an app is built from: its services, of which the first also has the short paths, and their recorder.

    `reload_errors` returns why the newest version of a model could not be loaded, by model; `connect_log` opens the
    prediction log. There are `sessions` of browsers where API keys are required.
    """

    services: Sequence[Service]
    recorder: RequestRecorder
    reload_errors: Callable[[], Mapping[str, str]] = dict
    connect_log: Callable[[], PredictionLog] | None = None
    sessions: Sessions | None = None

    def routes(self) -> dict[str, Route]:
        """Return the routes that predict rows, by path."""
        first, *_ = self.services
        full = ResponseFormat.FULL
        named = [Route(f"/v1/models/{service.artefact.name}/predict", service, full) for service in self.services]
        short = [Route("/v1/predict", first, full), Route("/v1/services/predict", first, ResponseFormat.TUTORIAL)]
        return {route.path: route for route in (*short, *named)}

    def schema_routes(self) -> dict[str, Service]:
        """Return the services whose schema is shown, by path."""
        named = {f"/v1/models/{service.artefact.name}/schema": service for service in self.services}
        return {"/v1/schema": self.services[0], **named}

    def explain_routes(self) -> dict[str, Service]:
        """Return the services whose predictions are explained, by path."""
        named = {f"/v1/models/{service.artefact.name}/explain": service for service in self.services}
        return {"/v1/explain": self.services[0], **named}

    def model_routes(self) -> dict[str, Service]:
        """Return the services by the path that shows which model each one is."""
        return {f"/v1/models/{service.artefact.name}": service for service in self.services}

    def find(self, model: str) -> Service | None:
        """Return the service of a model; None when it is not served here."""
        return next((service for service in self.services if service.artefact.name == model), None)
