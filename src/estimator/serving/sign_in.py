"""The sign-in form for browsers, where the server requires API keys, and its routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.requests import cookie_parser
from starlette.types import Scope

from estimator.errors import RequestError
from estimator.pages.render import render_page
from estimator.serving.auth.access import NO_KEY, Rejection
from estimator.serving.auth.session import SESSION_SECONDS, Sessions
from estimator.serving.pages import PAGE_HEADERS
from estimator.serving.request_body import read_body

PATHS = ("/sign-in", "/sign-out")
COOKIE = "estimator_session"
# Where a browser goes that asked for no other page.
HOME = "/docs"
MAX_FORM_BYTES = 8192
# A path of this server. What follows "//" or "/\" would be the name of another one, also after a tab.
_OWN_PATH = re.compile(r"/(?![/\\])[!-~]*")
# With `no-referrer`, which other responses have, browsers would send the form without its origin.
_HEADERS = {**PAGE_HEADERS, "referrer-policy": "same-origin"}


def add_sign_in(app: FastAPI) -> None:
    """Add /sign-in and /sign-out."""
    app.add_api_route("/sign-in", sign_in_form, include_in_schema=False)
    app.add_api_route("/sign-in", sign_in, methods=["POST"], include_in_schema=False)
    app.add_api_route("/sign-out", sign_out, methods=["POST"], include_in_schema=False)


async def sign_in_form(request: Request) -> Response:
    _sessions(request)
    return HTMLResponse(_page(user=request.scope["exchange"].key or ""), headers=_HEADERS)


async def sign_in(request: Request) -> Response:
    sessions, exchange = _sessions(request), request.scope["exchange"]
    timeout_seconds = request.app.state.context.services[0].serving.request_timeout_seconds
    form = read_form(await read_body(request, MAX_FORM_BYTES, timeout_seconds))
    wanted = own_path(form.get("next", HOME))
    session = sessions.start(form.get("key", "").strip(), request.client.host if request.client else "")
    if isinstance(session, Rejection):
        exchange.rejection = session.reason
        return sign_in_page(session, wanted)
    key, token = session
    exchange.key = key.name
    response = RedirectResponse(wanted, status_code=303)
    _set_cookie(request, response, token, SESSION_SECONDS)
    return response


async def sign_out(request: Request) -> Response:
    _sessions(request)
    response = RedirectResponse("/sign-in", status_code=303)
    _set_cookie(request, response, "", 0)
    return response


def sign_in_page(rejection: Rejection, wanted: str) -> HTMLResponse:
    """Return the form as the response to a rejected request; it leads to the page that was wanted."""
    message = "" if rejection is NO_KEY else f"{rejection.message[0].upper()}{rejection.message[1:]}."
    content = _page(message=message, wanted=wanted)
    return HTMLResponse(content, status_code=rejection.status, headers={**_HEADERS, **dict(rejection.headers)})


def page_wanted(scope: Scope, headers: Mapping[bytes, bytes]) -> str | None:
    """Return the path and query of a request by a browser for a page; None for any other request."""
    if scope["method"] != "GET" or b"text/html" not in headers.get(b"accept", b""):
        return None
    query = scope["query_string"].decode("latin-1")
    return own_path(quote(scope["path"]) + (f"?{query}" if query else ""))


def session_cookie(headers: Mapping[bytes, bytes]) -> str:
    """Return the token in a request's cookies, an empty text if there is none."""
    return cookie_parser(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE, "")


def is_same_origin(headers: Mapping[bytes, bytes], scheme: str) -> bool:
    """Return whether a page of this server sent a request, by the header that no page can change.

    The page may have come by TLS where the request did not, from a proxy.

    >>> headers = {b"host": b"a:80", b"origin": b"http://a:80"}
    >>> is_same_origin(headers, "http"), is_same_origin(headers, "https"), is_same_origin({b"host": b"a:80"}, "http")
    (True, False, False)
    """
    host = headers.get(b"host", b"")
    return headers.get(b"origin", b"").lower() in (b"https://" + host.lower(), f"{scheme}://".encode() + host.lower())


def read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, by name; none if the body is not a form.

    >>> read_form(b"key=est_1&next=%2Fdocs"), read_form(b"[1]")
    ({'key': 'est_1', 'next': '/docs'}, {})
    """
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode("ascii"), max_num_fields=10).items()}
    except ValueError:
        return {}


def own_path(text: str) -> str:
    r"""Return a path of this server, or that of its documentation if a text is none.

    >>> own_path("/monitor?days=30"), own_path("//example.com"), own_path("/\\example.com"), own_path("https://a.b/")
    ('/monitor?days=30', '/docs', '/docs', '/docs')
    """
    return text if _OWN_PATH.fullmatch(text) else HOME


def _page(**values: str) -> bytes:
    return render_page("sign_in.html.j2", **{"user": "", "message": "", "wanted": HOME, **values})


def _sessions(request: Request) -> Sessions:
    sessions: Sessions | None = request.app.state.context.sessions
    if sessions is None:
        raise RequestError(404, "nothing to sign in to: this server requires no API keys")
    return sessions


def _set_cookie(request: Request, response: Response, token: str, seconds: int) -> None:
    is_secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, seconds, secure=is_secure, httponly=True, samesite="strict")
