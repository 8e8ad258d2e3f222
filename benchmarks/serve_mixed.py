"""A server under mixed load while versions move, a worker is killed and truths come in: is anything lost, or late?"""

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
class Seen:
    """What the clients were told: statuses, ids with the second of their answer, versions, broken connections."""

    statuses: Counter[int] = field(default_factory=Counter)
    answered: dict[str, float] = field(default_factory=dict)
    broken: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


class Client(threading.Thread):
    """Asks on one connection until told to end; every so often a bad row, a hundred rows, or truths."""

    def __init__(self, port: int, rows: list[dict[str, Any]], ends: threading.Event, seed: int) -> None:
        super().__init__()
        self.seen, self._port, self._rows, self._ends = Seen(), port, rows, ends
        self._draw, self._connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def run(self) -> None:
        while not self._ends.is_set():
            draw = self._draw.random()
            if draw < 0.05:
                self._ask("/v1/predict", [{**self._rows[0], "RM": "many"}])
            elif draw < 0.10:
                self._ask("/v1/predict", self._draw.choices(self._rows, k=100))
            elif draw < 0.15 and self.seen.answered:
                ids = list(self.seen.answered)[-20:]
                self._ask("/v1/labels", [{"id": named, "label": 21.5} for named in ids])
            elif draw < 0.2:
                self._ask("/v1/services/predict", self._rows[:1])
            else:
                self._ask("/v1/predict", self._draw.choices(self._rows, k=1))

    def _ask(self, path: str, body: list[dict[str, Any]]) -> None:
        began = time.monotonic()
        try:
            self._connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            # The worker at the other end was killed.
            self.seen.broken += 1
            self._connection.close()
            return
        now = time.monotonic()
        self.seen.slowest = max(self.seen.slowest, now - began)
        self.seen.statuses[answer.status] += 1
        if answer.status == 200 and path == "/v1/predict":
            told = json.loads(content)
            self.seen.versions[told["version"]] += 1
            self.seen.answered |= {row["id"]: time.time() for row in told["predictions"]}


def memory(pid: int) -> tuple[int, float]:
    """Return how many processes a server has, and their memory together in megabytes (proportional set size)."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    total = 0.0
    for each in pids:
        lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        total += next(float(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000
    return len(pids), total


def run(seconds: float, clients: int, workers: int) -> dict[str, Any]:
    """Load a server for so long, and say what came of it."""
    folder = Path(tempfile.mkdtemp())
    store, log = folder / "models", folder / "log.db"
    verbs.train.train(CONFIG, verbs.Context(store_path=str(store)))
    second = verbs.train.train(CONFIG, verbs.Context(("model.kind=linear",), store_path=str(store))).artefact.version
    first = version_folder(store / MODEL).name
    rows = open_artefact(store / MODEL / first).read_json("golden.json")["rows"]
    words = ["--model", MODEL, "--store", str(store), "--port", "0", "--log", str(log), "--workers", str(workers)]
    server = subprocess.Popen([*ESTIMATOR, "serve", *words, "--json"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(json.loads(server.stdout.readline())["url"].rsplit(":", 1)[1])
    ends, began = threading.Event(), time.monotonic()
    running = [Client(port, rows, ends, seed) for seed in range(clients)]
    for client in running:
        client.start()
    swaps, used, killed_at = 0, [memory(server.pid)[1]], 0.0
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
            used.append(memory(server.pid)[1])
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
    statuses = sum((client.seen.statuses for client in running), Counter[int]())
    lost = [killed_at - at for client in running for named, at in client.seen.answered.items() if named not in logged]
    return {
        "seconds": round(time.monotonic() - began), "requests": sum(statuses.values()), "statuses": dict(statuses),
        "broken connections": sum(client.seen.broken for client in running), "swaps": swaps,
        "versions": len(versions), "rows acknowledged": sum(len(client.seen.answered) for client in running),
        "rows logged": len(logged), "labels": labels, "rows lost": len(lost),
        "seconds before the kill of the first row lost": round(max(lost, default=0.0), 3),
        "seconds after the kill of the last row lost": round(max((-age for age in lost), default=0.0), 3),
        "slowest answer s": round(max(client.seen.slowest for client in running), 3),
        "memory MB": [round(value) for value in used],
    }  # fmt: skip


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="%(default)s")
    parser.add_argument("--clients", type=int, default=4, help="%(default)s")
    parser.add_argument("--workers", type=int, default=2, help="%(default)s")
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.seconds, chosen.clients, chosen.workers), indent=2))


if __name__ == "__main__":
    main()
