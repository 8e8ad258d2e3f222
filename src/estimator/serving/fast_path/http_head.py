"""The head of an ordinary HTTP/1.1 POST -> its path, API key and content length; unusual heads are left to uvicorn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from estimator.serving.auth.access import credential_of

HEAD_END = b"\r\n\r\n"
# Longer heads are legal, up to the limit in http_protocol.py, but are not cached.
MAX_CACHED_HEAD_BYTES = 2048

_REQUEST_LINE = re.compile(rb"POST (/[!-~]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_UNUSUAL = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A POST with a content length, in bytes, on a connection that stays open."""

    path: str
    content_length: int
    credential: bytes | None
    traceparent: bytes | None = None


@lru_cache(maxsize=1024)
def read_head(head: bytes) -> RequestHead | None:
    """Parse the lines before the empty line; None when only a full parser can decide what they mean.

    Clients send the same head with every request, so results are cached.
    """
    first, *lines = head.split(b"\r\n")
    request_line, fields = _REQUEST_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
    headers: dict[bytes, bytes] = {}
    for field in fields:
        if field is None or (name := field[1].lower()) in _UNUSUAL or name in headers:
            return None
        headers[name] = field[2].rstrip(b" \t")
    length = headers.get(b"content-length", b"")
    if request_line is None or _LENGTH.fullmatch(length) is None:
        return None
    if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive" or _may_be_table(headers):
        return None
    path = request_line[1].decode("ascii")
    return RequestHead(path, int(length), credential_of(headers), headers.get(b"traceparent"))


def _may_be_table(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request or its response may be something other than JSON in UTF-8."""
    media_types = (headers.get(b"content-type", b"") + headers.get(b"accept", b"")).lower()
    return any(text in media_types for text in (b"charset", b"csv", b"tab-sep", b"vnd.", b"zip", b"multipart"))
