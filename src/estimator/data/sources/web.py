"""HTTP and HTTPS: one file per address; redirects to other schemes are not followed."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO
from urllib import error as failures
from urllib import request
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from estimator.data.sources.address import Address
from estimator.data.sources.base import FileConnector
from estimator.data.sources.download import BLOCK_BYTES, save_blocks
from estimator.errors import SourceError

TIMEOUT_SECONDS = 30.0
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
HINTS: Mapping[int, str] = {
    401: "credentials are required: https://user:${NAME}@host/..., or a signature in the address",
    403: "access is denied: has a signature in the address expired?",
    404: "check the address in a browser",
}


class Http(FileConnector):
    """http://host/table.csv and https://."""

    @classmethod
    def download(cls, address: Address, scratch: Path, endings: tuple[str, ...]) -> dict[Path, str]:
        name = address.name
        with _failures_named(name), _opener().open(_request(address.url), timeout=TIMEOUT_SECONDS) as response:
            _reject_web_page(name, response.headers)
            length = response.headers["Content-Length"]
            size_bytes = None if length is None else int(length)
            encoding = response.headers["Content-Encoding"]
            path = save_blocks(_blocks(response), scratch, unquote(name), size_bytes=size_bytes, encoding=encoding)
        return {path: name}


@contextmanager
def _failures_named(name: str) -> Iterator[None]:
    """Turn failures of the network and of servers into a SourceError that names the address."""
    try:
        yield
    except failures.HTTPError as error:
        error.close()
        # The server's own message may repeat an address with its signature, so it is not shown.
        status = f"{error.code} {http.client.responses.get(error.code, '')}".strip()
        raise SourceError(f"{name}: the server responds with {status}", hint=_hint(error.code)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, failures.URLError) else error
        raise SourceError(
            f"{name}: cannot be downloaded: {_message(reason)}", hint="check the address, and try again"
        ) from None


def fetch(address: Address, *, max_bytes: int) -> bytes:
    """Return a small file at an address: over https, or over http from this machine.

    Raises
    ------
    SourceError: it cannot be reached, is larger than `max_bytes`, or comes over http from elsewhere.
    """
    name = address.name
    _reject_plain_http(name, address.url)
    with _failures_named(name), _opener().open(_request(address.url), timeout=TIMEOUT_SECONDS) as response:
        _reject_plain_http(name, response.url)
        content: bytes = response.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise SourceError(f"{name}: larger than {max_bytes:,} bytes", hint="is this the address of another file?")
    return content


def _reject_plain_http(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOCAL_HOSTS:
        raise SourceError(
            f"{name}: is sent over http, where anybody on the way can change it",
            hint="use https, or download it and read the file",
        )


class _Redirects(request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and sends user and password to the first host only."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise failures.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type] # headers are a Message


def _opener() -> request.OpenerDirector:
    """Return an opener for http and https, without file:, ftp: and data:."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(context=ssl.create_default_context()),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str) -> request.Request:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    # Only http and https reach this connector.
    result = request.Request(urlunsplit((parts.scheme, host, path, parts.query, "")))  # noqa: S310
    result.add_header("Accept-Encoding", "identity")
    result.add_header("User-Agent", "estimator")
    if user:
        result.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return result


def _blocks(response: IO[bytes]) -> Iterator[bytes]:
    while block := response.read(BLOCK_BYTES):
        yield block


def _reject_web_page(name: str, headers: Message) -> None:
    if headers.get_content_type() == "text/html":
        raise SourceError(
            f"{name}: expected a table, got a web page", hint="is it a login page? use the address of the file itself"
        )


def _message(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no response within {TIMEOUT_SECONDS:.0f} seconds"
    if isinstance(reason, http.client.IncompleteRead):
        return "the download stopped early"
    if isinstance(reason, OSError):
        return reason.strerror or type(reason).__name__
    return reason if isinstance(reason, str) else "not a valid address or response"


def _hint(code: int) -> str | None:
    return "it redirects to another scheme than http and https" if 300 <= code < 400 else HINTS.get(code)
