"""A server under mixed load while versions move, a worker is killed and labels arrive: is anything lost or late?"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estimator import verbs
from estimator.store.artefact import open_artefact
from estimator.store.store import Store, version_folder

CONFIG = Path(__file__).resolve().parent.parent / "examples" / "boston" / "config.json"
ESTIMATOR = [sys.executable, "-m", "estimator"]
MODEL = "house_pricing_model"


@dataclass
class ClientRecord:
    """What a client received: statuses, ids with the time of their response, versions, and broken connections."""

    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: dict[str, float] = field(default_factory=dict)
    broken: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


class Client(threading.Thread):
    """Sends requests on one connection until stopped; now and then a bad row, a hundred rows, or labels."""

    def __init__(self, port: int, rows: list[dict[str, Any]], ends: threading.Event, seed: int) -> None:
        super().__init__()
        self.record, self._port, self._rows, self._ends = ClientRecord(), port, rows, ends
        self._draw, self._connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def run(self) -> None:
        while not self._ends.is_set():
            draw = self._draw.random()
            if draw < 0.05:
                self._send("/v1/predict", [{**self._rows[0], "RM": "many"}])
            elif draw < 0.10:
                self._send("/v1/predict", self._draw.choices(self._rows, k=100))
            elif draw < 0.15 and self.record.acknowledged:
                ids = list(self.record.acknowledged)[-20:]
                self._send("/v1/labels", [{"id": row_id, "label": 21.5} for row_id in ids])
            elif draw < 0.2:
                self._send("/v1/services/predict", self._rows[:1])
            else:
                self._send("/v1/predict", self._draw.choices(self._rows, k=1))

    def _send(self, path: str, body: list[dict[str, Any]]) -> None:
        began = time.monotonic()
        try:
            self._connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            # The worker at the other end was killed.
            self.record.broken += 1
            self._connection.close()
            return
        now = time.monotonic()
        self.record.slowest = max(self.record.slowest, now - began)
        self.record.statuses[response.status] += 1
        if response.status == 200 and path == "/v1/predict":
            response_data = json.loads(content)
            self.record.versions[response_data["version"]] += 1
            self.record.acknowledged |= {row["id"]: time.time() for row in response_data["predictions"]}


def memory(pid: int) -> tuple[int, float]:
    """Return how many processes a server has, and their memory together in megabytes (proportional set size)."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    total = 0.0
    for process_id in pids:
        lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
        total += next(float(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000
    return len(pids), total


def run(seconds: float, clients: int, workers: int) -> dict[str, Any]:
    """Load a server for so long, and return the counts."""
    folder = Path(tempfile.mkdtemp())
    store, log = folder / "models", folder / "log.db"
    verbs.train.train(CONFIG, verbs.Context(store_path=str(store)))
    second = verbs.train.train(CONFIG, verbs.Context(("model.kind=linear",), store_path=str(store))).artefact.version
    first = version_folder(store / MODEL).name
    rows = open_artefact(store / MODEL / first).read_json("golden.json")["rows"]
    options = ["--model", MODEL, "--store", str(store), "--port", "0", "--log", str(log), "--workers", str(workers)]
    server = subprocess.Popen([*ESTIMATOR, "serve", *options, "--json"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(json.loads(server.stdout.readline())["url"].rsplit(":", 1)[1])
    ends, began = threading.Event(), time.monotonic()
    running = [Client(port, rows, ends, seed) for seed in range(clients)]
    for client in running:
        client.start()
    swaps, megabytes, killed_at = 0, [memory(server.pid)[1]], 0.0
    opened = Store(store)
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(10.0, seconds - passed))
        verbs.promote.promote(opened, f"{MODEL}/{(second, first)[swaps % 2]}", why="the benchmark")
        swaps += 1
        if not killed_at and passed > seconds / 2:
            child = int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0])
            os.kill(child, signal.SIGKILL)
            killed_at = time.time()
        elif not killed_at or time.time() - killed_at > 5:
            megabytes.append(memory(server.pid)[1])
    ends.set()
    for client in running:
        client.join()
    server.terminate()
    server.wait(60)
    with sqlite3.connect(log) as connection:
        logged = {row[0] for row in connection.execute("SELECT id FROM predictions")}
        labels = connection.execute("SELECT count(*) FROM labels").fetchone()[0]
        versions = dict(connection.execute("SELECT version, count(*) FROM predictions GROUP BY version").fetchall())
    shutil.rmtree(folder)
    statuses = sum((client.record.statuses for client in running), Counter[int]())
    lost = [
        killed_at - at
        for client in running
        for row_id, at in client.record.acknowledged.items()
        if row_id not in logged
    ]
    return {
        "seconds": round(time.monotonic() - began), "requests": sum(statuses.values()), "statuses": dict(statuses),
        "broken connections": sum(client.record.broken for client in running), "swaps": swaps,
        "versions": len(versions), "rows acknowledged": sum(len(client.record.acknowledged) for client in running),
        "rows logged": len(logged), "labels": labels, "rows lost": len(lost),
        "seconds before the kill of the first row lost": round(max(lost, default=0.0), 3),
        "seconds after the kill of the last row lost": round(max((-age for age in lost), default=0.0), 3),
        "slowest response s": round(max(client.record.slowest for client in running), 3),
        "memory MB": [round(value) for value in megabytes],
    }  # fmt: skip


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="%(default)s")
    parser.add_argument("--clients", type=int, default=4, help="%(default)s")
    parser.add_argument("--workers", type=int, default=2, help="%(default)s")
    options = parser.parse_args()
    print(json.dumps(run(options.seconds, options.clients, options.workers), indent=2))


if __name__ == "__main__":
    main()
