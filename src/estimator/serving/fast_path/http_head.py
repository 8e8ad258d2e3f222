"""The head of an HTTP/1.1 request that has nothing unusual about it -> its path, key and the length of its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from estimator.serving.auth.gate import credential_of

HEAD_END = b"\r\n\r\n"
# Longer ones are legal up to the limit of protocol.py, but not remembered.
ORDINARY_HEAD_BYTES = 2048

_REQUEST_LINE = re.compile(rb"POST (/[!-~]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_UNUSUAL = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te"})


@dataclass(frozen=True, slots=True)
class Head:
    """A POST whose body has a stated length in bytes and whose connection stays open."""

    path: str
    length: int
    credential: bytes | None
    parent: bytes | None = None


def _is_of_tables(named: Mapping[bytes, bytes]) -> bool:
    """Whether the body or the answer may be something else than JSON in UTF-8."""
    told = (named.get(b"content-type", b"") + named.get(b"accept", b"")).lower()
    return any(word in told for word in (b"charset", b"text/csv", b"vnd.apache"))


@lru_cache(maxsize=1024)
def read_head(head: bytes) -> Head | None:
    """Return what the lines before the empty one say; None when a full parser has to judge them.

    A client sends the same head again and again, so answers are remembered.
    """
    first, *lines = head.split(b"\r\n")
    request, fields = _REQUEST_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
    named: dict[bytes, bytes] = {}
    for field in fields:
        if field is None or (name := field[1].lower()) in _UNUSUAL or name in named:
            return None
        named[name] = field[2].rstrip(b" \t")
    length = named.get(b"content-length", b"")
    if request is None or _LENGTH.fullmatch(length) is None:
        return None
    if named.get(b"connection", b"keep-alive").lower() != b"keep-alive" or _is_of_tables(named):
        return None
    return Head(request[1].decode("ascii"), int(length), credential_of(named), named.get(b"traceparent"))
