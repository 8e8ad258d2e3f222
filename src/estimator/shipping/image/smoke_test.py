"""The smoke test of a server that has just started: golden rows, invalid rows and latency."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from estimator.errors import ImageError, RowError
from estimator.serving.request_body import row_error_content
from estimator.store.artefact import GOLDEN_TOLERANCE, Artefact

STARTUP_TIMEOUT_SECONDS = 60.0
REQUEST_TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.02
# Asking an engine whether a container runs takes longer than asking the server.
ALIVE_CHECK_SECONDS = 0.5
N_LATENCY_REQUESTS = 300
# The address is our own, and its certificate is for another name.
UNVERIFIED = ssl._create_unverified_context()  # noqa: S323 # the same


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server under test: its URL, how it was started, and when, in seconds of time.monotonic.

    `key` is an API key, None if the server requires none.
    """

    address: str
    started_by: str
    started_at: float
    is_alive: Callable[[], bool]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class SmokeTest:
    """The result of a passed smoke test; latencies are of one row over HTTP on one connection.

    `requires_key` is whether the server rejects requests without an API key.
    """

    started_by: str
    startup_seconds: float
    n_rows: int
    n_rejected: int
    latency_median_ms: float
    latency_p99_ms: float
    requires_key: bool


def run_smoke_test(artefact: Artefact, server: RunningServer) -> SmokeTest:
    """Wait until a server is ready, then check its predictions and errors and measure its latency.

    Raises
    ------
    ImageError: the server exits, is not ready in time, or returns other predictions or errors than the version.
    """
    startup_seconds = wait_until_ready(
        artefact.version, server.address, started_at=server.started_at, is_alive=server.is_alive
    )
    if server.key is not None:
        _check_keys(artefact, server.address)
    n_rows, n_rejected = check_responses(artefact, server.address, key=server.key)
    median_ms, p99_ms = _latency_ms(artefact, server)
    return SmokeTest(server.started_by, startup_seconds, n_rows, n_rejected, median_ms, p99_ms, server.key is not None)


def request_json(address: str, path: str, body: object = None, *, key: str | None = None) -> tuple[int, Any]:
    """Return the status and the JSON body of a response; `key` is sent as the API key.

    Raises
    ------
    OSError: there is no response.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}{path}", data, _headers(key))  # noqa: S310 # http, and our own address
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS, context=UNVERIFIED) as response:  # noqa: S310 # the same
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def wait_until_ready(
    version: str,
    address: str,
    *,
    started_at: float,
    is_alive: Callable[[], bool],
    timeout_seconds: float = STARTUP_TIMEOUT_SECONDS,
) -> float:
    """Poll a server until it is ready with a version; return the seconds since `started_at`, of time.monotonic.

    Raises
    ------
    ImageError: the server exits, or is not ready in time.
    """
    last: Any = "no response"
    checked_at = started_at
    while (now := time.monotonic()) - started_at < timeout_seconds:
        try:
            status, last = request_json(address, "/readyz")
            if status == 200 and last["version"] == version:
                return time.monotonic() - started_at
        except (OSError, ValueError) as error:
            last = error
        if now - checked_at > ALIVE_CHECK_SECONDS:
            checked_at = now
            if not is_alive():
                raise ImageError("the server exited instead of serving")
        time.sleep(POLL_SECONDS)
    raise ImageError(f"the image is not ready after {timeout_seconds:.0f} s: {last}")


def check_responses(artefact: Artefact, address: str, *, key: str | None = None) -> tuple[int, int]:
    """Send a server the golden rows and invalid rows; return the number of each.

    Raises
    ------
    ImageError: predictions differ from those at training, or errors from those of the version's schema.
    """
    path = f"/v1/models/{artefact.name}/predict"
    golden = artefact.read_json("golden.json")
    _check_predictions(artefact, golden["predictions"], _predictions(address, path, golden["rows"], key))
    invalid_rows = _invalid_rows(artefact, golden["rows"][0])
    for row in invalid_rows:
        expected = _expected_error(artefact, row)
        status, content = request_json(address, path, [row], key=key)
        if status != 422 or content != expected:
            raise ImageError(f"an invalid row gets {status}: {json.dumps(content)[:300]}, not {expected}")
    return len(golden["rows"]), len(invalid_rows)


def _check_keys(artefact: Artefact, address: str) -> None:
    """Check that a server that requires keys rejects requests without one, and with an unknown one."""
    for key, text in ((None, "without an API key"), ("unknown", "with an unknown API key")):
        status, _ = request_json(address, f"/v1/models/{artefact.name}/schema", key=key)
        if status != 401:
            raise ImageError(f"the serving section requires API keys, but a request {text} gets {status}, not 401")


def _predictions(address: str, path: str, rows: list[Any], key: str | None) -> list[Any]:
    """Return the predictions of rows, which are sent one by one where all of them are too many for one request."""
    status, content = request_json(address, path, rows, key=key)
    if status == 413 and len(rows) > 1:
        return [prediction for row in rows for prediction in _predictions(address, path, [row], key)]
    if status != 200:
        raise ImageError(f"golden rows are rejected with {status}: {json.dumps(content)[:300]}")
    predictions: list[Any] = content["predictions"]
    return predictions


def _headers(key: str | None) -> dict[str, str]:
    return {"content-type": "application/json"} | ({} if key is None else {"x-api-key": key})


def _check_predictions(artefact: Artefact, expected: list[Any], predictions: list[Mapping[str, Any]]) -> None:
    classes = artefact.predictor.task.classes
    if classes:
        actual = [[prediction["probabilities"][name] for name in classes] for prediction in predictions]
    else:
        actual = [prediction["prediction"] for prediction in predictions]
    if not np.allclose(actual, expected, rtol=GOLDEN_TOLERANCE, atol=1e-7 if classes else 1e-9):
        raise ImageError("golden rows get different predictions in the image than in training")


def _invalid_rows(artefact: Artefact, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows that the schema rejects: a missing column, a wrong type and an unknown column."""
    name = artefact.schema.features[0].name
    rows = [{key: value for key, value in row.items() if key != name}, {**row, name: [1]}]
    if artefact.schema.unknown_columns == "error":
        rows.append({**row, "no such column": 1})
    return rows


def _expected_error(artefact: Artefact, row: Mapping[str, Any]) -> object:
    try:
        artefact.schema.read_rows([row])
    except RowError as error:
        return json.loads(json.dumps(row_error_content(error)))
    raise ImageError(f"{artefact.folder}: the schema accepts an invalid row")


def _latency_ms(artefact: Artefact, server: RunningServer) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    body = json.dumps(artefact.read_json("golden.json")["rows"][:1]).encode()
    scheme, _, host = server.address.partition("://")
    connection = (
        http.client.HTTPSConnection(host, timeout=REQUEST_TIMEOUT_SECONDS, context=UNVERIFIED)
        if scheme == "https"
        else http.client.HTTPConnection(host, timeout=REQUEST_TIMEOUT_SECONDS)
    )
    times_ms = []
    for _ in range(N_LATENCY_REQUESTS):
        sent_at = time.perf_counter()
        connection.request("POST", f"/v1/models/{artefact.name}/predict", body, _headers(server.key))
        connection.getresponse().read()
        times_ms.append(1000 * (time.perf_counter() - sent_at))
    connection.close()
    median, p99 = np.quantile(times_ms, [0.5, 0.99])
    return float(median), float(p99)
