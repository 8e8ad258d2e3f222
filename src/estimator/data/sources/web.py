"""http and https -> a local file; redirects lead to nothing but http and https."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO
from urllib import error as failures
from urllib import request
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from estimator.data.sources.address import Address
from estimator.data.sources.download import BLOCK_BYTES, Fetched, save
from estimator.errors import SourceError

TIMEOUT_SECONDS = 30.0
HINTS: Mapping[int, str] = {
    401: "it asks for a user: https://user:${NAME}@host/..., or a signature in the address",
    403: "this address may not be read: has a signature in it run out?",
    404: "check the address in a browser",
}


class _Redirects(request.HTTPRedirectHandler):
    """Follows to http and https alone; user and password stay with the host they were given for."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise failures.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type] # headers are a Message


def fetch_page(address: Address, scratch: Path, endings: tuple[str, ...]) -> Fetched:
    """Fetch one file; see `fetching.fetch`."""
    name = address.name
    try:
        with _opener().open(_request(address.url), timeout=TIMEOUT_SECONDS) as answer:
            _refuse_web_page(name, answer.headers)
            size = answer.headers["Content-Length"]
            path = save(_blocks(answer), scratch, unquote(name), size=None if size is None else int(size))
    except failures.HTTPError as error:
        error.close()
        # The server's own words may repeat an address with its signature.
        told = f"{error.code} {http.client.responses.get(error.code, '')}".strip()
        raise SourceError(f"{name}: the server says {told}", hint=_hint(error.code)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, failures.URLError) else error
        raise SourceError(
            f"{name}: cannot be fetched: {_told(reason)}", hint="check the address, and try again"
        ) from None
    return {path: name}


def _opener() -> request.OpenerDirector:
    """Return an opener that knows neither file: nor ftp: nor data:."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(), request.UnknownHandler(), request.HTTPHandler(),
        request.HTTPSHandler(context=ssl.create_default_context()), request.HTTPDefaultErrorHandler(),
        _Redirects(), request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _request(url: str) -> request.Request:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    # The scheme has been looked at: only http and https have this fetcher.
    made = request.Request(urlunsplit((parts.scheme, host, path, parts.query, "")))  # noqa: S310
    made.add_header("Accept-Encoding", "identity")
    made.add_header("User-Agent", "estimator")
    if user:
        made.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return made


def _blocks(answer: IO[bytes]) -> Iterator[bytes]:
    while block := answer.read(BLOCK_BYTES):
        yield block


def _refuse_web_page(name: str, headers: Message) -> None:
    if headers.get_content_type() == "text/html":
        raise SourceError(
            f"{name}: expected a table, the server sent a web page",
            hint="is it a page to log in? Give the address of the file itself",
        )


def _told(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:.0f} seconds"
    if isinstance(reason, http.client.IncompleteRead):
        return "the download broke off"
    if isinstance(reason, OSError):
        return reason.strerror or type(reason).__name__
    return reason if isinstance(reason, str) else "no valid address, or no valid answer"


def _hint(code: int) -> str | None:
    return "it redirects to something that is neither http nor https" if 300 <= code < 400 else HINTS.get(code)
