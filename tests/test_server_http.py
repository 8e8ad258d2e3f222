"""The server on a real socket, byte by byte: every input gets the response that HTTP requires, in order."""

from __future__ import annotations

import json
import re
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
from tests.asking import gateway, get
from tests.asking import post as send
from tests.asking import serving as serving_process
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
        found = Running(server, app, opened.getsockname()[1])
        found.count_requests()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        yield found
        server.should_exit = True
        thread.join(10)
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
        self.socket.settimeout(10)
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

    def answer(self) -> Received:
        """Read the next answer with a stated length."""
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
        fast, slow = wire.send(post()).answer(), wire.send(post(path="/v1/services/predict?")).answer()
    assert server.handled == 1
    assert (fast.status, fast.body) == (200, slow.body)
    own = (b"date", b"x-request-id")
    heads = [dict(line.split(b": ", 1) for line in found.head.split(b"\r\n")[1:]) for found in (fast, slow)]
    first, second = ({name: value for name, value in head.items() if name not in own} for head in heads)
    assert first == second
    assert all(len(head[b"x-request-id"]) == 32 for head in heads)


def test_request_may_arrive_in_two_parts(server):
    request = post()
    with Wire(server) as wire:
        expected = wire.send(request).answer().body
        for place in range(1, len(request)):
            assert wire.send(request[:place], request[place:], pause=0.0005).answer().body == expected


def test_long_body_in_many_parts_takes_the_fast_path(server):
    rows = json.dumps([HOUSE] * 300).encode()
    request = post(rows)
    with Wire(server) as wire:
        found = wire.send(
            *(request[start : start + 9000] for start in range(0, len(request), 9000)), pause=0.001
        ).answer()
    assert len(json.loads(found.body)["predictions"]) == 300
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
            found = wire.answer()
            assert (found.status if value == 422 else json.loads(found.body)["inputData"][0]["RM"]) == value
        stream = b"".join(requests)
        wire.send(*(stream[start : start + 331] for start in range(0, len(stream), 331)), pause=0.0005)
        assert [wire.answer().status for _ in expected] == [422 if value == 422 else 200 for value in expected]


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
        assert [wire.send(post()).answer().status for wire in wires] == [200] * len(wires)
        stack.enter_context(changed_handlers(server, slowed))
        values = [4 + place / 10 for place in range(12)]
        for wire, value in zip(wires, values, strict=True):
            # The first is rejected, and half of the others are followed by one more.
            wire.send(*[post(b"[{}]" if value == 4 else house(value))] * (1 + (value > 4.5)))
        answers = [[wire.answer() for _ in range(1 + (value > 4.5))] for wire, value in zip(wires, values, strict=True)]
    assert max(sizes) > 4
    assert [found.status for found in answers[0]] == [422]
    for told, value in zip(answers[1:], values[1:], strict=True):
        assert [json.loads(found.body)["inputData"][0]["RM"] for found in told] == [value] * len(told)


def test_half_closed_connection_gets_its_responses(server):
    with Wire(server) as wire:
        wire.send(post() * 3)
        wire.socket.shutdown(socket.SHUT_WR)
        assert [wire.answer().status for _ in range(3)] == [200] * 3
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
            assert wire.answer().status == status
        except ConnectionResetError:
            assert len(fields) > 1_000_000
    assert server.offered == []


@pytest.mark.parametrize("length", ["-1", "+5", "0x10", "1e3", "5 5", "5,5", "", "9" * 30, "٣"])
def test_malformed_content_length_is_rejected(server, length):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: server\r\nContent-Length: {length}\r\n\r\n".encode()
    with Wire(server) as wire:
        assert wire.send(head + BODY).answer().status in (400, 413)
    assert server.offered == []


def test_too_large_body_is_rejected_before_it_arrives(server):
    with Wire(server) as wire:
        head = post(b"x" * (MAX_BODY_BYTES + 1))[:-MAX_BODY_BYTES]
        assert wire.send(head).answer().status == 413
    assert server.offered == []


def test_chunked_body_is_left_to_fastapi(server):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:50], BODY[50:])) + b"0\r\n\r\n"
    head = b"POST /v1/services/predict HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Wire(server) as wire:
        slow, fast = wire.send(head + chunks).answer(), wire.send(post()).answer()
    assert slow.body == fast.body
    assert len(server.offered) == 1


