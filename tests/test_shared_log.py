"""Servers, a watcher, `why` and `monitor` share a log; one server is killed: every acknowledged row is there, once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest

from estimator.prediction_log import PredictionRecord, open_log
from tests.chaos import N_KILLS, count_kill
from tests.clients import ESTIMATOR, post
from tests.servers import PASSWORD, postgresql
from tests.test_learned_rows import table, trained

# Starts servers.
pytestmark = pytest.mark.slow
N_ROUNDS = N_KILLS or 1
ROW = {"area": 60.0, "city": "Bern", "secret": "x"}
# The writer writes every tenth of a second; the rest is what a busy machine adds.
LOST_SECONDS = 0.1 + 0.4
OLD_ROWS = 50


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "log.db")
        return
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with postgresql() as server:
        yield server.address


@dataclass
class Server:
    """A server that can be killed, and which rows it has acknowledged, and when, by `time.monotonic`."""

    folder: Path
    log: str
    acknowledged: dict[str, float] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    address: str = ""

    def start(self) -> None:
        options = ("--model", "models/house", "--port", "0", "--json", "--log", self.log)
        self.process = subprocess.Popen(
            [*ESTIMATOR, "serve", *options], cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = json.loads(self.process.stdout.readline())["url"]

    def send(self, until: float) -> None:
        """Send rows until a time, or until the server is gone."""
        while time.monotonic() < until:
            try:
                response = post(self.address, [ROW] * 2, "/v1/predict")
            except (OSError, HTTPException):
                return
            now = time.monotonic()
            self.acknowledged.update((row["id"], now) for row in response["predictions"])

    def stop(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=60)


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*ESTIMATOR, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 3), done.stderr
    return done.stdout


def logged_ids(log: str) -> list[str]:
    database = open_log(log, Path(), os.environ)
    try:
        return [record.id for record in database.read("house")]
    finally:
        database.close()


def delete_old_rows(log: str, stop: threading.Event) -> None:
    """Delete what is older than a day, again and again, as retention does each hour."""
    database = open_log(log, Path(), os.environ)
    while not stop.wait(0.05):
        database.delete_before(time.time() - 86_400)
    database.close()


def test_rows_of_a_shared_log_outlive_a_killed_server(tmp_path, log):
    version = trained(tmp_path, table(), model={"kind": "linear"}).version
    database = open_log(log, Path(), os.environ)
    old = [PredictionRecord(f"old{n}", 10.0 + n, "house", version, ROW, {"prediction": 1.0}) for n in range(OLD_ROWS)]
    database.write(old)
    database.close()
    servers, randomness, may_be_lost = [Server(tmp_path, log) for _ in range(2)], random.Random(4), set[str]()
    monitor = ("monitor", "house", "--store", "models", "--log", log)
    watcher = subprocess.Popen(
        [*ESTIMATOR, *monitor, "--schedule"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with ThreadPoolExecutor(4) as threads, ExitStack() as stack:
        stack.callback(watcher.communicate)
        stack.callback(watcher.terminate)
        stop = threading.Event()
        retention = threads.submit(delete_old_rows, log, stop)
        stack.callback(stop.set)
        for server in servers:
            server.start()
            stack.callback(server.stop, signal.SIGKILL)
        for number in range(N_ROUNDS):
            until = time.monotonic() + randomness.uniform(0.5, 2.0)
            sending = [threads.submit(server.send, until + index) for index, server in enumerate(servers[::-1])]
            killed = servers[0]
            time.sleep(max(until - time.monotonic(), 0))
            killed.stop(signal.SIGKILL)
            killed_at = time.monotonic()
            count_kill()
            may_be_lost |= {name for name, at in killed.acknowledged.items() if at > killed_at - LOST_SECONDS}
            if number == 0:
                first = next(iter(servers[1].acknowledged))
                assert json.loads(run(tmp_path, "why", first, "--log", log, "--store", "models", "--json"))
                assert json.loads(run(tmp_path, *monitor, "--json"))
            for future in sending:
                future.result(60)
            killed.start()
        for server in servers:
            server.stop(signal.SIGTERM)
        stop.set()
        retention.result(60)
    ids = logged_ids(log)
    acknowledged = set().union(*(server.acknowledged for server in servers))
    assert len(ids) == len(set(ids))
    assert acknowledged - set(ids) <= may_be_lost
    assert not any(name.startswith("old") for name in ids)
    # A request that was written just before the kill may lack its response.
    assert len(set(ids) - acknowledged) <= 2 * N_ROUNDS
    assert len(acknowledged) > 20 * N_ROUNDS
