"""Clients for tests: of a gateway in this process, and of a server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from estimator.config import Serving
from estimator.serving.gateway import Gateway
from estimator.serving.routes import ServerContext
from estimator.serving.service import Service
from estimator.serving.telemetry.recorder import RequestRecorder
from estimator.store.artefact import Artefact

ESTIMATOR = [sys.executable, "-m", "estimator"]


def gateway(*artefacts: Artefact, serving: Serving | None = None, **options: Any) -> Gateway:
    """Return the gateway of versions; `recorder`, `access` and `reload` as `Gateway` takes them."""
    recorder = options.pop("recorder", None) or RequestRecorder()
    services = [Service(artefact, serving or Serving(**artefact.config["serving"])) for artefact in artefacts]
    context = ServerContext(services, recorder, options.pop("reload_errors", dict), options.pop("connect_log", None))
    return Gateway(context, **options)


class Client:
    """Sends requests to an app in this process, one at a time."""

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


@contextmanager
def serving(
    model: Path, *options: str, command: list[str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve a version on a free port; give the process and its address."""
    process = subprocess.Popen(
        [*(command or ESTIMATOR), "serve", "--model", str(model), "--port", "0", "--json", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield process, json.loads(line)["url"]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def post(address: str, rows: object, path: str = "/v1/services/predict", **headers: str) -> Any:
    request = urllib.request.Request(
        f"{address}{path}", json.dumps(rows).encode(), {"content-type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def get(address: str, path: str, **headers: str) -> str:
    """Return the text at a path."""
    with urllib.request.urlopen(urllib.request.Request(f"{address}{path}", headers=headers), timeout=60) as response:
        return response.read().decode()


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within so many seconds."""
    end = time.monotonic() + seconds
    while not (is_true := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return is_true