def test_expect_gets_100_continue(server):
    with Wire(server) as wire:
        request = post(fields="Expect: 100-continue\r\n")
        assert wire.send(request[: -len(BODY)]).answer().status == 100
        assert wire.send(BODY).answer().status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [post(fields="Connection: close\r\n"), post(version="1.0"), post(fields="Connection: foo, close\r\n")],
)
def test_connection_closes_on_request(server, request_bytes):
    with Wire(server) as wire:
        assert wire.send(request_bytes).answer().status == 200
        assert wire.is_closed()


def test_other_methods_and_paths_are_left_to_fastapi(server):
    with Wire(server) as wire:
        wire.send(
            b"HEAD /v1/predict HTTP/1.1\r\nHost: server\r\n\r\n" + b"GET /healthz HTTP/1.1\r\nHost: server\r\n\r\n"
        )
        head = wire.socket.recv(1 << 16)
        assert head.startswith(b"HTTP/1.1 405")
        wire.received = head.split(b"\r\n\r\n", 1)[1]
        assert json.loads(wire.answer().body) == {"status": "ok"}
        assert wire.send(post(path="/v1/nowhere")).answer().status == 404
        assert wire.send(post()).answer().status == 200


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"\x00" * 50, b"POST\r\n\r\n"])
def test_garbage_gets_400(server, garbage):
    with Wire(server) as wire:
        assert wire.send(garbage).answer().status == 400
        assert wire.is_closed()


def test_only_idle_connections_are_closed(server):
    with Wire(server) as idle, Wire(server) as busy:
        idle.send(post()).answer()
        began = time.monotonic()
        for _ in range(8):
            busy.send(post()).answer()
            time.sleep(KEEP_ALIVE_SECONDS / 5)
        assert idle.is_closed()
        busy.send(post(path="/v1/services/predict?")).answer()
        busy.send(post()).answer()
        began = time.monotonic()
        assert busy.is_closed()
        assert KEEP_ALIVE_SECONDS * 0.8 < time.monotonic() - began < KEEP_ALIVE_SECONDS * 3


def test_body_may_take_longer_than_keep_alive(server):
    with Wire(server) as wire:
        wire.send(post()).answer()
        request = post()
        assert wire.send(request[:-9], request[-9:], pause=KEEP_ALIVE_SECONDS * 1.3).answer().status == 200


def test_unread_responses_do_not_pile_up(server):
    """The server stops reading from a client that only sends; once it reads, it gets all responses."""
    n_requests, request = 1500, post(json.dumps([HOUSE] * 20).encode())
    with Wire(server) as wire:
        sending = threading.Thread(target=wire.send, args=(request * n_requests,))
        sending.start()
        offered = -1
        while offered < len(server.offered):
            offered = len(server.offered)
            time.sleep(0.3)
        assert 0 < offered < n_requests
        assert [wire.answer().status for _ in range(n_requests)] == [200] * n_requests
        sending.join()


def test_failing_fast_path_falls_back_to_fastapi(server, caplog):
    def fail(requests: Sequence[PredictionRequest]) -> list[PredictionResponse | None]:
        raise ZeroDivisionError

    with changed_handlers(server, lambda _: fail), Wire(server) as wire:
        assert wire.send(post()).answer().status == 200
    assert "ZeroDivisionError" in caplog.text


def test_invalid_row_is_rejected_by_fastapi(server):
    with Wire(server) as wire:
        found = wire.send(post(json.dumps([{**HOUSE, "RM": "six"}]).encode())).answer()
    assert found.status == 422
    assert json.loads(found.body)["detail"][0]["column"] == "RM"
    assert (len(server.offered), server.handled) == (1, 0)


@pytest.mark.parametrize("begun", [b"", b"POST /v1/pre", post()[:60]])
def test_stalled_request_gets_408(server, begun):
    with Wire(server) as wire:
        wire.socket.sendall(begun)
        assert wire.answer().status == 408
        assert wire.is_closed()


def test_stalled_body_gets_408(server):
    with Wire(server) as wire:
        wire.socket.sendall(post()[:-5])
        found = wire.answer()
    assert found.status == 408
    assert "within 2 s" in json.loads(found.body)["detail"][0]["msg"]


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
