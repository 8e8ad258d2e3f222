"""Bytes changed by chance: the shortcuts of the server say what the thorough ways say, or leave it to them.

ESTIMATOR_FUZZ_INPUTS sets how many inputs each test tries; `make test-fuzz` tries millions.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence

import httptools
import msgspec
import pytest

from estimator.serving.fast_path.http_head import read_head
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.test_server_hot import MODELS, Pair

INPUTS = int(os.environ.get("ESTIMATOR_FUZZ_INPUTS", "3000"))
PIECES = [
    *(b"0", b"1", b"7", b"9", b".", b"-", b"e2", b" ", b" ", b"\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":"),
    *(b"null", b"true", b"1e999", b"-0.0", b"1e-999", b"9007199254740993", b"0.1", b'""', b'"NA"', b"\\u0041"),
    *(b"\\ud800", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80"),
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


def changed(body: bytes, pieces: Sequence[bytes], chance: random.Random) -> bytes:
    """Return bytes with one to four changes: something taken away, put in, put over, repeated or moved."""
    found = bytearray(body)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(found) + 1)
        stop = min(len(found), start + chance.choice((0, 0, 1, 1, 2, 5, 20)))
        part = bytes(found[start:stop])
        piece = chance.choice((chance.choice(pieces), chance.choice(pieces), chance.randbytes(1), part + part))
        found[start:stop] = piece
        if chance.random() < 0.1:
            place = chance.randrange(len(found) + 1)
            found[place:place] = part
    return bytes(found)


@pytest.mark.parametrize("name", MODELS)
def test_bodies_changed_by_chance_are_answered_alike(store, tell, name):
    pair, chance = Pair(open_artefact(version_folder(store / name))), random.Random(name)
    starts = [
        msgspec.json.encode(pair.rows[:1]), json.dumps(pair.rows[1:2]).encode(), msgspec.json.encode(pair.rows[2:4])
    ]  # fmt: skip
    at_once = sum(pair.agree(changed(chance.choice(starts), PIECES, chance)) for _ in range(INPUTS))
    assert 0 < at_once < INPUTS
    tell(f"{name}: {INPUTS:,} bodies changed by chance, {at_once:,} of them answered at once, all as the app does")


class Message:
    """What httptools makes of a request."""

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


def heads(chance: random.Random) -> Iterator[bytes]:
    for _ in range(INPUTS):
        yield changed(HEAD, HEAD_PIECES, chance).partition(b"\r\n\r\n")[0].removesuffix(b"\r\n")


def test_a_head_that_is_read_at_once_says_the_same_to_a_full_parser(tell):
    at_once = 0
    for head in heads(random.Random("head")):
        found = read_head.__wrapped__(head)
        if found is None:
            continue
        at_once += 1
        message = Message(head + b"\r\n\r\n")
        assert message.is_whole, head
        assert message.parser.get_method() == b"POST"
        assert message.parser.get_http_version() == "1.1"
        assert message.parser.should_keep_alive()
        assert message.url == found.path.encode()
        named = dict(message.fields)
        assert len(named) == len(message.fields), head
        assert named[b"content-length"] == b"%d" % found.length or int(named[b"content-length"]) == found.length
        assert named.get(b"x-api-key", b"").strip() == (found.credential or b"").strip()
    assert 0 < at_once < INPUTS
    tell(f"{INPUTS:,} heads changed by chance, {at_once:,} of them read at once, all as a full parser reads them")
