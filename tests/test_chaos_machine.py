"""Nothing is lost or doubled on a machine whose clock jumps or whose disk is slow."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from estimator.prediction_log import open_log
from estimator.store.artefact import check_golden, open_artefact
from estimator.store.store import Store
from tests.chaos import N_KILLS, count_kill
from tests.clients import ESTIMATOR, post, within
from tests.conftest import ROOT
from tests.test_learned_rows import table, write_quick_config

pytestmark = [
    pytest.mark.skipif(not N_KILLS, reason="a minute or more: make test-chaos"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for what stands in for the machine"),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's LD_PRELOAD"),
]
DAY = 86_400.0
ROW = {"area": 60.0, "city": "Bern", "secret": "x"}
TRAIN = ("train", "--conf", "config.json", "--store", "models")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("machine") / "bad_machine.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, ROOT / "tests" / "bad_machine.c", "-ldl"], check=True)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table().write_csv(tmp_path / "t.csv")
    write_quick_config(tmp_path / "config.json")
    return tmp_path


@pytest.fixture
def start(library: Path, folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command in the folder on a machine with a wrong clock, a slow disk or both."""

    def started(*arguments: object, **machine: object) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            **{name: str(value) for name, value in machine.items()},
        }
        return subprocess.Popen(
            [*ESTIMATOR, *map(str, arguments)],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return started


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 3), err
    return out


def set_clock(path: Path, days: float) -> Path:
    """Set by how much the clock is wrong, of processes that run and of those to come."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(struct.pack("d", days * DAY))
    return path


def checked_versions(folder: Path) -> set[str]:
    """Check that every version is whole and that history and aliases agree; return the versions."""
    store, model = Store(folder / "models"), folder / "models" / "house"
    versions = {path.name for path in model.glob("20*")}
    for version in versions:
        check_golden(open_artefact(model / version))
    for alias, version in store.aliases("house").items():
        assert [change.version for change in store.history("house") if change.alias == alias][-1] == version
        assert version in versions
    return versions


def test_versions_and_moves_survive_a_clock_that_jumps(folder, start):
    clock = folder / "clock"
    for days in (0, 400, -400):
        finished(start(*TRAIN, CHAOS_CLOCK=set_clock(clock, days)))
    assert len(checked_versions(folder)) == 3
    for days in (400, -800):
        before = Store(folder / "models").aliases("house")
        set_clock(clock, days)
        finished(start("promote", "house", "--store", "models", CHAOS_CLOCK=clock))
        assert Store(folder / "models").aliases("house")["live"] == before["candidate"]
        finished(start("rollback", "house", "--store", "models", CHAOS_CLOCK=clock))
        assert Store(folder / "models").aliases("house")["live"] == before["live"]
        finished(start(*TRAIN, CHAOS_CLOCK=clock))
    assert len(checked_versions(folder)) == 5


def ids_of(response: dict) -> Iterator[str]:
    return (row["id"] for row in response["predictions"])


def test_log_keeps_every_row_while_the_clock_jumps(folder, start):
    finished(start(*TRAIN))
    clock = set_clock(folder / "clock", 0)
    options = ("--model", "models/house", "--port", 0, "--json", "--log", "log.db", "--monitor")
    process = start("serve", *options, CHAOS_CLOCK=clock)
    address = json.loads(process.stdout.readline())["url"]
    ids = []
    for days in (0, 400, -400, 0.01, -0.01):
        set_clock(clock, days)
        for _ in range(5):
            ids += ids_of(post(address, [ROW] * 3, "/v1/predict"))
        # The log is written ten times per second, by the clock that no jump moves.
        assert within(20, partial(holds, folder, len(ids)))
        labels = [{"id": name, "label": 600.0} for name in ids[-15:]]
        assert post(address, labels, "/v1/labels")["matched"] == 15
    process.terminate()
    process.communicate(timeout=60)
    assert len(set(ids)) == 75
    assert count(folder) == (75, 75)


def holds(folder: Path, n_rows: int) -> bool:
    return count(folder)[0] == n_rows


def count(folder: Path) -> tuple[int, int]:
    log = open_log(str(folder / "log.db"), Path(), {})
    try:
        return log.count()
    finally:
        log.close()


def test_three_at_once_on_a_slow_disk_lose_nothing_when_one_is_killed(folder, start):
    finished(start(*TRAIN))
    n_before, randomness = 1, random.Random(3)
    for _ in range(N_KILLS // 5 or 1):
        processes = [start(*TRAIN, CHAOS_DISK_MS=20) for _ in range(3)]
        # They import for some seconds; from then on the disk is what they wait for.
        time.sleep(randomness.uniform(1.0, 8.0))
        processes[0].kill()
        count_kill()
        processes[0].communicate()
        for process in processes[1:]:
            finished(process)
        n_versions = len(checked_versions(folder))
        assert n_before + 2 <= n_versions <= n_before + 3
        n_before = n_versions
    finished(start(*TRAIN))
    checked_versions(folder)
    assert list(folder.rglob(".*")) == []
