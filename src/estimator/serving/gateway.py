"""The ASGI app that uvicorn runs: gives each request an id, checks its key and rate, and records it.

What is served is one value, a `Snapshot`, replaced in one step when a version moves, so that no request sees two.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec
from fastapi import FastAPI, Response
from starlette.types import Message, Receive, Scope, Send

from estimator.serving.app import MAX_INLINE_BYTES, build_app
from estimator.serving.auth.access import NO_KEY, Access, Rejection, credential_of
from estimator.serving.auth.keys import ApiKey
from estimator.serving.auth.session import Sessions, new_secret
from estimator.serving.request_body import JSON
from estimator.serving.routes import FastRoute, Route, ServerContext
from estimator.serving.service import Service, new_request_id
from estimator.serving.sign_in import PATHS as SIGN_IN_PATHS
from estimator.serving.sign_in import is_same_origin, page_wanted, session_cookie, sign_in_page
from estimator.serving.telemetry.exchange import Exchange

logger = logging.getLogger("estimator.serving")
# Sent with every response, unless it has its own, as pages do.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
RELOAD_CHECK_SECONDS = 1.0
BUSY = Rejection(503, "concurrency", "too many concurrent requests; try again", (("retry-after", "1"),))
CROSS_ORIGIN = Rejection(
    403,
    "origin",
    "a browser without an API key may send this from pages of this server only: expected the header Origin to name the "
    "Host; behind a proxy, let it pass on the Host that browsers send",
)

# Returns the services if a version has moved, else None; True reads all versions again.
Reload = Callable[[bool], Sequence[Service] | None]
BuildFastRoutes = Callable[[Sequence[Route]], Mapping[str, FastRoute]]


@dataclass(frozen=True)
class Snapshot:
    """What is served at one moment: the app and, where a fast path is installed, its routes by URL path."""

    app: FastAPI
    max_fast_bytes: int
    fast_routes: Mapping[str, FastRoute] = field(default_factory=dict)


class Gateway:
    """The ASGI app. Limits are those of the first service.

    `reload` is called each second, and with True after a SIGHUP. Processes with the same `session_secret` know each
    other's sessions of browsers.
    """

    def __init__(
        self,
        context: ServerContext,
        *,
        access: Access | None = None,
        reload: Reload = lambda _: None,
        session_secret: bytes = b"",
    ) -> None:
        serving = context.services[0].serving
        self.recorder, self.access = context.recorder, access or Access()
        self.request_timeout_seconds = serving.request_timeout_seconds
        ring = self.access.ring
        self._sessions = None if ring is None else Sessions(ring, self.access.now, session_secret or new_secret())
        self._context, self._reload = replace(context, sessions=self._sessions), reload
        self._build_fast_routes: BuildFastRoutes = lambda routes: {}
        self._n_running, self._max_concurrent = 0, serving.max_concurrent
        self._hangup = asyncio.Event()
        self.snapshot = self._build(self._context)

    def add_fast_routes(self, build: BuildFastRoutes) -> None:
        """Use the fast routes that `build` returns, for the versions served now and for those of later reloads."""
        self._build_fast_routes = build
        routes = list(self._context.routes().values())
        self.snapshot = replace(self.snapshot, fast_routes=build(routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection, as ASGI defines it; its state may have the `request_id` of the fast path."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._handle(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = scope["exchange"] = Exchange(
            scope.get("state", {}).get("request_id") or new_request_id(), time.time(), scope["method"], "other"
        )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message = {**message, "headers": _with_headers(message["headers"], exchange.id)}
            await send(message)

        rejection = self._check(scope, exchange)
        self._n_running += 1
        try:
            if rejection is not None:
                exchange.rejection = rejection.reason
                await _response(rejection, scope)(scope, receive, send_with_headers)
            else:
                await self.snapshot.app(scope, receive, send_with_headers)
        except Exception:
            # Starlette raises again after the app's handler has sent the response.
            exchange.status = exchange.status or 500
            logger.exception("request failed", extra={"fields": {"request_id": exchange.id}})
        finally:
            self._n_running -= 1
            exchange.route = getattr(scope.get("route"), "path", exchange.route)
            exchange.duration_seconds = time.perf_counter() - started
            if exchange.failed_version is not None:
                self.recorder.metrics.count_canary_failure(exchange.failed_version)
            self.recorder.record(exchange)

    def _check(self, scope: Scope, exchange: Exchange) -> Rejection | None:
        if self._n_running >= self._max_concurrent:
            return BUSY
        headers = dict(scope["headers"])
        if (traceparent := headers.get(b"traceparent")) is not None:
            exchange.traceparent = traceparent.decode("latin-1")
        credential = credential_of(headers)
        key = None if credential or self._sessions is None else self._check_session(self._sessions, scope, headers)
        if key is None:
            key = self.access.check(credential, scope["path"])
        if isinstance(key, Rejection):
            return key
        self.access.spend(key)
        exchange.key = key.name if key is not None else None
        return None

    def _check_session(
        self, sessions: Sessions, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> Rejection | ApiKey | None:
        """Return the key that a browser signed in with, or why its request is rejected; None for other clients."""
        key, path = sessions.find(session_cookie(headers)), scope["path"]
        if key is None and path not in SIGN_IN_PATHS:
            return None
        if scope["method"] not in ("GET", "HEAD") and not is_same_origin(headers, scope["scheme"]):
            return CROSS_ORIGIN
        scope["session_key"] = key
        return None if key is None else self.access.check_session(key, path)

    def request_reload(self) -> None:
        """Load all versions again, once the server runs."""
        self._hangup.set()

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        """Check for moved versions from startup to shutdown."""
        await receive()
        loop = asyncio.get_running_loop()
        with suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGHUP, self.request_reload)
        reloads = loop.create_task(self._reload_forever())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        reloads.cancel()
        await asyncio.to_thread(self.recorder.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _reload_forever(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hangup.wait(), RELOAD_CHECK_SECONDS)
            is_forced = self._hangup.is_set()
            self._hangup.clear()
            try:
                self.snapshot = await asyncio.to_thread(self._reloaded, is_forced)
                self.recorder.share()
            except Exception:
                logger.exception("reload failed; the server keeps the versions it has")

    def _reloaded(self, is_forced: bool) -> Snapshot:
        services = self._reload(is_forced)
        if services is None:
            return self.snapshot
        snapshot = self._build(replace(self._context, services=services))
        versions = {service.artefact.name: service.artefact.version for service in services}
        canaries = {
            f"{service.artefact.name} canary": service.canary.service.artefact.version
            for service in services
            if service.canary is not None
        }
        logger.info("serving", extra={"fields": {**versions, **canaries}})
        return snapshot

    def _build(self, context: ServerContext) -> Snapshot:
        max_fast_bytes = min(MAX_INLINE_BYTES, *(service.serving.max_body_bytes for service in context.services))
        fast_routes = self._build_fast_routes(list(context.routes().values()))
        return Snapshot(build_app(context), max_fast_bytes, fast_routes)


def _with_headers(headers: Sequence[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in headers}
    missing = (header for header in SECURITY_HEADERS if header[0] not in names)
    return [*headers, (b"x-request-id", request_id.encode()), *missing]


def _response(rejection: Rejection, scope: Scope) -> Response:
    wanted = page_wanted(scope, dict(scope["headers"])) if rejection is NO_KEY else None
    if wanted is not None:
        return sign_in_page(rejection, wanted)
    content = msgspec.json.encode({"detail": rejection.message})
    return Response(content, status_code=rejection.status, media_type=JSON, headers=dict(rejection.headers))
