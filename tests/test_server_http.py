"""The server on a real socket, byte by byte: every input gets the response that HTTP requires, in order."""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import uvicorn

from estimator.config import Serving
from estimator.serving.fast_path.http_protocol import MAX_HEAD_BYTES
from estimator.serving.routes import BatchHandler, PredictionRequest
from estimator.serving.run import build_server
from estimator.serving.service import PredictionResponse
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import gateway, get, within
from tests.clients import post as send
from tests.clients import serving as serving_process
from tests.conftest import HOUSE

MAX_BODY_BYTES = 300_000
KEEP_ALIVE_SECONDS = 1
REQUEST_TIMEOUT_SECONDS = 2.0
BODY = json.dumps([HOUSE]).encode()


@dataclass
class Running:
    """A server in a thread of this process, the bodies that its fast path was offered, and how many it handled."""

    server: uvicorn.Server
    app: Any
    port: int
    offered: list[bytes] = field(default_factory=list)
    handled: int = 0

    def count_requests(self) -> None:
        def counted(handler: BatchHandler) -> BatchHandler:
            def call(requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
                self.offered += [request.body for request in requests]
                responses = handler(requests)
                self.handled += len(responses) - responses.count(None)
                return responses

            return call

        self.change_handlers(counted)

    def change_handlers(self, change: Callable[[BatchHandler], BatchHandler]) -> None:
        """Replace the handler of each fast route by what `change` makes of it."""
        snapshot = self.app.snapshot
        routes = {path: route._replace(handler=change(route.handler)) for path, route in snapshot.fast_routes.items()}
        self.app.snapshot = replace(snapshot, fast_routes=routes)


@contextmanager
def changed_handlers(server: Running, change: Callable[[BatchHandler], BatchHandler]) -> Iterator[None]:
    """Replace the handlers of the fast routes while the block runs."""
    snapshot = server.app.snapshot
    server.change_handlers(change)
    try:
        yield
    finally:
        server.app.snapshot = snapshot


@pytest.fixture(scope="module")
def running(store) -> Iterator[Running]:
    artefact = open_artefact(version_folder(store / "house_pricing_model"))
    serving = Serving(
        max_body_bytes=MAX_BODY_BYTES,
        max_rows=1000,
        request_timeout_seconds=REQUEST_TIMEOUT_SECONDS,
        label="Prediction price",
    )
    app = gateway(artefact, serving=serving)
    server = build_server(app, serving)
    server.config.timeout_keep_alive = KEEP_ALIVE_SECONDS
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server_run = Running(server, app, opened.getsockname()[1])
        server_run.count_requests()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        yield server_run
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def server(running) -> Running:
    running.offered.clear()
    running.handled = 0
    return running


@dataclass
class Received:
    status: int
    head: bytes
    body: bytes

    @property
    def prediction(self) -> float:
        return json.loads(self.body)["predictions"][0]["Prediction price 0"]


class Wire:
    """A connection on which bytes are sent as they are."""

    def __init__(self, server: Running) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(60)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes, pause: float = 0.0) -> Wire:
        for part in parts:
            self.socket.sendall(part)
            time.sleep(pause)
        return self

    def receive(self) -> Received:
        """Read the next response with a stated length."""
        while b"\r\n\r\n" not in self.received:
            self._read()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            return Received(100, head, b"")
        stated = re.search(rb"content-length: (\d+)", head)
        assert stated is not None, head
        while len(self.received) < int(stated[1]):
            self._read()
        body, self.received = self.received[: int(stated[1])], self.received[int(stated[1]) :]
        return Received(int(head.split()[1]), head, body)

    def is_closed(self) -> bool:
        return self.received == b"" and self.socket.recv(1) == b""

    def _read(self) -> None:
        part = self.socket.recv(1 << 16)
        assert part, f"closed after {self.received[-300:]!r}"
        self.received += part


def post(body: bytes = BODY, *, path: str = "/v1/services/predict", fields: str = "", version: str = "1.1") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nHost: server\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode("latin-1") + body


def house(value: float) -> bytes:
    return json.dumps([{**HOUSE, "RM": value}]).encode()


def test_ordinary_request_takes_the_fast_path(server):
    with Wire(server) as wire:
        fast, slow = wire.send(post()).receive(), wire.send(post(path="/v1/services/predict?")).receive()
    assert server.handled == 1
    assert (fast.status, fast.body) == (200, slow.body)
    varying = (b"date", b"x-request-id")
    heads = [dict(line.split(b": ", 1) for line in response.head.split(b"\r\n")[1:]) for response in (fast, slow)]
    first, second = ({name: value for name, value in head.items() if name not in varying} for head in heads)
    assert first == second
    assert all(len(head[b"x-request-id"]) == 32 for head in heads)


def test_request_may_arrive_in_two_parts(server):
    request = post()
    with Wire(server) as wire:
        expected = wire.send(request).receive().body
        for split in range(1, len(request)):
            assert wire.send(request[:split], request[split:], pause=0.0005).receive().body == expected


