"""uvicorn's HTTP protocol, which answers ordinary predict requests as it reads them; the app answers all others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from fastapi import FastAPI
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from estimator.server.head import HEAD_END, ORDINARY_HEAD_BYTES, read_head
from estimator.server.hot import Answer, HotRoutes

MAX_HEAD_BYTES = 65_536
TOO_LONG = b"the head of the request is too long"


class HotProtocol(HttpToolsProtocol):
    """One connection: bytes that begin a request are offered to `app.state.hot`, and to uvicorn if that declines.

    Nothing is offered while uvicorn reads or answers a message, so that answers keep their order, nor while the client
    does not take its answers, so that they do not pile up: uvicorn waits and stops reading.
    """

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._app_state = cast(FastAPI, config.app).state
        self._held, self._held_until = bytearray(), 0
        self._reads_message = self._reads_head = self._head_is_too_long = False
        self._head_bytes = 0
        self._answered_at = 0.0
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._opening = b""

    def data_received(self, data: bytes) -> None:
        """Answer whole requests at once, hold one whose body is still to come, and leave the rest to uvicorn."""
        if self._held:
            self._held += data
            if len(self._held) < self._held_until:
                return
            data = self._released()
        hot: HotRoutes | None = self._app_state.hot
        if hot is not None and not self._reads_message and (self.cycle is None or self.cycle.response_complete):
            data = self._unanswered(data, hot)
        if data:
            self._pass_on(data)

    def shutdown(self) -> None:
        """Let uvicorn wait for the rest of a request that is held."""
        if self._held:
            self._pass_on(self._released())
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle; one timer runs through many answers."""
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if self._held or left > 0:
            self._wait(left if left > 0 else self.timeout_keep_alive)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        """Note that uvicorn is inside a message."""
        self._reads_message = self._reads_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a head that is too long.

        Raises
        ------
        ValueError: it is; uvicorn then asks for a refusal.
        """
        self._reads_head = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._head_is_too_long = True
            raise ValueError(TOO_LONG)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that uvicorn has read a whole message."""
        self._reads_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse the request and close the connection: with 431 if its head is too long."""
        if not self._head_is_too_long:
            return super().send_400_response(msg)
        fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[431] + fields % len(TOO_LONG) + TOO_LONG)
        return self.transport.close()

    def _unanswered(self, data: bytes, hot: HotRoutes) -> bytes:
        """Answer the requests that `data` begins with; return what is left for uvicorn."""
        start = 0
        while not self.flow.write_paused:
            end = data.find(HEAD_END, start, start + ORDINARY_HEAD_BYTES)
            head = read_head(data[start:end]) if end > 0 else None
            answer = hot.answers.get(head.path) if head is not None else None
            if head is None or answer is None or head.length > hot.max_body_bytes:
                break
            body = end + len(HEAD_END)
            stop = body + head.length
            if len(data) < stop:
                self._held, self._held_until = bytearray(data[start:]), stop - start
                return b""
            reply = self._tried(answer, data[body:stop])
            if reply is None:
                break
            self._send(reply)
            start = stop
        return data[start:]

    def _tried(self, answer: Answer, body: bytes) -> bytes | None:
        try:
            return answer(body)
        except Exception:
            self.logger.exception("the hot path failed; the app is asked instead")
            return None

    def _send(self, body: bytes) -> None:
        if self._headers is not self.server_state.default_headers:
            self._headers = self.server_state.default_headers
            told = b"".join(b"%b: %b\r\n" % header for header in self._headers)
            self._opening = STATUS_LINE[200] + told + b"content-length: "
        self.transport.write(b"%b%d\r\ncontent-type: application/json\r\n\r\n%b" % (self._opening, len(body), body))
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait(self.timeout_keep_alive)

    def _pass_on(self, data: bytes) -> None:
        """Give bytes to uvicorn, which knows no limit for a head that does not end."""
        was_in_head = self._reads_head
        super().data_received(data)
        if was_in_head and self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._head_is_too_long = True
                self.send_400_response("")

    def _released(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held

    def _wait(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
