"""What tests ask: a gateway in this process, and services of versions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from estimator.artefact import Artefact
from estimator.config import Serving
from estimator.server.app import Front
from estimator.server.gate import Gate
from estimator.server.gateway import Gateway
from estimator.server.ledger import Ledger
from estimator.server.service import Service


def gateway(*artefacts: Artefact, serving: Serving | None = None, **options: Any) -> Gateway:
    """Return what answers for versions; `ledger`, `gate`, `look` and limits as `Gateway` takes them."""
    ledger = options.pop("ledger", None) or Ledger()
    services = [Service(artefact, serving or Serving(**artefact.config["serving"])) for artefact in artefacts]
    return Gateway(Front(services, ledger, options.pop("faults", dict)), **{"gate": Gate(), **options})


class Client:
    """Asks an app in this process, one request at a time."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self("POST", path, content=content, headers={"content-type": "application/json", **headers})
