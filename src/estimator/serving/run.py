"""`estimator serve`: check the settings, open the socket, run uvicorn until the process is stopped."""

from __future__ import annotations

import ipaddress
import json
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from estimator.config import Serving, resolve_section
from estimator.core.credentials import redacted_data
from estimator.core.files import scratch_folder
from estimator.errors import ServingError
from estimator.prediction_log import PredictionLog, open_log
from estimator.serving.auth.access import Access
from estimator.serving.auth.keys import KeyRing, environment_key
from estimator.serving.auth.session import new_secret
from estimator.serving.gateway import Gateway
from estimator.serving.monitor_process import monitor_process
from estimator.serving.reload import ModelReference, ServedModels
from estimator.serving.routes import ServerContext
from estimator.serving.service import Service
from estimator.serving.shadow import Shadow
from estimator.serving.telemetry.recorder import REQUEST_EVENT, RequestRecorder
from estimator.serving.telemetry.traces import Traces
from estimator.serving.workers import run_workers
from estimator.store.artefact import Artefact

try:
    from estimator.serving import fast_path
except ImportError:
    # The folder may be deleted: FastAPI then handles all requests, with the same responses.
    fast_path = None  # type: ignore[assignment] # a module, or None

SHUTDOWN_TIMEOUT_SECONDS = 30
LOG_LEVELS = {"estimator.serving": logging.INFO, "uvicorn": logging.WARNING}


