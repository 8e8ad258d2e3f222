"""HTML pages of the server: the model page, and the API's docs, whose scripts come from an installed package."""

from __future__ import annotations

import re
from functools import cache, partial
from html import escape
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from estimator.config import Serving
from estimator.errors import PageError
from estimator.pages.render import source_hash
from estimator.serving.model_page.page import build_model_page
from estimator.store.artefact import Artefact

ASSETS_PATH = "/static-docs"
# ReDoc tries to load a logo from the internet, so everything from other hosts is blocked. Of the scripts in the page,
# those that FastAPI writes run, by their hashes, and none that came in by a name.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
BODY = re.compile(rb"<body[^>]*>")
# The docs have style sheets of their own.
SESSION_STYLE = (
    "<style>.session { margin: 0; padding: 8px 20px; font: 14px system-ui, sans-serif; text-align: right }</style>"
)
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
# The page itself holds a stricter policy, but frame-ancestors is only valid in a header.
PAGE_HEADERS = {
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "vary": "accept",
}


def add_docs(app: FastAPI) -> None:
    """Add /docs and /redoc, which load nothing from the internet."""
    static = files("fastapi_offline").joinpath("static")
    app.mount(ASSETS_PATH, StaticFiles(directory=str(static)), name="docs")
    app.add_api_route("/docs", swagger, include_in_schema=False)
    app.add_api_route("/redoc", redoc, include_in_schema=False)


async def swagger(request: Request) -> Response:
    page = get_swagger_ui_html(
        openapi_url=request.app.openapi_url or "",
        title=escape(request.app.title),
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
    )
    return _docs_page(request, page)


async def redoc(request: Request) -> Response:
    page = get_redoc_html(
        openapi_url=request.app.openapi_url or "",
        title=escape(request.app.title),
        redoc_js_url=f"{ASSETS_PATH}/redoc.standalone.js",
        redoc_favicon_url=f"{ASSETS_PATH}/favicon.png",
        with_google_fonts=False,
    )
    return _docs_page(request, page)


class BrowserRoute(APIRoute):
    """A route for browsers, signed in where keys are required; the next route of the same path serves the others."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the route handles a request."""
        is_page = "text/html" in Headers(scope=scope).get("accept", "")
        has_access = scope["exchange"].key is None or scope.get("session_key") is not None
        return super().matches(scope) if is_page and has_access else (Match.NONE, {})


def add_model_page(app: FastAPI, artefact: Artefact, serving: Serving) -> None:
    """Add the model page at /, built at the first request.

    The page contains the model and some training rows, so a server that requires keys shows it to browsers that are
    signed in, and one with private columns to none. A version that cannot become a page redirects to its docs.
    """
    if not serving.page or serving.private_columns:
        return
    app.state.build_page = cache(partial(build_model_page, artefact))
    app.router.add_api_route("/", model_page, include_in_schema=False, route_class_override=BrowserRoute)


def model_page(request: Request) -> Response:
    try:
        return HTMLResponse(with_sign_out(request, request.app.state.build_page().content), headers=PAGE_HEADERS)
    except PageError:
        return RedirectResponse("docs")


def with_sign_out(request: Request, page: bytes, style: str = "") -> bytes:
    """Return a page that a signed-in browser gets: with its key's name and a link to sign out at the top."""
    key = request.scope.get("session_key")
    if key is None:
        return page
    line = f'{style}<p class="session">{escape(key.name)} · <a href="/sign-in">Sign out</a></p>'
    return BODY.sub(lambda body: body[0] + line.encode(), page, count=1)


def _docs_page(request: Request, page: HTMLResponse) -> Response:
    hashes = "".join(f" '{source_hash(script)}'" for script in INLINE_SCRIPT.findall(bytes(page.body).decode()))
    headers = {"content-security-policy": DOCS_POLICY.format(hashes=hashes), "x-content-type-options": "nosniff"}
    return HTMLResponse(with_sign_out(request, bytes(page.body), SESSION_STYLE), headers=headers)
