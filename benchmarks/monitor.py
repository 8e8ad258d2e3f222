"""The cost of monitoring: rows per second that the monitor can follow, and the server's latency next to it.

Twenty columns. First, the monitor catches up with a full log. Then a server gets 2,000 rows per second in requests of
100 rows, and single rows whose latency is measured, with and without `--monitor` in turns.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import machine_line

from estimator import verbs
from estimator.monitoring.loop import MonitorLoop
from estimator.prediction_log import PredictionRecord, open_log
from estimator.store.store import Store
from estimator.verbs.monitor import loop_settings

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "moving-market"
MODEL, TARGET = "moving_market", "Sale_Price"
ROWS_A_SECOND, ROWS_A_REQUEST = 2000, 100


def houses() -> list[dict[str, Any]]:
    """Return the rows of requests."""
    with gzip.open(FOLDER / "same_area.csv.gz", "rt", newline="") as file:
        return [{key: value or None for key, value in row.items() if key != TARGET} for row in csv.DictReader(file)]


def catch_up_speed(folder: Path, n_rows: int) -> tuple[float, float]:
    """Fill a log; return the rows per second of wall time and of CPU time in which the monitor reads it."""
    store = Store(folder / "models")
    artefact = verbs.Context(store_path=str(store.root)).version(MODEL)
    rows = houses()
    predictions = artefact.predictor.predict_batch(artefact.schema.read_rows(rows)).values.tolist()
    database, at = open_log(str(folder / "full.db"), Path(), {}), time.time()
    for start in range(0, n_rows, 10_000):
        row_numbers = range(start, min(start + 10_000, n_rows))
        database.write(
            [
                PredictionRecord(
                    f"{number:09d}", at + number / ROWS_A_SECOND, MODEL, artefact.version, rows[number % len(rows)],
                    {"prediction": predictions[number % len(rows)]},
                )
                for number in row_numbers
            ]
        )  # fmt: skip
    loop = MonitorLoop(store, database, MODEL, loop_settings(artefact, verbs.Context()), "benchmark")
    began = time.perf_counter(), time.process_time()
    loop.step(at + n_rows)
    elapsed = time.perf_counter() - began[0], time.process_time() - began[1]
    loop.close()
    return n_rows / elapsed[0], n_rows / elapsed[1]


@dataclass
class Load(threading.Thread):
    """Sends requests at a steady rate until stopped."""

    port: int
    body: bytes
    pause: float
    ends: threading.Event

    def __post_init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Send requests and record how long each response takes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        due = time.perf_counter()
        while not self.ends.is_set():
            due += self.pause
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            connection.request("POST", "/v1/predict", self.body, {"content-type": "application/json"})
            assert connection.getresponse().read()
            self.seconds.append(time.perf_counter() - began)


def served_latency(folder: Path, seconds: float, *, monitors: bool) -> tuple[float, float, float, int]:
    """Return median and 99th percentile of a single row's latency in ms, the rows per second, and the backlog."""
    log = folder / f"{'monitored' if monitors else 'plain'}-{time.time():.0f}.db"
    command = [
        sys.executable, "-m", "estimator", "serve", "--model", MODEL, "--port", "0", "--json", "--log", str(log),
        "--store", str(folder / "models"), *(["--monitor"] if monitors else []),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=FOLDER) as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        rows, ends = houses(), threading.Event()
        many = Load(port, json.dumps(rows[:ROWS_A_REQUEST]).encode(), ROWS_A_REQUEST / ROWS_A_SECOND, ends)
        one = Load(port, json.dumps(rows[:1]).encode(), 0.005, ends)
        for load in (many, one):
            load.start()
        time.sleep(seconds)
        ends.set()
        for load in (many, one):
            load.join()
        time.sleep(4.0)
        database = open_log(str(log), Path(), {})
        points = database.query("SELECT details FROM monitoring_points ORDER BY at DESC LIMIT 1")
        behind = database.count()[0] - (json.loads(points[0][0])["n_rows"] if points else 0)
        database.close()
        process.terminate()
        process.wait(60)
    single = sorted(one.seconds[len(one.seconds) // 5 :])
    rate = ROWS_A_REQUEST * len(many.seconds) / seconds
    return statistics.median(single) * 1e3, single[int(len(single) * 0.99)] * 1e3, rate, behind if monitors else 0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000, help="of the full log; %(default)s")
    parser.add_argument("--seconds", type=float, default=25.0, help="of each run of the server; %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(machine_line(["numpy", "onnxruntime"], {}))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        verbs.train.train(
            FOLDER / "config.yml",
            verbs.Context(("evaluation.importance_repeats=0",), store_path=str(folder / "models")),
        )
        wall, cpu = catch_up_speed(folder, options.rows)
        print(
            f"\n{options.rows:,} logged rows of 20 columns: {wall:,.0f} rows per second, {cpu:,.0f} per second of CPU\n"
        )
        print("| | median ms | 99th percentile ms | rows per second | rows behind after 4 s |\n|---|---|---|---|---|")
        for _ in range(options.rounds):
            for monitors in (False, True):
                middle, high, rate, behind = served_latency(folder, options.seconds, monitors=monitors)
                name = "with --monitor" if monitors else "without"
                print(
                    f"| {name} | {middle:.2f} | {high:.2f} | {rate:,.0f} | {behind if monitors else '-'} |", flush=True
                )


if __name__ == "__main__":
    main()