def run_server(
    references: Sequence[ModelReference],
    settings: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    allow_public: bool = False,
    ready: Callable[[Sequence[Artefact], str], None] = lambda artefacts, url: None,
    monitors: bool = False,
    note: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Serve the versions that references mean, until the process is stopped; `ready` gets the versions and the URL.

    `settings` override the environment, which overrides the serving section of a version of one's own; `note` gets what
    is not used of somebody else's. Host, port, keys and log are those of the first version. With `monitors`, a process
    next to the server monitors the log of every model.

    Raises
    ------
    ConfigError: a setting is invalid.
    ServingError: the host is public but no key is required, there is no valid key, or the port is not available.
    ArtefactError: a version does not reproduce the predictions of its golden rows.
    SourceError: the prediction log cannot be opened.
    """
    models = ServedModels(
        references,
        lambda artefact: resolve_section(
            "serving", Serving, artefact.config["serving"], environment, settings=settings
        ),
    )
    artefacts = [service.artefact for service in models.services]
    for service in models.services:
        _check_unused(service, note, allow_public=allow_public)
    serving = models.services[0].serving
    ring = _key_ring(serving, environment)
    if ring is None and not allow_public and not _is_loopback(serving.host):
        raise ServingError(
            f"host {serving.host} is reachable from other machines, but no API key is required",
            hint="create keys with `estimator key add` and pass their file with --keys-file, or pass --allow-public",
        )
    connect_log = _checked_log(serving, environment)
    if monitors and serving.prediction_log is None:
        raise ServingError("monitoring reads the prediction log, and there is none", hint="add --log")
    with _open_socket(serving) as listener, scratch_folder() as metrics, ExitStack() as processes:
        for artefact in artefacts if monitors else ():
            processes.enter_context(monitor_process(artefact, str(serving.prediction_log)))

        # All workers know the sessions of all.
        secret = new_secret()

        def work(ready: Callable[[], None]) -> None:
            _configure_logging()
            models.check()
            recorder = _recorder(models, connect_log, metrics)
            context = ServerContext(models.services, recorder, lambda: dict(models.errors), connect_log)
            rate = None if serving.rate_limit is None else serving.rate_limit / serving.workers
            gateway = Gateway(context, access=Access(ring, rate), reload=models.reload, session_secret=secret)
            server = build_server(gateway, serving)
            # A client that has seen the server ready may send a SIGHUP before its event loop runs.
            signal.signal(signal.SIGHUP, lambda *_: gateway.request_reload())
            ready()
            # uvicorn finishes the running requests, then raises the signal again: a stop is not a failure.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            server.run(sockets=[listener])

        report = partial(ready, artefacts, _url(listener, serving))
        if serving.workers == 1:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            work(report)
        else:
            run_workers(work, serving.workers, shutdown_seconds=SHUTDOWN_TIMEOUT_SECONDS + 1, ready=report)


def _check_unused(service: Service, note: Callable[[str], None], *, allow_public: bool) -> None:
    """Note what is not used of the serving section of somebody else's version.

    Raises
    ------
    ServingError: it requires API keys, and this server would not.
    """
    artefact, used = service.artefact, service.serving.model_dump(mode="json")
    unused = {
        key: value
        for key, value in artefact.unused_config.items()
        if key.startswith("serving.") and used.get(key.removeprefix("serving.")) != value
    }
    name, has_keys = f"{artefact.name} {artefact.version}", used["api_key_env"] or used["keys_file"]
    if not has_keys and not allow_public and unused.keys() & {"serving.api_key_env", "serving.keys_file"}:
        raise ServingError(
            f"{name} requires API keys by a config that is not used here, as it is not signed with your key",
            hint="pass --keys-file or --api-key-env, or --allow-public to require none; if the version is your own: "
            f"estimator sign {artefact.name}/{artefact.version}",
        )
    if unused:
        note(f"{name} is somebody else's: it is not signed with your key; not used of its config: {', '.join(unused)}")


def build_server(gateway: Gateway, serving: Serving) -> uvicorn.Server:
    """Return the uvicorn server of a gateway, with the fast path where it is installed.

    Raises
    ------
    ServingError: the TLS certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        gateway,
        # Without the fast path: h11, which limits the size of a head, as httptools does not.
        http="h11" if fast_path is None else fast_path.install(gateway),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        ssl_certfile=serving.tls_certificate,
        ssl_keyfile=serving.tls_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ServingError(
            f"TLS certificate {serving.tls_certificate} and key {serving.tls_key} cannot be used: {error}",
            hint="give a PEM file for each, as serving.tls_certificate and serving.tls_key",
        ) from error
    return uvicorn.Server(config)


def _recorder(models: ServedModels, connect_log: Callable[[], PredictionLog] | None, metrics: Path) -> RequestRecorder:
    serving = models.services[0].serving
    shadow = None
    if serving.shadow is not None and connect_log is not None:
        shadow = Shadow(connect_log, serving.log_retention_days, models.shadows)
    return RequestRecorder(
        connect_log=connect_log,
        retention_days=serving.log_retention_days,
        rejects_when_full=serving.log_overflow == "reject",
        has_access_log=serving.access_log,
        metrics_folder=metrics if serving.workers > 1 else None,
        shadow=shadow,
        traces=Traces(models.services[0].artefact.name) if serving.traces else None,
    )


def _key_ring(serving: Serving, environment: Mapping[str, str]) -> KeyRing | None:
    """Return the keys that the server requires, None when it requires none."""
    if serving.api_key_env is None and serving.keys_file is None:
        return None
    variable = serving.api_key_env
    fixed = [] if variable is None else [environment_key(variable, environment.get(variable, ""))]
    ring = KeyRing(fixed, None if serving.keys_file is None else Path(serving.keys_file))
    if ring.is_empty:
        raise ServingError(
            f"{serving.keys_file}: no keys in this file", hint=f"estimator key add NAME --file {serving.keys_file}"
        )
    return ring


def _checked_log(serving: Serving, environment: Mapping[str, str]) -> Callable[[], PredictionLog] | None:
    """Return what opens the prediction log, after opening it once to see that it can be used."""
    if serving.prediction_log is None:
        if serving.shadow is not None:
            raise ServingError(
                "a shadow's predictions are written to the prediction log, and there is none", hint="add --log"
            )
        return None
    connect_log = partial(open_log, serving.prediction_log, Path(), environment)
    connect_log().close()
    return connect_log


def _url(listener: socket.socket, serving: Serving) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if serving.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _open_socket(serving: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        return socket.create_server((serving.host, serving.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ServingError(
            f"cannot listen on {serving.host}:{serving.port}: {getattr(error, 'strerror', None) or error}",
            hint="choose another --port; 0 picks a free one",
        ) from error


class _JsonFormatter(logging.Formatter):
    """Formats a record as JSON: time in ISO 8601 (UTC), level, event, and the fields in `extra={"fields": {...}}`.

    A message of a library may quote an address with its password: what looks like a credential is left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        # The lines of ordinary requests hold nothing that a client wrote.
        content = content if record.msg == REQUEST_EVENT else redacted_data(content)
        return json.dumps(content, ensure_ascii=False, default=str)


def _configure_logging() -> None:
    """Write the log of the server and of uvicorn to stderr, as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    for name, level in LOG_LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
