"""What is served on a port: the address is checked, the socket opened, running requests are ended on SIGTERM."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from estimator.config import Serving, resolve_kept
from estimator.errors import ServingError
from estimator.prediction_log import open_log
from estimator.serving.app import Front
from estimator.serving.auth.gate import Gate
from estimator.serving.auth.keys import KeyRing, given_key
from estimator.serving.fast_path.http_protocol import HotProtocol
from estimator.serving.gateway import Gateway
from estimator.serving.monitor_process import watched
from estimator.serving.reload import Following, Reference
from estimator.serving.shadow import Shadow
from estimator.serving.telemetry.exchange import JsonLines, Ledger
from estimator.serving.telemetry.traces import Traces
from estimator.serving.workers import keep_working
from estimator.store.artefact import Artefact

GRACE_SECONDS = 30


def listen(
    references: Sequence[Reference],
    settings: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    allow_public: bool = False,
    ready: Callable[[Sequence[Artefact], str], None] = lambda artefacts, address: None,
    watches: bool = False,
) -> None:
    """Serve what references mean until the process is told to end; `ready` is given the versions and the address.

    With `watches`, the log of every model is watched from a process beside the server.

    The settings win over the environment, and that over the serving section of a version; what concerns all requests
    is that of the first one.

    Raises
    ------
    ConfigError: a setting is wrong.
    ServingError: a public address without a key, no sound key, or the port cannot be had.
    ArtefactError: a version does not answer its golden rows as it did.
    SourceError: the prediction log cannot be opened.
    """
    following = Following(
        references,
        lambda artefact: resolve_kept("serving", Serving, artefact.config["serving"], environment, settings=settings),
    )
    artefacts = [service.artefact for service in following.services]
    serving = following.services[0].serving
    ring = _ring(serving, environment)
    if ring is None and not allow_public and not _is_loopback(serving.host):
        raise ServingError(
            f"{serving.host} can be reached from other machines, and no key is asked for",
            hint="make keys with `estimator key add` and name their file with --keys, or say --allow-public",
        )
    log = _log(serving, environment)
    if watches and serving.prediction_log is None:
        raise ServingError("what is watched is the prediction log, and there is none", hint="add --log")
    with _socket(serving) as opened, tempfile.TemporaryDirectory() as shared, ExitStack() as beside:
        for artefact in artefacts if watches else ():
            beside.enter_context(watched(artefact, str(serving.prediction_log)))
        address = _address(opened, serving)

        def work(ready: Callable[[], None]) -> None:
            following.check()
            _write_lines()
            shadow = None if serving.shadow is None or log is None else Shadow(log, serving.log_retention_days)
            if shadow is not None:
                shadow.services = following.shadows
            ledger = Ledger(
                log=log, days=serving.log_retention_days,
                refuses_when_full=serving.log_overflow == "reject", writes_lines=serving.access_log,
                shared=Path(shared) if serving.workers > 1 else None, shadow=shadow,
                traces=Traces(artefacts[0].name) if serving.traces else None,
            )  # fmt: skip
            front = Front(following.services, ledger, lambda: dict(following.faults), log)
            rate = None if serving.rate_limit is None else serving.rate_limit / serving.workers
            server = server_of(Gateway(front, gate=Gate(ring, rate), look=following.look), serving)
            ready()
            # uvicorn ends running requests, then raises the signal again: being told to end is no failure.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            server.run(sockets=[opened])

        told = partial(ready, artefacts, address)
        if serving.workers == 1:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            work(told)
        else:
            keep_working(work, serving.workers, seconds_to_end=GRACE_SECONDS + 1, ready=told)


def server_of(gateway: Gateway, serving: Serving) -> uvicorn.Server:
    """Return what answers for a gateway, with its hot path.

    Raises
    ------
    ServingError: the certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        gateway, http=HotProtocol, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS, ssl_certfile=serving.tls_certificate, ssl_keyfile=serving.tls_key,
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ServingError(f"{serving.tls_certificate}, {serving.tls_key}: no certificate and key: {error}") from error
    return uvicorn.Server(config)


def _ring(serving: Serving, environment: Mapping[str, str]) -> KeyRing | None:
    if serving.api_key_env is None and serving.keys_file is None:
        return None
    variable = serving.api_key_env
    fixed = [] if variable is None else [given_key(variable, environment.get(variable, ""))]
    ring = KeyRing(fixed, None if serving.keys_file is None else Path(serving.keys_file))
    if ring.is_empty:
        raise ServingError(
            f"{serving.keys_file} holds no key", hint=f"estimator key add NAME --file {serving.keys_file}"
        )
    return ring


def _log(serving: Serving, environment: Mapping[str, str]) -> Callable[[], Any] | None:
    """Return what opens the prediction log, which has been opened once."""
    if serving.prediction_log is None:
        if serving.shadow is not None:
            raise ServingError("a shadow's answers are kept in the prediction log, and there is none", hint="add --log")
        return None
    log = partial(open_log, serving.prediction_log, Path(), environment)
    log().close()
    return log


def _write_lines() -> None:
    """Write what the server and uvicorn have to say as JSON, a line each, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("estimator.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def _address(opened: socket.socket, serving: Serving) -> str:
    host, port = opened.getsockname()[:2]
    scheme = "https" if serving.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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
