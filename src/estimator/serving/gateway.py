"""The ASGI app on the wire: every request gets a name, is let in or refused, answered, and written down.

What is served is one value, a `Site`, replaced in one step when a version moves: a request is answered by one site.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
from fastapi import FastAPI, Response
from starlette.types import Message, Receive, Scope, Send

from estimator.serving.app import AT_ONCE_BYTES, JSON, Front, Route, build_app
from estimator.serving.auth.gate import Gate, Refusal, credential_of
from estimator.serving.auth.keys import Key
from estimator.serving.fast_path.http_head import Head
from estimator.serving.fast_path.predict import BLOCK_ROWS, Answer, Asked, hot_path
from estimator.serving.service import Reply, Service, new_name
from estimator.serving.telemetry.exchange import Exchange

logger = logging.getLogger("estimator.serving")
# Of every answer; pages bring a policy of their own.
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# How often, in seconds, a server looks whether a version has moved, and tells the other processes its counts.
LOOK_AGAIN = 1.0
BUSY = Refusal(503, "busy", "too many requests at once; try again", (("retry-after", "1"),))


class HotRoute(NamedTuple):
    """What answers the bodies of a path at once, if it can."""

    route: Route
    answer: Answer


class Admitted(NamedTuple):
    """A request that may be answered at once, and whose it is."""

    hot: HotRoute
    key: Key | None
    parent: bytes | None


# The name and the body of an answer; None when the app has to answer.
Told = tuple[str, bytes] | None


class Waiting(NamedTuple):
    """A request with its body that waits for the others which came at the same moment."""

    admitted: Admitted
    asked: Asked
    tell: Callable[[Told], None]
    started: float


@dataclass(frozen=True)
class Site:
    """What is served at one moment."""

    app: FastAPI
    hot: Mapping[str, HotRoute]
    max_hot_bytes: int


def build_site(front: Front) -> Site:
    """Return the app of some services and their hot paths."""
    paths = {service.artefact.name: hot_path(service) for service in front.services}
    hot: dict[str, HotRoute] = {}
    for route in front.routes().values():
        if (path := paths[route.service.artefact.name]) is not None:
            hot[route.path] = HotRoute(route, getattr(path, route.form))
    limit = min(AT_ONCE_BYTES, *(service.serving.max_body_bytes for service in front.services))
    return Site(build_app(front), hot, limit)


# Services that are new since the last time, or None.
Look = Callable[[bool], Sequence[Service] | None]


class Gateway:
    """Predictions for a site; limits are those of the first service.

    `look` is asked each second for new services, and with True when SIGHUP came.
    """

    def __init__(self, front: Front, *, gate: Gate | None = None, look: Look = lambda _: None) -> None:
        serving = front.services[0].serving
        self.site, self.request_timeout_seconds = build_site(front), serving.request_timeout_seconds
        self._front, self._ledger, self._gate, self._look = front, front.ledger, gate or Gate(), look
        self._running, self._max_concurrent = 0, serving.max_concurrent
        self._waiting: list[Waiting] = []
        self._told = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI asks."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def admit(self, head: Head) -> Admitted | None:
        """Return what may answer a request at once; None when the app has to."""
        hot = self.site.hot.get(head.path)
        if hot is None or head.length > self.site.max_hot_bytes or self._ledger.is_full:
            return None
        found = self._gate.judge(head.credential, head.path)
        return None if isinstance(found, Refusal) else Admitted(hot, found, head.parent)

    def ask(self, admitted: Admitted, body: bytes, tell: Callable[[Told], None]) -> None:
        """Answer as soon as the loop has read what else has come: a lone request waits for nobody."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.answer_waiting)
        self._waiting.append(self._begun(admitted, body, tell))

    def answer_at_once(self, admitted: Admitted, body: bytes) -> Told:
        """Answer a request alone."""
        told: list[Told] = []
        self._answer_together(admitted.hot.answer, [self._begun(admitted, body, told.append)])
        return told[0]

    def answer_waiting(self) -> None:
        """Answer all that waits, those of one path together, but no more than one run of a graph takes at once."""
        waiting, self._waiting = self._waiting, []
        by_answer: dict[Answer, list[Waiting]] = {}
        for each in waiting:
            by_answer.setdefault(each.admitted.hot.answer, []).append(each)
        for answer, each_of in by_answer.items():
            for start in range(0, len(each_of), BLOCK_ROWS):
                self._answer_together(answer, each_of[start : start + BLOCK_ROWS])

    def _begun(self, admitted: Admitted, body: bytes, tell: Callable[[Told], None]) -> Waiting:
        self._gate.spend(admitted.key)
        return Waiting(admitted, Asked(body, new_name()), tell, time.perf_counter())

    def _answer_together(self, answer: Answer, waiting: Sequence[Waiting]) -> None:
        replies: Sequence[Reply | None] = [None] * len(waiting)
        try:
            replies = answer([each.asked for each in waiting])
        except Exception:
            logger.exception("the hot path failed; the app is asked instead")
        for each, reply in zip(waiting, replies, strict=True):
            told = None
            if reply is None:
                self._gate.give_back(each.admitted.key)
            else:
                self._record(each, reply)
                told = each.asked.name, reply.body
            try:
                each.tell(told)
            except Exception:
                # The others are to be told all the same.
                logger.exception("an answer could not be sent")

    def _record(self, answered: Waiting, reply: Reply) -> None:
        (hot, key, parent), (body, name) = answered.admitted, answered.asked
        exchange = Exchange(name, time.time(), "POST", hot.route.path, None if key is None else key.name, 200)
        exchange.answer(hot.route.service, body, reply)
        exchange.parent = None if parent is None else parent.decode("latin-1")
        exchange.seconds = time.perf_counter() - answered.started
        self._ledger.record(exchange)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = scope["exchange"] = Exchange(new_name(), time.time(), scope["method"], "other")

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message = {**message, "headers": _headers(message["headers"], exchange.name)}
            await send(message)

        refusal = self._refusal(scope, exchange)
        self._running += 1
        try:
            if refusal is not None:
                exchange.refusal = refusal.reason
                await _refused(refusal)(scope, receive, told)
            else:
                await self.site.app(scope, receive, told)
        except Exception:
            # The app has answered by then, with a sentence.
            exchange.status = exchange.status or 500
            logger.exception("a request failed", extra={"told": {"id": exchange.name}})
        finally:
            self._running -= 1
            exchange.route = getattr(scope.get("route"), "path", exchange.route)
            exchange.seconds = time.perf_counter() - started
            self._ledger.record(exchange)

    def _refusal(self, scope: Scope, exchange: Exchange) -> Refusal | None:
        if self._running >= self._max_concurrent:
            return BUSY
        headers = dict(scope["headers"])
        if (parent := headers.get(b"traceparent")) is not None:
            exchange.parent = parent.decode("latin-1")
        found = self._gate.judge(credential_of(headers), scope["path"])
        if isinstance(found, Refusal):
            return found
        self._gate.spend(found)
        exchange.key = found.name if found is not None else None
        return None

    async def _live(self, receive: Receive, send: Send) -> None:
        """Follow what is served between startup and shutdown."""
        await receive()
        loop = asyncio.get_running_loop()
        with suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGHUP, self._told.set)
        following = loop.create_task(self._follow())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        following.cancel()
        await asyncio.to_thread(self._ledger.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), LOOK_AGAIN)
            was_told = self._told.is_set()
            self._told.clear()
            try:
                self.site = await asyncio.to_thread(self._renewed, was_told)
                self._ledger.share()
            except Exception:
                logger.exception("what is served could not be looked at; it stays as it is")

    def _renewed(self, was_told: bool) -> Site:
        services = self._look(was_told)
        if services is None:
            return self.site
        site = build_site(replace(self._front, services=services))
        served = {service.artefact.name: service.artefact.version for service in services}
        logger.info("serving", extra={"told": served})
        return site


def _headers(headers: Sequence[tuple[bytes, bytes]], name: str) -> list[tuple[bytes, bytes]]:
    given = {header for header, _ in headers}
    return [*headers, (b"x-request-id", name.encode()), *(header for header in SAFE if header[0] not in given)]


def _refused(refusal: Refusal) -> Response:
    told = msgspec.json.encode({"detail": refusal.message})
    return Response(told, status_code=refusal.status, media_type=JSON, headers=dict(refusal.headers))