def test_long_body_in_many_parts_takes_the_fast_path(server):
    rows = json.dumps([HOUSE] * 300).encode()
    request = post(rows)
    with Wire(server) as wire:
        response = wire.send(
            *(request[start : start + 9000] for start in range(0, len(request), 9000)), pause=0.001
        ).receive()
    assert len(json.loads(response.body)["predictions"]) == 300
    assert server.offered == [rows]


def test_pipelined_responses_keep_their_order(server):
    requests, expected = [], []
    for number in range(40):
        value = 4 + number / 10
        # Every third goes to FastAPI, every fifth is rejected.
        path = "/v1/services/predict" + ("?" if number % 3 == 0 else "")
        requests.append(post(b"[1]" if number % 5 == 0 else house(value), path=path))
        expected.append(422 if number % 5 == 0 else value)
    with Wire(server) as wire:
        wire.send(b"".join(requests))
        for value in expected:
            response = wire.receive()
            assert (response.status if value == 422 else json.loads(response.body)["inputData"][0]["RM"]) == value
        stream = b"".join(requests)
        wire.send(*(stream[start : start + 331] for start in range(0, len(stream), 331)), pause=0.0005)
        assert [wire.receive().status for _ in expected] == [422 if value == 422 else 200 for value in expected]


def test_requests_of_many_connections_share_a_batch(server):
    sizes: list[int] = []

    def slowed(handler: BatchHandler) -> BatchHandler:
        def call(requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
            # The others arrive while the first is handled.
            time.sleep(0.1)
            sizes.append(len(requests))
            return handler(requests)

        return call

    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(12)]
        assert [wire.send(post()).receive().status for wire in wires] == [200] * len(wires)
        stack.enter_context(changed_handlers(server, slowed))
        values = [4 + index / 10 for index in range(12)]
        for wire, value in zip(wires, values, strict=True):
            # The first is rejected, and half of the others are followed by one more.
            wire.send(*[post(b"[{}]" if value == 4 else house(value))] * (1 + (value > 4.5)))
        responses = [
            [wire.receive() for _ in range(1 + (value > 4.5))] for wire, value in zip(wires, values, strict=True)
        ]
    assert max(sizes) > 4
    assert [response.status for response in responses[0]] == [422]
    for received, value in zip(responses[1:], values[1:], strict=True):
        assert [json.loads(response.body)["inputData"][0]["RM"] for response in received] == [value] * len(received)


def test_half_closed_connection_gets_its_responses(server):
    with Wire(server) as wire:
        wire.send(post() * 3)
        wire.socket.shutdown(socket.SHUT_WR)
        assert [wire.receive().status for _ in range(3)] == [200] * 3
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Content-Length: 5\r\n", 400),
        (f"Content-Length: {len(BODY)}\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 400),
        (" folded: line\r\n", 400),
        ("no colon\r\n", 400),
        ("spaced : name\r\n", 400),
        ("nul: \x00\r\n", 400),
        ("Content-Encoding: gzip\r\n", 422),
        ("X-Long: " + "x" * MAX_HEAD_BYTES + "\r\n", 431),
        ("X-Long: " + "x" * 5_000_000, 431),
        ("X-Many: 1\r\n" * 20_000, 431),
    ],
)
def test_malformed_head_is_rejected_by_uvicorn(server, fields, status):
    with Wire(server) as wire:
        try:
            wire.send(post(fields=fields))
        except (ConnectionResetError, BrokenPipeError):
            assert status == 431
        try:
            assert wire.receive().status == status
        except ConnectionResetError:
            assert len(fields) > 1_000_000
    assert server.offered == []


@pytest.mark.parametrize("length", ["-1", "+5", "0x10", "1e3", "5 5", "5,5", "", "9" * 30, "٣"])
def test_malformed_content_length_is_rejected(server, length):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: server\r\nContent-Length: {length}\r\n\r\n".encode()
    with Wire(server) as wire:
        assert wire.send(head + BODY).receive().status in (400, 413)
    assert server.offered == []


def test_too_large_body_is_rejected_before_it_arrives(server):
    with Wire(server) as wire:
        head = post(b"x" * (MAX_BODY_BYTES + 1))[:-MAX_BODY_BYTES]
        assert wire.send(head).receive().status == 413
    assert server.offered == []


def test_chunked_body_is_left_to_fastapi(server):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:50], BODY[50:])) + b"0\r\n\r\n"
    head = b"POST /v1/services/predict HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Wire(server) as wire:
        slow, fast = wire.send(head + chunks).receive(), wire.send(post()).receive()
    assert slow.body == fast.body
    assert len(server.offered) == 1


def test_expect_gets_100_continue(server):
    with Wire(server) as wire:
        request = post(fields="Expect: 100-continue\r\n")
        assert wire.send(request[: -len(BODY)]).receive().status == 100
        assert wire.send(BODY).receive().status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [post(fields="Connection: close\r\n"), post(version="1.0"), post(fields="Connection: foo, close\r\n")],
)
def test_connection_closes_on_request(server, request_bytes):
    with Wire(server) as wire:
        assert wire.send(request_bytes).receive().status == 200
        assert wire.is_closed()


