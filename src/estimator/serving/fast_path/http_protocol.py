"""uvicorn's HTTP protocol with a fast path: ordinary predict requests are handled here, all others by uvicorn."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from estimator.serving.fast_path.dispatcher import AdmittedRequest, Dispatcher, FastResponse
from estimator.serving.fast_path.http_head import HEAD_END, MAX_CACHED_HEAD_BYTES, read_head
from estimator.serving.gateway import SECURITY_HEADERS

MAX_HEAD_BYTES = 65_536
# How long the rest of a body may take whose response was sent already.
LINGER_SECONDS = 5.0
HEAD_TOO_LARGE = b"the head of the request is too large"


class _RequestSpan(NamedTuple):
    """A request in a buffer: its body goes from `body_start` to `stop`, which may lie beyond the buffer's end."""

    admitted: AdmittedRequest
    body_start: int
    stop: int


class FastProtocol(HttpToolsProtocol):
    """One connection: each request is offered to the dispatcher, then to uvicorn if the dispatcher declines.

    Of pipelined requests, the first joins the batch of all connections, and the others are handled after it. Nothing is
    offered while uvicorn handles a request, so responses keep their order; nor while the client does not read its
    responses, so they do not pile up: uvicorn waits and stops reading.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        dispatcher: Dispatcher,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._dispatcher = dispatcher
        self._timeout: asyncio.TimerHandle | None = None
        # Bytes of a request whose body is incomplete, or that is being handled, and of what follows it.
        self._buffer, self._needed_bytes, self._is_pending = bytearray(), 0, False
        # What uvicorn is reading.
        self._reads_message = self._reads_head = self._is_head_too_large = False
        self._head_bytes = 0
        self._responded_at = 0.0
        # The id of a request that is passed to uvicorn after the dispatcher has declined it.
        self._declined_id: str | None = None
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._response_head = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Start the timeout of the first request."""
        super().connection_made(transport)
        self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Submit complete requests, buffer incomplete ones, and pass the rest to uvicorn."""
        if self._buffer:
            self._buffer += data
            if self._is_pending or len(self._buffer) < self._needed_bytes:
                return
            data = self._take_buffer()
        if not self._reads_message and (self.cycle is None or self.cycle.response_complete):
            data = self._submit_first(data)
        if data:
            self._pass_on(data)

    def eof_received(self) -> None:
        """Handle what is pending now: uvicorn closes the connection when the client has sent its last byte."""
        if self._is_pending:
            self._dispatcher.flush()
        super().eof_received()

    def shutdown(self) -> None:
        """Handle what is pending, and let uvicorn wait for the rest of an incomplete request."""
        if self._is_pending:
            self._dispatcher.flush()
        if self._buffer:
            self._pass_on(self._take_buffer())
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it is idle.

        One timer outlives many responses: restarting it for each would cost more than it does.
        """
        seconds_left = self._responded_at + self.timeout_keep_alive - self.loop.time()
        if self._buffer or seconds_left > 0:
            self._start_keep_alive(seconds_left if seconds_left > 0 else self.timeout_keep_alive)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        """Note that uvicorn reads a request."""
        self._reads_message = self._reads_head = True
        self._head_bytes = 0
        super().on_message_begin()
        if self._declined_id is not None:
            # FastAPI is to choose the same version.
            self.scope["state"]["request_id"], self._declined_id = self._declined_id, None

    def on_headers_complete(self) -> None:
        """Check the size of the head.

        Raises
        ------
        ValueError: it is too large; uvicorn then calls `send_400_response`.
        """
        self._reads_head = False
        self._stop_timeout()
        n_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if n_bytes > MAX_HEAD_BYTES:
            self._is_head_too_large = True
            raise ValueError(HEAD_TOO_LARGE)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that uvicorn has read the whole request."""
        self._reads_message = False
        self._stop_timeout()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close the connection soon if the rest of the request's body does not come: its response needed none of it.

        At once would be too early: a client that is still sending might then lose the response (RFC 9112, 9.6).
        """
        super().on_response_complete()
        if self._reads_message and not self.transport.is_closing():
            self._stop_timeout()
            self._timeout = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Reject the request and close the connection: with 431 if its head is too large."""
        if not self._is_head_too_large:
            return super().send_400_response(msg)
        fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[431] + fields % len(HEAD_TOO_LARGE) + HEAD_TOO_LARGE)
        return self.transport.close()

    def _submit_first(self, data: bytes) -> bytes:
        """Submit the request at the start of `data`; return the bytes that are left for uvicorn."""
        span = self._next(data, 0)
        if span is None:
            return data
        self._buffer, self._needed_bytes = bytearray(data), span.stop
        if span.stop > len(data):
            self._start_timeout()
        else:
            self._stop_timeout()
            self._is_pending = True
            self._dispatcher.submit(span.admitted, data[span.body_start : span.stop], self._finish)
        return b""

    def _finish(self, response: FastResponse) -> None:
        """Send the response of the pending request, or pass it to uvicorn, and go on with the bytes received since."""
        self._is_pending, data = False, self._take_buffer()
        if self.transport.is_closing():
            return
        request_id, body = response
        if body is None:
            self._declined_id = request_id
        else:
            self._send(request_id, body)
            data = self._handle_pipelined(data, self._needed_bytes)
        if data:
            self._pass_on(data)

    def _handle_pipelined(self, data: bytes, start: int) -> bytes:
        """Handle the requests in `data` from `start` on; return the bytes that are left for uvicorn."""
        while (span := self._next(data, start)) is not None:
            if span.stop > len(data):
                self._buffer, self._needed_bytes = bytearray(data[start:]), span.stop - start
                self._start_timeout()
                return b""
            request_id, body = self._dispatcher.respond(span.admitted, data[span.body_start : span.stop])
            if body is None:
                self._declined_id = request_id
                break
            self._send(request_id, body)
            start = span.stop
        return data[start:]

    def _next(self, data: bytes, start: int) -> _RequestSpan | None:
        """Return the request that begins at `start`; None when uvicorn has to handle it."""
        if self.flow.write_paused:
            return None
        end = data.find(HEAD_END, start, start + MAX_CACHED_HEAD_BYTES)
        head = read_head(data[start:end]) if end > 0 else None
        admitted = self._dispatcher.admit(head) if head is not None else None
        if head is None or admitted is None:
            return None
        body_start = end + len(HEAD_END)
        return _RequestSpan(admitted, body_start, body_start + head.content_length)

    def _send(self, request_id: str, body: bytes) -> None:
        # uvicorn replaces its default headers once a second, with the date.
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            fields = b"".join(b"%b: %b\r\n" % header for header in (*self._default_headers, *SECURITY_HEADERS))
            self._response_head = STATUS_LINE[200] + fields + b"content-type: application/json\r\ncontent-length: "
        self.transport.write(
            b"%b%d\r\nx-request-id: %b\r\n\r\n%b" % (self._response_head, len(body), request_id.encode(), body)
        )
        self.server_state.total_requests += 1
        self._responded_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._start_keep_alive(self.timeout_keep_alive)

    def _pass_on(self, data: bytes) -> None:
        """Pass bytes to uvicorn, which by itself would read a head without end."""
        was_in_head = self._reads_head
        super().data_received(data)
        if self._reads_head:
            self._start_timeout()
        if was_in_head and self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._is_head_too_large = True
                self.send_400_response("")

    def _start_timeout(self) -> None:
        """Give the client a limited time to finish its request, or to begin its first one."""
        if self._timeout is None:
            self._timeout = self.loop.call_later(self._dispatcher.request_timeout_seconds, self._on_timeout)

    def _stop_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _on_timeout(self) -> None:
        self._timeout = None
        if self._buffer:
            # The app reads the body so far, and sends 408 if the rest is as slow.
            self._pass_on(self._take_buffer())
        elif not self.transport.is_closing():
            self.transport.write(STATUS_LINE[408] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def _take_buffer(self) -> bytes:
        data, self._buffer = bytes(self._buffer), bytearray()
        return data

    def _start_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
