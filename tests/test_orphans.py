"""Whatever is killed, what it had started ends within seconds, and the next run removes what it left in /tmp."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from estimator.core.child_process import PARENT_VARIABLE
from estimator.prediction_log import Label, PredictionRecord, open_log
from tests.chaos import N_KILLS
from tests.clients import ESTIMATOR, within
from tests.test_learned_rows import context_of, table, trained

pytestmark = [
    # Starts processes that import everything.
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux to see all processes"),
]
MARK = "ESTIMATOR_TEST_ORPHANS"
N_ROUNDS = N_KILLS // 10 or 2
ROW = {"area": 60.0, "city": "Bern", "secret": "x"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A store with a live version, a config to tune, new rows, and an empty /tmp of its own."""
    trained(
        tmp_path,
        table(),
        model={"kind": "linear"},
        validation={"folds": 2},
        retraining={"candidates": ["refit", "new_only"], "every": "0.01 minutes"},
        tuning={"n_trials": 500, "space": {"model.penalty": {"low": 0.1, "high": 10.0}}},
    )
    table(2, 60).write_csv(tmp_path / "new.csv")
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    # What a failed test leaves.
    for pid in left(tmp_path):
        os.kill(pid, signal.SIGKILL)


def started(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a command whose processes, however deep, can be found by their environment."""
    environment = {**os.environ, MARK: str(folder), "TMPDIR": str(folder / "tmp")}
    with (folder / "err.txt").open("w") as errors:
        return subprocess.Popen(
            [*ESTIMATOR, *map(str, arguments)],
            cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip


def left(folder: Path) -> list[int]:
    """Return the processes that descend from the commands of a folder and still run."""
    mark, pids = f"{MARK}={folder}\0".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            is_ours = mark in path.read_bytes()
            if is_ours and ") Z " not in (path.parent / "stat").read_text():
                pids.append(int(path.parent.name))
    return pids


def kill_at_random(
    folder: Path, start: Callable[[], subprocess.Popen[str]], *, longest: float, at_least: int = 2
) -> None:
    """Kill a command at random moments, from its start on, and count what is left each time."""
    randomness, shared, n_most = random.Random(11), shared_memory(), 0
    for number in range(N_ROUNDS):
        process = start()
        begin, length = time.monotonic(), longest if number == 0 else randomness.uniform(0.1, longest)
        while process.poll() is None:
            n_most = max(n_most, len(left(folder)))
            # On a busy machine, the first one gets the time to start all of its processes.
            seconds = time.monotonic() - begin
            if seconds > length and (number > 0 or n_most >= at_least or seconds > 60):
                break
            time.sleep(0.05)
        process.kill()
        process.communicate()
        assert within(10, lambda: not left(folder)), (number, [names(pid) for pid in left(folder)])
    assert n_most >= at_least, (folder / "err.txt").read_text()
    assert shared_memory() <= shared
    print(f"{N_ROUNDS} kills of up to {n_most} processes, 0 left")
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    code = "from estimator.core.files import scratch_folder\nwith scratch_folder(): pass"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list((folder / "tmp").iterdir()) == []


def shared_memory() -> set[str]:
    """Return the names of the machine's shared memory, except those of database servers, which other tests run."""
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith("PostgreSQL.")}


def names(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_server_leaves_no_worker_monitor_or_reader(folder):
    body = pl.DataFrame([ROW])

    def serve() -> subprocess.Popen[str]:
        options = ("--model", folder / "models" / "house", "--port", 0, "--json", "--workers", 2)
        process = started(folder, "serve", *options, "--log", "log.db", "--monitor")
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["url"]
        for _ in range(4):
            post_table(address, body)
        return process

    kill_at_random(folder, serve, longest=5.0, at_least=6)


def post_table(address: str, rows: pl.DataFrame) -> None:
    """Send a Parquet body, which a worker reads in a process of its own."""
    content = io.BytesIO()
    rows.write_parquet(content)
    headers = {"content-type": "application/vnd.apache.parquet"}
    request = urllib.request.Request(f"{address}/v1/predict", content.getvalue(), headers)
    urllib.request.urlopen(request, timeout=60).close()


def test_server_killed_while_it_starts_leaves_nothing(folder):
    options = ("--model", folder / "models" / "house", "--port", 0, "--workers", 3, "--log", "log.db", "--monitor")
    kill_at_random(folder, lambda: started(folder, "serve", *options), longest=4.0)


def test_search_leaves_no_worker(folder):
    tune = ("tune", "--conf", "config.json", "--workers", 2)
    kill_at_random(folder, lambda: started(folder, *tune), longest=6.0)


def test_retraining_leaves_no_candidate(folder):
    retrain = ("retrain", "house", "--input", "new.csv", "--store", "models")
    kill_at_random(folder, lambda: started(folder, *retrain), longest=4.0)


def fill_log(folder: Path) -> None:
    """Log labeled rows, so that the monitor retrains as soon as it runs."""
    live, log = context_of(folder).version("house"), open_log(str(folder / "log.db"), Path(), {})
    rows = table(3, 200).to_dicts()
    labels = [Label(f"r{number}", row.pop("price")) for number, row in enumerate(rows)]
    now = time.time() + 1
    records = [
        PredictionRecord(f"r{number}", now, "house", live.version, row, {"prediction": 1.0})
        for number, row in enumerate(rows)
    ]
    log.write(records)
    log.add_labels(labels, now)
    log.close()


def test_watcher_leaves_no_candidate(folder):
    """The candidate is a child of the monitor, which is a child of the server."""
    fill_log(folder)
    options = ("--model", folder / "models" / "house", "--port", 0, "--log", "log.db", "--monitor")
    kill_at_random(folder, lambda: started(folder, "serve", *options), longest=8.0, at_least=3)


# A process that starts another one, which says that it runs.
STARTER = """
import subprocess, sys
from estimator.core.child_process import child_environment
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=child_environment())
sys.stdin.read()
"""
# Its argument is what it does then.
CHILD = """
import re, signal, time
from estimator.core.child_process import end_with_parent
{before}
end_with_parent(thread_stays={thread_stays}, grace_seconds=0.2)
print("running", flush=True)
{work}
"""
HOLDS_THE_LOCK = 're.match("(a+)+$", "a" * 60 + "b")'


@pytest.mark.parametrize(
    ("before", "work", "thread_stays"),
    [
        ("", "time.sleep(600)", False),
        ("", HOLDS_THE_LOCK, True),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "time.sleep(600)", True),
    ],
    ids=["other systems", "a computation in C", "SIGTERM is ignored"],
)
def test_child_ends_whatever_it_does(tmp_path, before, work, thread_stays):
    code = CHILD.format(before=before, work=work, thread_stays=thread_stays)
    environment = {**os.environ, MARK: str(tmp_path)}
    command = [sys.executable, "-c", STARTER, code]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"running\n"
        parent.kill()
        parent.wait()
        assert within(10, lambda: not left(tmp_path))


def test_child_whose_parent_ended_before_it_began_ends():
    code = CHILD.format(before="", work="time.sleep(600)", thread_stays=True)
    environment = {**os.environ, PARENT_VARIABLE: "2000000000"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == -signal.SIGTERM
