"""The FastAPI app of one version: status, schema, predictions and the tutorial's route."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from estimator.artefact import Artefact
from estimator.config import Serving
from estimator.errors import RowError
from estimator.schema.file import to_data
from estimator.server.bodies import BodyError, body_refusal, refusal
from estimator.server.documents import answer_document, body_document
from estimator.server.hot import hot_routes
from estimator.server.pages import add_pages
from estimator.server.service import PREDICT, TUTORIAL, Service

JSON = "application/json"
OPEN_PATHS = ("/", "/healthz", "/readyz")


def build_app(artefact: Artefact, serving: Serving, *, key: str | None = None) -> FastAPI:
    """Return the app; with a key, all routes but the status ones ask for it."""
    service = Service(artefact, serving)
    app = FastAPI(
        title=artefact.name,
        version=artefact.version,
        description=f"Predicts {artefact.manifest['target']}. Rows are held to the contract at /v1/schema.",
        docs_url=None,
        redoc_url=None,
    )
    add_pages(app)
    _add_status(app, service)
    _add_predictions(app, service, artefact.read_json("golden.json")["rows"])
    _add_refusals(app)
    if key is not None:
        _ask_for_key(app, key)
    # What a server may answer without asking the app; with a key, nothing.
    app.state.hot = hot_routes(service) if key is None else None
    return app


def _add_status(app: FastAPI, service: Service) -> None:
    artefact = service.artefact

    @app.get("/", tags=["status"], summary="What is served")
    async def status() -> dict[str, Any]:
        manifest = artefact.manifest
        told = {key: manifest[key] for key in ("name", "version", "created", "target", "task", "metrics")}
        return {"status": "ok", **told}

    @app.get("/healthz", tags=["status"], summary="The process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["status"], summary="The model is loaded and answers its golden rows")
    async def readyz() -> dict[str, str]:
        return {"status": "ready", "version": artefact.version}

    @app.get("/v1/schema", tags=["predict"], summary="The contract rows are held to")
    async def schema() -> dict[str, Any]:
        return to_data(artefact.schema)


def _add_predictions(app: FastAPI, service: Service, examples: Sequence[Mapping[str, Any]]) -> None:
    extra, body = body_document(service.artefact.schema, examples), msgspec.json.encode(examples[:1])

    @app.post(PREDICT, tags=["predict"], summary="Predict rows", openapi_extra=extra,
              responses=answer_document(service.predict(body)))  # fmt: skip
    async def predict(request: Request) -> Response:
        body = await read_body(request, service.serving.max_body_bytes)
        return Response(msgspec.json.encode(service.predict(body)), media_type=JSON)

    @app.post(
        TUTORIAL, tags=["predict"], summary="Predict rows, in the tutorial's form",
        openapi_extra=extra, responses=answer_document(service.tutorial(body)),
    )  # fmt: skip
    async def tutorial(request: Request) -> Response:
        body = await read_body(request, service.serving.max_body_bytes)
        return Response(msgspec.json.encode(service.tutorial(body)), media_type=JSON)


async def read_body(request: Request, limit: int) -> bytes:
    """Return a request's body, giving up as soon as it is longer than the limit.

    Raises
    ------
    BodyError: it is too long.
    """
    packed = request.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise BodyError(415, f"expected a body as it is, got content-encoding {packed!r}")
    told = request.headers.get("content-length", "0")
    too_long = BodyError(413, f"expected a body of at most {limit:,} bytes")
    if told.isdecimal() and int(told) > limit:
        raise too_long
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_long
        parts.append(part)
    return b"".join(parts)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RowError)
    async def rows(_: Request, error: RowError) -> Response:
        return Response(msgspec.json.encode(refusal(error)), status_code=422, media_type=JSON)

    @app.exception_handler(BodyError)
    async def body(_: Request, error: BodyError) -> Response:
        return Response(msgspec.json.encode(body_refusal(error)), status_code=error.status, media_type=JSON)


def _ask_for_key(app: FastAPI, key: str) -> None:
    @app.middleware("http")
    async def check(request: Request, call_next: Any) -> Response:
        header = request.headers.get("authorization", "")
        given = request.headers.get("x-api-key") or header.removeprefix("Bearer ")
        if request.url.path in OPEN_PATHS or hmac.compare_digest(given.encode(), key.encode()):
            response: Response = await call_next(request)
            return response
        refused = {"detail": "a key is needed: send it as X-API-Key or as a Bearer token"}
        return Response(
            msgspec.json.encode(refused), status_code=401, media_type=JSON, headers={"www-authenticate": "Bearer"}
        )
