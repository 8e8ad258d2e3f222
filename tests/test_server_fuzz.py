"""Random bytes: the fast path gives what the full parsers give, or leaves the request to them.

ESTIMATOR_FUZZ_INPUTS sets how many inputs each test tries; `make test-fuzz` tries millions.
"""

from __future__ import annotations

import http.client
import json
import os
import random
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import httptools
import msgspec
import pytest

from estimator.core.task import Task
from estimator.data.labels import TargetReader
from estimator.data.schema import Column
from estimator.data.schema.cells import CellError
from estimator.errors import RequestError, RowError
from estimator.prediction_log import open_log
from estimator.serving.fast_path.http_head import read_head
from estimator.serving.labels import read_labels
from estimator.serving.request_body import as_row_list
from estimator.serving.request_forms import ROWS_KEYS, SPLIT_KEY
from estimator.serving.service import ResponseFormat
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import get, serving
from tests.test_server_fast_path import MODELS, Pair

INPUTS = int(os.environ.get("ESTIMATOR_FUZZ_INPUTS", "3000"))
PIECES = [
    *(b"0", b"1", b"7", b"9", b".", b"-", b"e2", b" ", b" ", b"\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":"),
    *(b"null", b"true", b"1e999", b"-0.0", b"1e-999", b"9007199254740993", b"0.1", b'""', b'"NA"', b"\\u0041"),
    *(b"\\ud800", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1" * 400, b"[[]]", b"{}"),
]
HEAD_PIECES = [
    *(b"\r\n", b"\r", b"\n", b"\r\n ", b": ", b":", b" ", b"\t", b"\x00", b"\x7f", b"\x80", b"1.0", b"0", b"+", b","),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"X-API-Key: a\r\n"),
    *(b"Expect: 100-continue\r\n", b"chunked", b"keep-alive", b"GET ", b"POST ", b"HTTP/1.0", b"/../", b"%41", b"#"),
    *(b"?", b"//", b"a", b"5", b"-"),
]
HEAD = (
    b"POST /v1/predict HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\nContent-Length: 12\r\n"
    b"Connection: keep-alive\r\nX-API-Key: abc\r\n"
)


def mutate(body: bytes, pieces: Sequence[bytes], rng: random.Random) -> bytes:
    """Return bytes with one to four mutations: deleted, inserted, replaced, repeated or moved pieces."""
    result = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(result) + 1)
        stop = min(len(result), start + rng.choice((0, 0, 1, 1, 2, 5, 20)))
        part = bytes(result[start:stop])
        piece = rng.choice((rng.choice(pieces), rng.choice(pieces), rng.randbytes(1), part + part))
        result[start:stop] = piece
        if rng.random() < 0.1:
            index = rng.randrange(len(result) + 1)
            result[index:index] = part
    return bytes(result)


@pytest.mark.parametrize("name", MODELS)
def test_mutated_bodies_get_the_same_response(store, report_figure, name):
    pair, rng = Pair(open_artefact(version_folder(store / name))), random.Random(name)
    starts = [
        msgspec.json.encode(pair.rows[:1]), json.dumps(pair.rows[1:2]).encode(), msgspec.json.encode(pair.rows[2:4]),
        *(json.dumps({key: pair.rows[:2]}).encode() for key in ROWS_KEYS),
        json.dumps({name: [row[name] for row in pair.rows[:2]] for name in pair.rows[0]}).encode(),
        json.dumps({SPLIT_KEY: {"columns": list(pair.rows[0]), "data": [list(pair.rows[0].values())]}}).encode(),
    ]  # fmt: skip
    n_fast = 0
    for _ in range(INPUTS):
        body = mutate(rng.choice(starts), PIECES, rng)
        n_fast += pair.agree(body)
        accepted = pair.slow(ResponseFormat.FULL, body)
        # What is logged are the rows of the body, whatever its form.
        assert accepted is None or len(json.loads(as_row_list(body))) == accepted.n_rows
    assert 0 < n_fast < INPUTS
    report_figure(
        f"{name}: {INPUTS:,} mutated bodies, {n_fast:,} of them on the fast path, all with the response of FastAPI"
    )


