"""A server that has just been started is asked what it must know, before anybody else may ask it."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from estimator.config import ENVIRONMENT_PREFIX, Serving
from estimator.errors import ImageError, RowError
from estimator.serving.request_body import row_error_content
from estimator.store.artefact import GOLDEN_TOLERANCE, Artefact

PATIENCE = 60.0
PAUSE = 0.02
N_ASKED = 300
# Seconds after which an engine is asked whether it still runs, which takes longer than asking the server.
LOOK_AGAIN = 0.5
# A trial is of the version and the code, not of who may ask: keys, logs and limits of its config are not there.
ENVIRONMENT = {
    f"{ENVIRONMENT_PREFIX}SERVING__{name.upper()}": json.dumps(value)
    for name, value in Serving().model_dump(mode="json").items()
    if name not in ("host", "port")
}


@dataclass(frozen=True, slots=True)
class SmokeTest:
    """What was checked: how it was started in words, seconds to the first answer, rows answered, rows refused.

    `latency` is how long one row took over HTTP on one connection, in milliseconds: the median, and 99 of 100.
    """

    started_by: str
    startup_seconds: float
    n_rows: int
    n_rejected: int
    latency_ms: tuple[float, float]


def ask(address: str, path: str, body: object = None, *, key: str | None = None) -> tuple[int, Any]:
    """Return the status and the JSON of an answer; `key` is what a server that asks for keys is sent.

    Raises
    ------
    OSError: there is no answer.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({} if key is None else {"x-api-key": key})
    request = urllib.request.Request(f"{address}{path}", data, headers)  # noqa: S310 # http, and our own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 # the same
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def run_smoke_test(
    artefact: Artefact, address: str, *, started: str, began: float, is_alive: Callable[[], bool]
) -> SmokeTest:  # fmt: skip
    """Ask a server that was begun to start at `began`, in seconds of time.monotonic, until it is ready; then check it.

    Its golden rows must get the answers they got when the version was made, and rows that break the contract the same
    refusal as here.

    Raises
    ------
    ImageError: it does not start, or does not answer as it must.
    """
    seconds = wait_until_ready(artefact.version, address, began=began, is_alive=is_alive)
    n_rows, n_rejected = check_answers(artefact, address)
    return SmokeTest(started, seconds, n_rows, n_rejected, _latency(artefact, address))


def check_answers(artefact: Artefact, address: str, *, key: str | None = None) -> tuple[int, int]:
    """Ask a server the golden rows and rows that break the contract; return how many of each.

    Raises
    ------
    ImageError: it does not answer as it must.
    """
    golden = artefact.read_json("golden.json")
    status, told = ask(address, f"/v1/models/{artefact.name}/predict", golden["rows"], key=key)
    if status != 200:
        raise ImageError(f"golden rows are rejected with {status}: {json.dumps(told)[:300]}")
    _check_answers(artefact, golden["predictions"], told["predictions"])
    n_rejected = 0
    for row in _broken(artefact, golden["rows"][0]):
        wanted = _refusal(artefact, row)
        status, told = ask(address, f"/v1/models/{artefact.name}/predict", [row], key=key)
        if status != 422 or told != wanted:
            raise ImageError(f"an invalid row gets {status}: {json.dumps(told)[:300]}, not {wanted}")
        n_rejected += 1
    return len(golden["rows"]), n_rejected


def _latency(artefact: Artefact, address: str) -> tuple[float, float]:
    body = json.dumps(artefact.read_json("golden.json")["rows"][:1]).encode()
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    found = []
    for _ in range(N_ASKED):
        began = time.perf_counter()
        connection.request("POST", f"/v1/models/{artefact.name}/predict", body, {"content-type": "application/json"})
        connection.getresponse().read()
        found.append(1000 * (time.perf_counter() - began))
    connection.close()
    median, most = np.quantile(found, [0.5, 0.99])
    return float(median), float(most)


def wait_until_ready(
    version: str, address: str, *, began: float, is_alive: Callable[[], bool], patience: float = PATIENCE
) -> float:
    """Ask a server until it is ready with a version; return the seconds since `began`, of time.monotonic.

    Raises
    ------
    ImageError: it ends, or is not ready after so many seconds of patience.
    """
    told: Any = "no response"
    looked = began
    while (now := time.monotonic()) - began < patience:
        try:
            status, told = ask(address, "/readyz")
            if status == 200 and told["version"] == version:
                return time.monotonic() - began
        except (OSError, ValueError) as error:
            told = error
        if now - looked > LOOK_AGAIN:
            looked = now
            if not is_alive():
                raise ImageError("the server exited instead of serving")
        time.sleep(PAUSE)
    raise ImageError(f"the image is not ready after {patience:.0f} s: {told}")


def _check_answers(artefact: Artefact, expected: list[Any], predictions: list[Mapping[str, Any]]) -> None:
    if levels := artefact.predictor.task.classes:
        found = [[each["probabilities"][level] for level in levels] for each in predictions]
    else:
        found = [each["prediction"] for each in predictions]
    if not np.allclose(found, expected, rtol=GOLDEN_TOLERANCE, atol=1e-7 if levels else 1e-9):
        raise ImageError("golden rows get different predictions in the image than in training")


def _broken(artefact: Artefact, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows that break the contract: a column missing, one unknown, one of a wrong type."""
    name = artefact.schema.features[0].name
    broken = [{key: value for key, value in row.items() if key != name}, {**row, name: [1]}]
    if artefact.schema.unknown_columns == "error":
        broken.append({**row, "no such column": 1})
    return broken


def _refusal(artefact: Artefact, row: Mapping[str, Any]) -> object:
    try:
        artefact.schema.read_rows([row])
    except RowError as error:
        return json.loads(json.dumps(row_error_content(error)))
    raise ImageError(f"{artefact.folder}: the schema accepts an invalid row")
