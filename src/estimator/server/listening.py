"""An artefact on a port: the address is checked, the socket opened, running requests are ended on SIGTERM."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Mapping

import uvicorn
from fastapi import FastAPI

from estimator.artefact import Artefact, check_golden
from estimator.config import Serving
from estimator.errors import ServingError
from estimator.server.app import build_app
from estimator.server.protocol import HotProtocol
from estimator.server.workers import keep_working

GRACE_SECONDS = 30


def listen(
    artefact: Artefact,
    serving: Serving,
    *,
    environment: Mapping[str, str],
    allow_public: bool = False,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a version until the process is told to end; `ready` is given the address.

    Raises
    ------
    ServingError: a public address without a key, an empty key, or the port cannot be had.
    ArtefactError: the version does not answer its golden rows as it did.
    """
    key = _key(serving, environment)
    if key is None and not allow_public and not _is_loopback(serving.host):
        raise ServingError(
            f"{serving.host} can be reached from other machines, and no key is asked for",
            hint="name the key's variable with serving.api_key_variable, or say --allow-public",
        )
    with _socket(serving) as opened:
        host, port = opened.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

        def work(ready: Callable[[], None]) -> None:
            check_golden(artefact)
            server = server_of(build_app(artefact, serving, key=key))
            ready()
            # uvicorn ends running requests, then raises the signal again: being told to end is no failure.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            server.run(sockets=[opened])

        if serving.workers == 1:
            work(lambda: ready(address))
        else:
            grace = GRACE_SECONDS + 1
            keep_working(work, serving.workers, seconds_to_end=grace, ready=lambda: ready(address))


def server_of(app: FastAPI) -> uvicorn.Server:
    """Return what answers for an app, with its hot path."""
    config = uvicorn.Config(
        app, http=HotProtocol, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(config)


def _key(serving: Serving, environment: Mapping[str, str]) -> str | None:
    if serving.api_key_variable is None:
        return None
    key = environment.get(serving.api_key_variable, "")
    if len(key) < 8:
        raise ServingError(
            f"the variable {serving.api_key_variable} should hold the key, but it is "
            + ("not set" if not key else "shorter than 8 characters")
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _socket(serving: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        return socket.create_server((serving.host, serving.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ServingError(
            f"cannot listen on {serving.host}:{serving.port}: {getattr(error, 'strerror', None) or error}",
            hint="choose another --port; 0 picks a free one",
        ) from error