def test_other_methods_and_paths_are_left_to_fastapi(server):
    with Wire(server) as wire:
        wire.send(
            b"HEAD /v1/predict HTTP/1.1\r\nHost: server\r\n\r\n" + b"GET /healthz HTTP/1.1\r\nHost: server\r\n\r\n"
        )
        head = wire.socket.recv(1 << 16)
        assert head.startswith(b"HTTP/1.1 405")
        wire.received = head.split(b"\r\n\r\n", 1)[1]
        assert json.loads(wire.receive().body) == {"status": "ok"}
        assert wire.send(post(path="/v1/nowhere")).receive().status == 404
        assert wire.send(post()).receive().status == 200


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"\x00" * 50, b"POST\r\n\r\n"])
def test_garbage_gets_400(server, garbage):
    with Wire(server) as wire:
        assert wire.send(garbage).receive().status == 400
        assert wire.is_closed()


def test_only_idle_connections_are_closed(server):
    with Wire(server) as idle, Wire(server) as busy:
        idle.send(post()).receive()
        deadline = time.monotonic() + 60
        while not select.select([idle.socket], [], [], KEEP_ALIVE_SECONDS / 10)[0]:
            busy.send(post()).receive()
            assert time.monotonic() < deadline
        assert idle.is_closed()
        busy.send(post(path="/v1/services/predict?")).receive()
        busy.send(post()).receive()
        began = time.monotonic()
        assert busy.is_closed()
        assert KEEP_ALIVE_SECONDS * 0.8 < time.monotonic() - began < 60


def test_body_may_take_longer_than_keep_alive(server):
    with Wire(server) as wire:
        wire.send(post()).receive()
        request = post()
        assert wire.send(request[:-9], request[-9:], pause=KEEP_ALIVE_SECONDS * 1.3).receive().status == 200


def test_unread_responses_do_not_pile_up(server):
    """The server stops reading from a client that only sends; once it reads, it gets all responses."""
    n_requests, request = 1500, post(json.dumps([HOUSE] * 20).encode())
    with Wire(server) as wire:
        sending = threading.Thread(target=wire.send, args=(request * n_requests,))
        sending.start()
        assert within(60, lambda: bool(server.offered))
        offered = -1
        while offered < len(server.offered):
            offered = len(server.offered)
            time.sleep(0.3)
        assert 0 < offered < n_requests
        assert [wire.receive().status for _ in range(n_requests)] == [200] * n_requests
        sending.join()


def test_failing_fast_path_falls_back_to_fastapi(server, caplog):
    def fail(requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
        raise ZeroDivisionError

    with changed_handlers(server, lambda _: fail), Wire(server) as wire:
        assert wire.send(post()).receive().status == 200
    assert "ZeroDivisionError" in caplog.text


def test_invalid_row_is_rejected_by_fastapi(server):
    with Wire(server) as wire:
        response = wire.send(post(json.dumps([{**HOUSE, "RM": "six"}]).encode())).receive()
    assert response.status == 422
    assert json.loads(response.body)["detail"][0]["column"] == "RM"
    assert (len(server.offered), server.handled) == (1, 0)


@pytest.mark.parametrize("start", [b"", b"POST /v1/pre", post()[:60]])
def test_stalled_request_gets_408(server, start):
    with Wire(server) as wire:
        wire.socket.sendall(start)
        assert wire.receive().status == 408
        assert wire.is_closed()


def test_stalled_body_gets_408(server):
    with Wire(server) as wire:
        wire.socket.sendall(post()[:-5])
        response = wire.receive()
    assert response.status == 408
    assert "within 2 s" in json.loads(response.body)["detail"][0]["msg"]


@pytest.mark.parametrize("start", [b"POST /nope HTTP/1.1", b"GET /healthz HTTP/1.1", b"POST /v1/predict HTTP/1.1"])
def test_connection_is_closed_if_a_body_without_use_goes_on_dripping(server, start, monkeypatch):
    monkeypatch.setattr("estimator.serving.fast_path.http_protocol.LINGER_SECONDS", 0.3)
    with Wire(server) as wire:
        wire.socket.sendall(start + b"\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
        assert wire.receive().status in (200, 404, 413)
        began_at = time.monotonic()
        with pytest.raises(OSError):  # a reset, or a broken pipe
            while time.monotonic() < began_at + 20:
                wire.socket.sendall(b"x")
                time.sleep(0.05)
    # The client had time to read the response.
    assert time.monotonic() - began_at > 0.2


def test_without_the_fast_path_folder_responses_are_the_same(store):
    """Hide the package in another process, as if its folder were deleted, and send it one request."""
    code = (
        "import sys; sys.modules['estimator.serving.fast_path'] = None\n"
        "from estimator.cli import command\n"
        "from estimator.serving import run\n"
        "assert run.fast_path is None\n"
        "command()"
    )
    model = store / "house_pricing_model"
    with serving_process(model) as (_, fast), serving_process(model, command=[sys.executable, "-c", code]) as (_, slow):
        responses = [send(url, [HOUSE]) for url in (fast, slow)]
        assert responses[0] == responses[1]
        assert responses[0]["predictions"][0].keys() == {"Prediction price 0"}
        assert "reload_errors" not in json.loads(get(slow, "/readyz"))
