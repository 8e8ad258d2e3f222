"""Pages for people: the model itself, and the API's docs with scripts from an installed package, not the internet."""

from __future__ import annotations

from functools import cache, partial
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
from estimator.serving.model_page.page import model_page
from estimator.store.artefact import Artefact

ASSETS = "/static-docs"
# ReDoc's script would fetch a logo; the browser is told to load nothing from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)
# The model's page holds a stricter policy of its own, in which this cannot be said.
PAGE_HEADERS = {
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "vary": "accept",
}


def add_pages(app: FastAPI) -> None:
    """Add /docs and /redoc to an app that was made without them."""
    static = files("fastapi_offline").joinpath("static")
    app.mount(ASSETS, StaticFiles(directory=str(static)), name="docs")
    app.add_api_route("/docs", swagger, include_in_schema=False)
    app.add_api_route("/redoc", redoc, include_in_schema=False)


async def swagger(request: Request) -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url=request.app.openapi_url or "",
        title=request.app.title,
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon.png",
    )
    return _guarded(page)


async def redoc(request: Request) -> HTMLResponse:
    page = get_redoc_html(
        openapi_url=request.app.openapi_url or "",
        title=request.app.title,
        redoc_js_url=f"{ASSETS}/redoc.standalone.js",
        redoc_favicon_url=f"{ASSETS}/favicon.png",
        with_google_fonts=False,
    )
    return _guarded(page)


class ForBrowsers(APIRoute):
    """A path for those who accept HTML; all others are answered by the next route of the path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a request is meant."""
        accepted = Headers(scope=scope).get("accept", "")
        return super().matches(scope) if "text/html" in accepted else (Match.NONE, {})


def add_model_page(app: FastAPI, artefact: Artefact, serving: Serving) -> None:
    """Add the model as a page at /, made when it is first asked for.

    A server that asks for keys, or keeps columns private, gives answers, not the model itself with rows of training. A
    version that cannot become a page has its docs.
    """
    if not serving.page or serving.private_columns or serving.keys_file is not None or serving.api_key_env is not None:
        return
    app.state.page = cache(partial(model_page, artefact))
    app.router.add_api_route("/", page, include_in_schema=False, route_class_override=ForBrowsers)


def page(request: Request) -> Response:
    try:
        return HTMLResponse(request.app.state.page().content, headers=PAGE_HEADERS)
    except PageError:
        return RedirectResponse("docs")


def _guarded(page: HTMLResponse) -> HTMLResponse:
    page.headers["content-security-policy"] = POLICY
    page.headers["x-content-type-options"] = "nosniff"
    return page
