"""What watching costs: rows a second that a watcher keeps up with, and what it takes from those who answer.

Twenty columns. First, a log that is full already is caught up with. Then a server is asked for 2,000 rows a second in
requests of 100 rows, and for single rows whose latency is measured, once with `--watch` and once without, in turns.
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
    """Give the houses that the model may be asked for."""
    with gzip.open(FOLDER / "same_area.csv.gz", "rt", newline="") as file:
        return [{key: value or None for key, value in row.items() if key != TARGET} for row in csv.DictReader(file)]


def caught_up(folder: Path, n_rows: int) -> tuple[float, float]:
    """Fill a log, and give the rows a second of wall and of CPU time in which it is looked at."""
    store = Store(folder / "models")
    artefact = verbs.Context(store_path=str(store.root)).version(MODEL)
    rows = houses()
    answers = artefact.predictor.predict_batch(artefact.schema.read_rows(rows)).values.tolist()
    database, at = open_log(str(folder / "full.db"), Path(), {}), time.time()
    for start in range(0, n_rows, 10_000):
        places = range(start, min(start + 10_000, n_rows))
        database.write(
            [
                PredictionRecord(f"{place:09d}", at + place / ROWS_A_SECOND, MODEL, artefact.version, rows[place % len(rows)],
                       {"prediction": answers[place % len(rows)]})
                for place in places
            ]
        )  # fmt: skip
    loop = MonitorLoop(store, database, MODEL, loop_settings(artefact, verbs.Context()), "benchmark")
    began = time.perf_counter(), time.process_time()
    loop.step(at + n_rows)
    taken = time.perf_counter() - began[0], time.process_time() - began[1]
    loop.close()
    return n_rows / taken[0], n_rows / taken[1]


@dataclass
class Load(threading.Thread):
    """Asks for rows at a steady rate until told to end."""

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
        """Ask, and note how long each answer took."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        due = time.perf_counter()
        while not self.ends.is_set():
            due += self.pause
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            connection.request("POST", "/v1/predict", self.body, {"content-type": "application/json"})
            assert connection.getresponse().read()
            self.seconds.append(time.perf_counter() - began)


def served(folder: Path, seconds: float, *, watches: bool) -> tuple[float, float, float, int]:
    """Give the median and the 99th percentile of a single row's latency in ms, the rows a second, and those behind."""
    log = folder / f"{'watched' if watches else 'plain'}-{time.time():.0f}.db"
    command = [
        sys.executable, "-m", "estimator", "serve", "--model", MODEL, "--port", "0", "--json", "--log", str(log),
        "--store", str(folder / "models"), *(["--monitor"] if watches else []),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=FOLDER) as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        rows, ends = houses(), threading.Event()
        many = Load(port, json.dumps(rows[:ROWS_A_REQUEST]).encode(), ROWS_A_REQUEST / ROWS_A_SECOND, ends)
        one = Load(port, json.dumps(rows[:1]).encode(), 0.005, ends)
        for each in (many, one):
            each.start()
        time.sleep(seconds)
        ends.set()
        for each in (many, one):
            each.join()
        time.sleep(4.0)
        database = open_log(str(log), Path(), {})
        points = database.query("SELECT details FROM monitoring_points ORDER BY at DESC LIMIT 1")
        behind = database.count()[0] - (json.loads(points[0][0])["n_rows"] if points else 0)
        database.close()
        process.terminate()
        process.wait(60)
    single = sorted(one.seconds[len(one.seconds) // 5 :])
    rate = ROWS_A_REQUEST * len(many.seconds) / seconds
    return statistics.median(single) * 1e3, single[int(len(single) * 0.99)] * 1e3, rate, behind if watches else 0


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
        wall, cpu = caught_up(folder, options.rows)
        print(f"\n{options.rows:,} logged rows of 20 columns: {wall:,.0f} rows a second, {cpu:,.0f} a second of CPU\n")
        print("| | median ms | 99th percentile ms | rows a second | rows behind after 4 s |\n|---|---|---|---|---|")
        for _ in range(options.rounds):
            for watches in (False, True):
                middle, high, rate, behind = served(folder, options.seconds, watches=watches)
                name = "with --watch" if watches else "without"
                print(
                    f"| {name} | {middle:.2f} | {high:.2f} | {rate:,.0f} | {behind if watches else '-'} |", flush=True
                )


if __name__ == "__main__":
    main()
