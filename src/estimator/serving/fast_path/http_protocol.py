"""uvicorn's HTTP protocol, which answers ordinary predict requests as it reads them; the gateway answers all others."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from estimator.serving.fast_path.http_head import HEAD_END, ORDINARY_HEAD_BYTES, read_head
from estimator.serving.gateway import SAFE, Admitted, Gateway, Told

MAX_HEAD_BYTES = 65_536
TOO_LONG = b"the head of the request is too long"


class _Found(NamedTuple):
    """A request whose body goes from one place of the bytes to another, which may be beyond their end."""

    admitted: Admitted
    body: int
    stop: int


class HotProtocol(HttpToolsProtocol):
    """One connection: bytes that begin a request are offered to the gateway, and to uvicorn if that declines.

    Of the requests that come in a row, the first is answered together with those of other connections, the others after
    it. Nothing is offered while uvicorn reads or answers a message, so that answers keep their order; nor while the
    client does not take its answers, so that they do not pile up: uvicorn waits and stops reading.
    """

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._gateway = cast(Gateway, config.app)
        self._patience: asyncio.TimerHandle | None = None
        # What has come of a request whose body is not whole, or that is asked, and of what follows it.
        self._held, self._held_until, self._is_asked = bytearray(), 0, False
        self._reads_message = self._reads_head = self._head_is_too_long = False
        self._head_bytes = 0
        self._answered_at = 0.0
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._opening = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Expect a request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Ask whole requests, hold one whose body is still to come, and leave the rest to uvicorn."""
        if self._held:
            self._held += data
            if self._is_asked or len(self._held) < self._held_until:
                return
            data = self._released()
        if not self._reads_message and (self.cycle is None or self.cycle.response_complete):
            data = self._unasked(data)
        if data:
            self._pass_on(data)

    def eof_received(self) -> None:
        """Answer what is asked: uvicorn closes the connection when a client has said all it will."""
        if self._is_asked:
            self._gateway.answer_waiting()
        super().eof_received()

    def shutdown(self) -> None:
        """Answer what is asked, and let uvicorn wait for the rest of a request that is held."""
        if self._is_asked:
            self._gateway.answer_waiting()
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
        self._expect_nothing()
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

    def _unasked(self, data: bytes) -> bytes:
        """Ask the request that `data` begins with; return what is for uvicorn."""
        found = self._next(data, 0)
        if found is None:
            return data
        self._held, self._held_until = bytearray(data), found.stop
        if found.stop > len(data):
            self._expect()
        else:
            self._expect_nothing()
            self._is_asked = True
            self._gateway.ask(found.admitted, data[found.body : found.stop], self._tell)
        return b""

    def _tell(self, told: Told) -> None:
        """Send what was asked, or let uvicorn ask, and go on with what has come since."""
        self._is_asked, data = False, self._released()
        if self.transport.is_closing():
            return
        if told is not None:
            self._send(*told)
            data = self._unanswered(data, self._held_until)
        if data:
            self._pass_on(data)

    def _unanswered(self, data: bytes, start: int) -> bytes:
        """Answer the requests that `data` has from a place on; return what is left for uvicorn."""
        while (found := self._next(data, start)) is not None:
            if found.stop > len(data):
                self._held, self._held_until = bytearray(data[start:]), found.stop - start
                self._expect()
                return b""
            told = self._gateway.answer_at_once(found.admitted, data[found.body : found.stop])
            if told is None:
                break
            self._send(*told)
            start = found.stop
        return data[start:]

    def _next(self, data: bytes, start: int) -> _Found | None:
        """Return the request that begins at a place and may be answered without uvicorn."""
        if self.flow.write_paused:
            return None
        end = data.find(HEAD_END, start, start + ORDINARY_HEAD_BYTES)
        head = read_head(data[start:end]) if end > 0 else None
        admitted = self._gateway.admit(head) if head is not None else None
        if head is None or admitted is None:
            return None
        body = end + len(HEAD_END)
        return _Found(admitted, body, body + head.length)

    def _send(self, name: str, body: bytes) -> None:
        if self._headers is not self.server_state.default_headers:
            self._headers = self.server_state.default_headers
            told = b"".join(b"%b: %b\r\n" % header for header in (*self._headers, *SAFE))
            self._opening = STATUS_LINE[200] + told + b"content-type: application/json\r\ncontent-length: "
        self.transport.write(b"%b%d\r\nx-request-id: %b\r\n\r\n%b" % (self._opening, len(body), name.encode(), body))
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait(self.timeout_keep_alive)

    def _pass_on(self, data: bytes) -> None:
        """Give bytes to uvicorn, which knows no limit for a head that does not end."""
        was_in_head = self._reads_head
        super().data_received(data)
        if self._reads_head:
            self._expect()
        if was_in_head and self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._head_is_too_long = True
                self.send_400_response("")

    def _expect(self) -> None:
        """Give the client so long to send what it has begun, or its first request."""
        if self._patience is None:
            self._patience = self.loop.call_later(self._gateway.request_timeout_seconds, self._lose_patience)

    def _expect_nothing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._held:
            # The app reads what there is, and refuses when the rest is as slow.
            self._pass_on(self._released())
        elif not self.transport.is_closing():
            self.transport.write(STATUS_LINE[408] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def _released(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held

    def _wait(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
