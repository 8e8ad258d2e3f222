"""The FastAPI app: status, schema, predictions, labels and metrics."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse

from estimator.config import Monitoring
from estimator.core.clock import SECONDS_PER_DAY
from estimator.core.text import markdown
from estimator.data.schema.file import to_data
from estimator.errors import MonitoringError, RecordError, RequestError, RowError, SourceError
from estimator.serving.canary import is_for_canary, respond_by_version
from estimator.serving.labels import read_labels, store_labels
from estimator.serving.openapi import (
    ACCESS_RESPONSES,
    BODY_RESPONSES,
    LABELS_BODY,
    keep_nulls,
    prediction_responses,
    rows_body,
)
from estimator.serving.pages import PAGE_HEADERS, add_docs, add_model_page, with_sign_out
from estimator.serving.request_body import JSON, json_text, read_body, request_error_content, row_error_content
from estimator.serving.routes import Route, ServerContext
from estimator.serving.service import ResponseFormat, Service
from estimator.serving.sign_in import add_sign_in
from estimator.serving.tabular import MEDIA_TYPES, accepted_type, charset_of, respond_to_table, table_type
from estimator.serving.telemetry.exchange import Exchange
from estimator.serving.telemetry.metrics import CONTENT_TYPE
from estimator.store.store import store_of

# Longer bodies are handled in a thread, so that they do not delay other requests.
MAX_INLINE_BYTES = 100_000
MAX_DAYS = 36_500
MAX_EXPLAINED_ROWS = 100
NO_LOG = "this server has no prediction log: set serving.prediction_log"


def build_app(context: ServerContext) -> FastAPI:
    """Return the app. The scope of a request holds the `Exchange` that the app fills in.

    FastAPI caches every endpoint for ever, so all apps share the same functions, and these take the context from the
    request.
    """
    first = context.services[0]
    artefact = first.artefact
    target = markdown(artefact.schema.target.name)
    app = FastAPI(
        title=artefact.name,
        version=artefact.version,
        description=f"Predicts {target}. Rows are validated against the schema at /v1/schema.",
        docs_url=None,
        redoc_url=None,
        responses=ACCESS_RESPONSES,
    )
    app.state.context = context
    add_docs(app)
    add_model_page(app, artefact, first.serving)
    add_sign_in(app)
    _add_status(app)
    has_several = len(context.services) > 1
    for path in context.schema_routes():
        is_documented = has_several or path == "/v1/schema"
        app.add_api_route(path, schema, tags=["predict"], summary="Schema of the rows", include_in_schema=is_documented)
    for path in context.model_routes():
        app.add_api_route(path, model, tags=["status"], summary="Model and version", include_in_schema=has_several)
    for path, service in context.explain_routes().items():
        _add_explanation(app, path, service, is_documented=has_several or path == "/v1/explain")
    for index, route in enumerate(context.routes().values()):
        _add_prediction(app, route, is_documented=index < 2 or has_several)
    app.add_api_route(
        "/v1/labels",
        labels,
        methods=["POST"],
        tags=["labels"],
        summary="Send the actual values of earlier predictions, by id",
        openapi_extra=LABELS_BODY,
        responses={404: {"description": "The server has no prediction log"}, **BODY_RESPONSES},
    )
    services = {route.path: route.service for route in context.routes().values()} | context.explain_routes()
    keep_nulls(app, {path: rows for path, service in services.items() if (rows := service.example_rows) is not None})
    app.add_exception_handler(RowError, handle_row_error)
    app.add_exception_handler(RequestError, handle_request_error)
    app.add_exception_handler(SourceError, handle_log_error)
    app.add_exception_handler(RecordError, handle_record_error)
    app.add_exception_handler(Exception, handle_failure)
    return app


def _add_status(app: FastAPI) -> None:
    for path, endpoint, summary in (
        ("/", status, "Model and version"),
        ("/healthz", healthz, "Liveness: the process runs"),
        ("/readyz", readyz, "Readiness: the models are loaded and reproduce their golden rows"),
        ("/v1/models", models, "All models of this server"),
        ("/metrics/grafana.json", dashboard, "Grafana dashboard of the metrics"),
    ):
        app.add_api_route(path, endpoint, tags=["status"], summary=summary)
    app.add_api_route(
        "/metrics", metrics, tags=["status"], summary="Metrics for Prometheus", response_class=PlainTextResponse
    )
    app.add_api_route("/monitor", monitor, include_in_schema=False, response_class=HTMLResponse)


def _add_prediction(app: FastAPI, route: Route, *, is_documented: bool) -> None:
    service, example_response = route.service, None
    if (example_rows := service.example_rows) is not None:
        response = service.respond(msgspec.json.encode(example_rows), "example", route.response_format)
        example_response = msgspec.json.decode(response.body)
    is_full = route.response_format is ResponseFormat.FULL
    media_types = MEDIA_TYPES if is_full else ()
    app.add_api_route(
        route.path,
        predict,
        methods=["POST"],
        tags=["predict"],
        summary="Predict rows" if is_full else "Predict rows, in the tutorial's format",
        include_in_schema=is_documented,
        openapi_extra=rows_body(service.artefact.schema, example_rows, media_types, service.private),
        responses=prediction_responses(example_response, media_types),
    )


def _add_explanation(app: FastAPI, path: str, service: Service, *, is_documented: bool) -> None:
    app.add_api_route(
        path,
        explain,
        methods=["POST"],
        tags=["predict"],
        summary="Contributions of each column to predictions",
        include_in_schema=is_documented,
        openapi_extra=rows_body(service.artefact.schema, service.example_rows, (), service.private),
        responses={200: {"description": "One explanation per row, in order"}, **BODY_RESPONSES},
    )


def _context(request: Request) -> ServerContext:
    context: ServerContext = request.app.state.context
    return context


def _exchange(request: Request) -> Exchange:
    exchange: Exchange = request.scope["exchange"]
    return exchange


def _path(request: Request) -> str:
    """Return the path as the docs have it, also where the app is mounted below another path."""
    path: str = request.scope["route"].path
    return path


async def status(request: Request) -> dict[str, Any]:
    """Return the model that has the short paths, its version and its metrics, and the names of all models."""
    services = _context(request).services
    names = [service.artefact.name for service in services]
    return {"status": "ok", **_summary(services[0]), **({"models": names} if len(names) > 1 else {})}


async def healthz() -> dict[str, str]:
    """Return ok as long as the process runs, whatever state the models are in."""
    return {"status": "ok"}


async def readyz(request: Request) -> dict[str, Any]:
    """Return the version in use, and what is wrong, if anything is.

    `reload_errors` says, by model, why a newer version could not be loaded; `prediction_log` has the `error` for which
    it is not written, and the number of requests `set_aside` that it cannot hold.
    """
    context = _context(request)
    problems = {"reload_errors": context.reload_errors(), "prediction_log": context.recorder.log_problems}
    ready = {"status": "ready", "version": context.services[0].artefact.version}
    return {**ready, **{name: problem for name, problem in problems.items() if problem}}


async def models(request: Request) -> dict[str, Any]:
    """Return each model with its version and its metrics on the held-out rows."""
    return {"models": [_summary(service) for service in _context(request).services]}


async def model(request: Request) -> dict[str, Any]:
    """Return a model with its version and its metrics on the held-out rows."""
    return _summary(_context(request).model_routes()[_path(request)])


def _summary(service: Service) -> dict[str, Any]:
    manifest = service.artefact.manifest
    summary = {key: manifest[key] for key in ("name", "version", "created", "target", "task", "metrics")}
    return {**summary, "threshold": manifest["threshold"]} if "threshold" in manifest else summary


async def schema(request: Request) -> dict[str, Any]:
    """Return kind, range, categories and missing values of each column."""
    return to_data(_context(request).schema_routes()[_path(request)].artefact.schema)


async def metrics(request: Request) -> Response:
    """Return requests, durations, rows, rejections, values out of range and the state of the prediction log."""
    context = _context(request)
    services = [*context.services, *(service.canary.service for service in context.services if service.canary)]
    models = [(service.artefact.name, service.artefact.version) for service in services]
    text = context.recorder.exposition(models, n_stale_models=len(context.reload_errors()))
    return Response(text, media_type=CONTENT_TYPE)


async def dashboard() -> Response:
    """Return a dashboard that Grafana imports as it is."""
    return Response(files("estimator.serving.telemetry").joinpath("grafana.json").read_bytes(), media_type=JSON)


def monitor(request: Request) -> Response:
    """Return a page with the drift, predictions, losses and versions of the last days."""
    # A sixth of the time that a server needs to start, for a page that few ask for.
    from estimator.monitoring.overview import overview
    from estimator.monitoring.page import monitoring_page

    context = _context(request)
    if context.connect_log is None:
        raise RequestError(404, f"nothing to monitor: {NO_LOG}")
    name = request.query_params.get("model", context.services[0].artefact.name)
    service = context.find(name)
    if service is None:
        raise RequestError(404, f"no model {name!r} on this server")
    days = read_days(request.query_params.get("days", "7"))
    now = time.time()
    settings = Monitoring.model_validate(service.artefact.config.get("monitoring", {}))
    database = context.connect_log()
    try:
        moves = store_of(service.artefact.folder).history(name)
        content = overview(
            service.artefact, database, moves, settings, since=now - days * SECONDS_PER_DAY, until=now, with_check=False
        )
    except MonitoringError as error:
        raise RequestError(404, error.message) from None
    finally:
        database.close()
    return HTMLResponse(with_sign_out(request, monitoring_page(content)), headers=PAGE_HEADERS)


def read_days(text: str) -> float:
    """Return the number of days of a query parameter.

    >>> read_days("7")
    7.0

    Raises
    ------
    RequestError: the text is not a number of days.
    """
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0.0 < days <= MAX_DAYS:
        raise RequestError(422, f"days: expected a number of at most {MAX_DAYS:,}, such as 7, got {text!r:.40}")
    return days


async def predict(request: Request) -> Response:
    """Return one prediction per row, in order.

    Values outside the training range are accepted and reported; values that violate the schema are rejected with 422.
    """
    context, exchange = _context(request), _exchange(request)
    if context.recorder.is_full:
        raise RequestError(503, "the prediction log cannot keep up; try again")
    _, service, response_format = context.routes()[_path(request)]
    exchange.asked_model = service.artefact.name
    body = await read_body(request, service.serving.max_body_bytes, service.serving.request_timeout_seconds)
    sent_type = table_type(request.headers.get("content-type", ""))
    wanted_type = accepted_type(request.headers.get("accept", ""))
    if sent_type is None:
        body = json_text(body)
    if response_format is ResponseFormat.TUTORIAL:
        if sent_type is not None:
            raise RequestError(415, f"expected JSON, got {sent_type}; /v1/predict accepts tables")
    elif sent_type or wanted_type:
        charset = charset_of(request.headers.get("content-type", ""))
        return await run_in_threadpool(respond_to_table, service, body, (sent_type, charset), wanted_type, exchange)

    def respond() -> Response:
        by_canary = is_for_canary(service, body, exchange.id)
        respond_as = partial(_respond, body=body, response_format=response_format, exchange=exchange)
        return respond_by_version(service, by_canary=by_canary, exchange=exchange, respond=respond_as)

    return respond() if len(body) <= MAX_INLINE_BYTES else await run_in_threadpool(respond)


def _respond(service: Service, body: bytes, response_format: ResponseFormat, exchange: Exchange) -> Response:
    response = service.respond(body, exchange.id, response_format)
    exchange.set_response(service, service.rows_to_log(body), response)
    return Response(response.body, media_type=JSON)


async def explain(request: Request) -> Response:
    """Return, per row, what each column adds to the prediction, beginning with the largest contribution.

    Contributions are sampled Shapley values. With `baseline`, the mean prediction of the version's golden rows, they
    add up to the prediction, or to the probability of `class_name`.
    """
    service = _context(request).explain_routes()[_path(request)]
    body = await read_body(request, service.serving.max_body_bytes, service.serving.request_timeout_seconds)
    if table_type(request.headers.get("content-type", "")) is not None:
        raise RequestError(415, "expected JSON; only predictions accept tables")
    return await run_in_threadpool(_explain, service, json_text(body))


def _explain(service: Service, body: bytes) -> Response:
    # A seventh of the time that a server needs to start, for a route that few use.
    from estimator.serving.explain_prediction import explain_rows

    _, batch = service.read(body)
    if batch.n_rows > MAX_EXPLAINED_ROWS:
        raise RequestError(413, f"expected at most {MAX_EXPLAINED_ROWS:,} rows to explain, got {batch.n_rows:,}")
    predictions = service.artefact.predictor.predict_finite(batch).values.tolist()
    explanations = [
        {"prediction": prediction, **asdict(explanation)}
        for prediction, explanation in zip(predictions, explain_rows(service.artefact, batch), strict=True)
    ]
    content = {"model": service.artefact.name, "version": service.artefact.version, "explanations": explanations}
    return Response(msgspec.json.encode(content), media_type=JSON)


async def labels(request: Request) -> dict[str, int]:
    """Store labels, all of a body or none; return how many were received, match a logged prediction, or replaced one.

    Each is read as the target was read in training. A label may arrive before its prediction is written, and may be
    sent again: the last one counts, and a changed one is counted as replaced.
    """
    context = _context(request)
    serving = context.services[0].serving
    if context.recorder.writer is None:
        raise RequestError(404, f"labels cannot be stored: {NO_LOG}")
    body = await read_body(request, serving.max_body_bytes, serving.request_timeout_seconds)
    sent = read_labels(json_text(body), max_rows=serving.max_rows)
    return await run_in_threadpool(store_labels, context, sent, time.time())


async def handle_row_error(request: Request, error: Exception) -> Response:
    """Return 422 with row, column and value of each fault."""
    assert isinstance(error, RowError)
    _exchange(request).rejection = "schema"
    return Response(msgspec.json.encode(row_error_content(error)), status_code=422, media_type=JSON)


async def handle_request_error(request: Request, error: Exception) -> Response:
    """Return the status of a request that is rejected as a whole."""
    assert isinstance(error, RequestError)
    _exchange(request).rejection = error.reason
    return Response(msgspec.json.encode(request_error_content(error)), status_code=error.status, media_type=JSON)


async def handle_log_error(request: Request, _: Exception) -> Response:
    """Return 503 when the prediction log cannot be used."""
    return await handle_request_error(request, RequestError(503, "the prediction log is not available; try again"))


async def handle_record_error(request: Request, _: Exception) -> Response:
    """Return 422 when a label holds what the database of the prediction log cannot, such as a zero byte."""
    return await handle_request_error(request, RequestError(422, "the prediction log cannot hold a value of the body"))


async def handle_failure(request: Request, _: Exception) -> Response:
    """Return 500 and the request's id, but not the exception."""
    content = {"detail": "internal server error; see the server's log", "request_id": _exchange(request).id}
    return Response(msgspec.json.encode(content), status_code=500, media_type=JSON)
