"""The FastAPI app of what is served: status, contract, predictions, truths, counts; every route but the hot ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse

from estimator.config import Monitoring
from estimator.data.schema.file import to_data
from estimator.errors import MonitoringError, RowError, SourceError
from estimator.prediction_log import PredictionLog
from estimator.serving.openapi import BODY_REFUSALS, LABELS_DOCUMENT, REFUSALS, answer_document, body_document
from estimator.serving.pages import PAGE_HEADERS, add_model_page, add_pages
from estimator.serving.request_body import BodyError, as_rows, body_refusal, read_body, read_labels, refusal
from estimator.serving.service import Reply, Service
from estimator.serving.tabular import MEDIA, answer_type, predict_batch, read_batch, rows_as_json, table_type
from estimator.serving.telemetry.exchange import Exchange, Ledger
from estimator.serving.telemetry.metrics import TEXT
from estimator.store.store import Store

JSON = "application/json"
# Longer bodies are answered in a thread, so that others need not wait.
AT_ONCE_BYTES = 100_000
MOST_DAYS = 36_500


class Route(NamedTuple):
    """A path that answers rows, by a method of a service: `predict` or `tutorial`."""

    path: str
    service: Service
    form: str


@dataclass(frozen=True)
class Front:
    """What an app is made of: services, of which the first has the short paths too, and who keeps the books.

    `faults` tells why a model's newest version could not be loaded, by the model's name; `log` opens the log.
    """

    services: Sequence[Service]
    ledger: Ledger
    faults: Callable[[], Mapping[str, str]] = dict
    log: Callable[[], PredictionLog] | None = None

    def routes(self) -> dict[str, Route]:
        """Return what answers rows, by path."""
        first, *_ = self.services
        named = [Route(f"/v1/models/{each.artefact.name}/predict", each, "predict") for each in self.services]
        short = [Route("/v1/predict", first, "predict"), Route("/v1/services/predict", first, "tutorial")]
        return {route.path: route for route in (*short, *named)}

    def schemas(self) -> dict[str, Service]:
        """Return the paths that tell a contract, and whose it is."""
        named = {f"/v1/models/{each.artefact.name}/schema": each for each in self.services}
        return {"/v1/schema": self.services[0], **named}


def build_app(front: Front) -> FastAPI:
    """Return the app. A request's scope holds the `Exchange` that it fills.

    FastAPI keeps every endpoint it has seen, so all apps have the same functions, which find theirs by the request.
    """
    first = front.services[0]
    artefact = first.artefact
    app = FastAPI(
        title=artefact.name,
        version=artefact.version,
        description=f"Predicts {artefact.manifest['target']}. Rows are held to the contract at /v1/schema.",
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
    )
    app.state.front = front
    add_pages(app)
    add_model_page(app, artefact, first.serving)
    for path, endpoint, summary in (
        ("/", status, "What is served"),
        ("/healthz", healthz, "The process is alive"),
        ("/readyz", readyz, "The models are loaded and answer their golden rows"),
        ("/v1/models", models, "All models that are served"),
        ("/metrics/grafana.json", board, "A board for Grafana that shows the counts"),
    ):
        app.add_api_route(path, endpoint, tags=["status"], summary=summary)
    app.add_api_route(
        "/metrics", metrics, tags=["status"], summary="Counts for Prometheus", response_class=PlainTextResponse
    )
    app.add_api_route("/monitor", monitor, include_in_schema=False, response_class=HTMLResponse)
    several = len(front.services) > 1
    for path in front.schemas():
        documented = several or path == "/v1/schema"
        summary = "The contract rows are held to"
        app.add_api_route(path, schema, tags=["predict"], summary=summary, include_in_schema=documented)
    for place, route in enumerate(front.routes().values()):
        _add_prediction(app, route, is_documented=place < 2 or several)
    app.add_api_route(
        "/v1/labels", labels, methods=["POST"], tags=["labels"], summary="Tell what came true, by the ids of answers",
        openapi_extra=LABELS_DOCUMENT,
        responses={404: {"description": "The server keeps no prediction log"}, **BODY_REFUSALS},
    )  # fmt: skip
    for fault, handler in ((RowError, bad_rows), (BodyError, bad_body), (SourceError, no_log), (Exception, failure)):
        app.add_exception_handler(fault, handler)
    return app


def _add_prediction(app: FastAPI, route: Route, *, is_documented: bool) -> None:
    service, asked, told = route.service, None, None
    if not service.private:
        # A row of training; where columns are private, the docs show none.
        asked = service.artefact.read_json("golden.json")["rows"][:1]
        example: Reply = getattr(service, route.form)(msgspec.json.encode(asked), "example")
        told = msgspec.json.decode(example.body)
    tables = MEDIA if route.form == "predict" else ()
    summary = "Predict rows" if route.form == "predict" else "Predict rows, in the tutorial's form"
    app.add_api_route(
        route.path, predict, methods=["POST"], tags=["predict"], summary=summary, include_in_schema=is_documented,
        openapi_extra=body_document(service.artefact.schema, asked, tables, service.private),
        responses=answer_document(told, tables),
    )  # fmt: skip


def _front(request: Request) -> Front:
    front: Front = request.app.state.front
    return front


def _exchange(request: Request) -> Exchange:
    exchange: Exchange = request.scope["exchange"]
    return exchange


def _path(request: Request) -> str:
    """Return the path as the docs have it, wherever the app is mounted."""
    path: str = request.scope["route"].path
    return path


async def status(request: Request) -> dict[str, Any]:
    """What the server answers with."""
    return {"status": "ok", **_about(_front(request).services[0])}


async def healthz() -> dict[str, str]:
    """Alive, whatever the models do."""
    return {"status": "ok"}


async def readyz(request: Request) -> dict[str, Any]:
    """Ready, by which version, and why a newer one could not take over."""
    front = _front(request)
    faults = front.faults()
    told = {"status": "ready", "version": front.services[0].artefact.version}
    return {**told, **({"reload_errors": faults} if faults else {})}


async def models(request: Request) -> dict[str, Any]:
    """Each model with its version and what its held-out rows said of it."""
    return {"models": [_about(service) for service in _front(request).services]}


def _about(service: Service) -> dict[str, Any]:
    manifest = service.artefact.manifest
    return {key: manifest[key] for key in ("name", "version", "created", "target", "task", "metrics")}


async def schema(request: Request) -> dict[str, Any]:
    """Kind, range, levels and gaps of each column."""
    return to_data(_front(request).schemas()[_path(request)].artefact.schema)


async def metrics(request: Request) -> Response:
    """Requests, times, rows, refusals, values outside of training and the state of the log."""
    front = _front(request)
    served = [{"model": each.artefact.name, "version": each.artefact.version} for each in front.services]
    gauges = {"reload_faults": ("Models whose newest version could not be loaded.", float(len(front.faults())))}
    return Response(front.ledger.exposition(gauges, served), media_type=TEXT)


async def board() -> Response:
    """To be imported as it is."""
    return Response(files("estimator.serving.telemetry").joinpath("grafana.json").read_bytes(), media_type=JSON)


def monitor(request: Request) -> Response:
    """How what is served stands: evidence, answers, losses and versions over the last days, as a page."""
    # A server that shows no page starts without what draws it.
    from estimator.monitoring.overview import overview
    from estimator.monitoring.page import monitoring_page

    front = _front(request)
    if front.log is None:
        raise BodyError(404, "this server keeps no prediction log, so nothing is watched: set serving.prediction_log")
    name = request.query_params.get("model", front.services[0].artefact.name)
    service = next((each for each in front.services if each.artefact.name == name), None)
    if service is None:
        raise BodyError(404, f"no model {name!r} is served")
    days = read_days(request.query_params.get("days", "7"))
    now = time.time()
    settings = Monitoring.model_validate(service.artefact.config.get("monitoring", {}))
    database = front.log()
    try:
        moves = Store(service.artefact.folder.parent.parent).history(name)
        found = overview(
            service.artefact, database, moves, settings, since=now - days * 86_400, until=now, checks=False
        )
    except MonitoringError as error:
        raise BodyError(404, error.message) from None
    finally:
        database.close()
    return HTMLResponse(monitoring_page(found), headers=PAGE_HEADERS)


def read_days(text: str) -> float:
    """Return how many days are to be shown.

    Raises
    ------
    BodyError: it is no number of days.
    """
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0.0 < days <= MOST_DAYS:
        raise BodyError(422, f"days: expected a number of at most {MOST_DAYS:,}, such as 7, got {text!r:.40}")
    return days


async def predict(request: Request) -> Response:
    """An answer per row, in order; what training had not seen is told, what breaks the contract is refused."""
    front, exchange = _front(request), _exchange(request)
    if front.ledger.is_full:
        raise BodyError(503, "the prediction log cannot be written as fast as it is asked; try again")
    _, service, form = front.routes()[_path(request)]
    body = await read_body(request, service.serving.max_body_bytes, service.serving.request_timeout_seconds)
    given = table_type(request.headers.get("content-type", ""))
    wanted = answer_type(request.headers.get("accept", ""))
    if form == "tutorial" and given is not None:
        raise BodyError(415, f"expected JSON, got {given}; /v1/predict takes tables")
    if form == "predict" and (given or wanted):
        return await run_in_threadpool(_answered_table, service, body, given, wanted, exchange)
    answer = getattr(service, form)
    if len(body) <= AT_ONCE_BYTES:
        reply: Reply = answer(body, exchange.name)
    else:
        reply = await run_in_threadpool(answer, body, exchange.name)
    exchange.answer(service, as_rows(body), reply)
    return Response(reply.body, media_type=JSON)


def _answered_table(
    service: Service, body: bytes, given: str | None, wanted: str | None, exchange: Exchange
) -> Response:
    """Answer rows that come as a table, or are to be answered as one; None is JSON."""
    batch = service.rows_of(body)[1] if given is None else read_batch(service, body, given)
    reply, told = predict_batch(service, batch, exchange.name, wanted)
    asked = as_rows(body) if given is None else rows_as_json(service, batch)
    exchange.answer(service, asked, reply)
    return Response(told, media_type=wanted or JSON)


async def labels(request: Request) -> dict[str, int]:
    """Truth may come before its answer is written, and be told anew; the last one holds."""
    front = _front(request)
    serving = front.services[0].serving
    if front.ledger.writer is None:
        raise BodyError(404, "this server keeps no prediction log, so it takes no truths: set serving.prediction_log")
    body = await read_body(request, serving.max_body_bytes, serving.request_timeout_seconds)
    found = read_labels(body, max_rows=serving.max_rows)
    known = await run_in_threadpool(front.ledger.label, found, time.time())
    return {"received": len(found), "matched": known}


async def bad_rows(request: Request, error: Exception) -> Response:
    """Name row, column and value."""
    assert isinstance(error, RowError)
    _exchange(request).refusal = "contract"
    return Response(msgspec.json.encode(refusal(error)), status_code=422, media_type=JSON)


async def bad_body(request: Request, error: Exception) -> Response:
    """Refuse the request as a whole."""
    assert isinstance(error, BodyError)
    _exchange(request).refusal = error.reason
    return Response(msgspec.json.encode(body_refusal(error)), status_code=error.status, media_type=JSON)


async def no_log(request: Request, _: Exception) -> Response:
    """Refuse what needs the prediction log."""
    return await bad_body(request, BodyError(503, "the prediction log cannot be used now; try again"))


async def failure(request: Request, _: Exception) -> Response:
    """Tell the request's name, and nothing of the reason."""
    told = {"detail": "the server failed; its own log says why", "request_id": _exchange(request).name}
    return Response(msgspec.json.encode(told), status_code=500, media_type=JSON)
