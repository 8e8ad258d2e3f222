"""The API's docs without the internet: Swagger UI and ReDoc with scripts from an installed package."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

ASSETS = "/static-docs"
# ReDoc's script would fetch a logo; the browser is told to load nothing from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)


def add_pages(app: FastAPI) -> None:
    """Add /docs and /redoc to an app that was made without them."""
    static = files("fastapi_offline").joinpath("static")
    app.mount(ASSETS, StaticFiles(directory=str(static)), name="docs")
    icon = f"{ASSETS}/favicon.png"

    @app.get("/docs", include_in_schema=False)
    async def swagger() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url=app.openapi_url or "",
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=icon,
        )
        return _guarded(page)

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        script = f"{ASSETS}/redoc.standalone.js"
        page = get_redoc_html(
            openapi_url=app.openapi_url or "",
            title=app.title,
            redoc_js_url=script,
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )
        return _guarded(page)


def _guarded(page: HTMLResponse) -> HTMLResponse:
    page.headers["content-security-policy"] = POLICY
    page.headers["x-content-type-options"] = "nosniff"
    return page