@pytest.mark.slow
def test_odd_bodies_get_one_response_on_both_paths_and_are_logged(store, tmp_path, report_figure):
    """A body of known length may take the fast path; one in chunks never does."""
    name, rng, log, n_rows = "house_pricing_model", random.Random("odd"), tmp_path / "log.db", 0
    artefact = open_artefact(version_folder(store / name))
    start = msgspec.json.encode(Pair(artefact).rows[:2])
    with serving(artefact.folder, "--log", str(log)) as (_, address):
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        headers = {"Content-Type": "application/json"}
        for _ in range(INPUTS // 10):
            body = rng.choice((mutate(start, PIECES, rng), start.decode().encode("utf-16"), b"\xef\xbb\xbf" + start))
            pieces = iter([body[:9], body[9:]] if len(body) > 9 else [body])
            responses = []
            for options in ({"body": body}, {"body": pieces, "encode_chunked": True}):
                more = {"Transfer-Encoding": "chunked"} if "encode_chunked" in options else {}
                connection.request("POST", "/v1/predict", headers=headers | more, **options)
                response = connection.getresponse()
                responses.append((response.status, json.loads(response.read())))
            (status, first), (other_status, second) = responses
            assert status == other_status < 500, body
            if status == 200:
                n_rows += len(first["predictions"]) + len(second["predictions"])
            for content in (first, second):
                content.pop("request_id", None)
                for prediction in content.get("predictions", []):
                    prediction.pop("id")
            assert first == second, body
        connection.close()
        assert "estimator_prediction_log_failing 0" in get(address, "/metrics")
    database = open_log(str(log), tmp_path, {})
    logged = list(database.read(artefact.name))
    database.close()
    assert len(logged) == n_rows > 0
    report_figure(
        f"{INPUTS // 10:,} odd bodies on each path, {n_rows:,} rows predicted and logged, no response from 500 on"
    )


LABELS = b'[{"id": "a-0", "label": 1}, {"id": "a-1", "label": "yes"}, {"id": "a-2", "label": true}]'


def test_mutated_labels_are_read_or_named(report_figure):
    reader, rng = TargetReader(Column("y", "boolean"), Task("binary", ("no", "yes"))), random.Random("labels")
    n_read = 0
    for _ in range(INPUTS):
        try:
            values = [label.value for label in read_labels(mutate(LABELS, PIECES, rng), max_rows=10)]
            # What is stored can be written as JSON and read back.
            stored = [reader.label(value) for value in values]
            assert set(stored) <= {"no", "yes"}
            n_read += 1
        except (RequestError, RowError, CellError) as error:
            assert str(error)
    assert 0 < n_read < INPUTS
    report_figure(f"{INPUTS:,} mutated bodies of labels, {n_read:,} of them read")


class Message:
    """A request as httptools parses it."""

    def __init__(self, head: bytes) -> None:
        self.url, self.fields, self.is_whole = b"", list[tuple[bytes, bytes]](), False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(head)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.is_whole = True


def heads(rng: random.Random) -> Iterator[bytes]:
    for _ in range(INPUTS):
        yield mutate(HEAD, HEAD_PIECES, rng).partition(b"\r\n\r\n")[0].removesuffix(b"\r\n")


def test_mutated_heads_parse_as_httptools_parses_them(report_figure):
    n_fast = 0
    for head in heads(random.Random("head")):
        parsed = read_head.__wrapped__(head)
        if parsed is None:
            continue
        n_fast += 1
        message = Message(head + b"\r\n\r\n")
        assert message.is_whole, head
        assert message.parser.get_method() == b"POST"
        assert message.parser.get_http_version() == "1.1"
        assert message.parser.should_keep_alive()
        assert message.url == parsed.path.encode()
        headers = dict(message.fields)
        assert len(headers) == len(message.fields), head
        assert (
            headers[b"content-length"] == b"%d" % parsed.content_length
            or int(headers[b"content-length"]) == parsed.content_length
        )
        assert headers.get(b"x-api-key", b"").strip() == (parsed.credential or b"").strip()
    assert 0 < n_fast < INPUTS
    report_figure(f"{INPUTS:,} mutated heads, {n_fast:,} of them on the fast path, all parsed as httptools parses them")
