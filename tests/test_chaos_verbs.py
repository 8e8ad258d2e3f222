"""What train, tune, retrain and the log write is whole, wherever they are killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from estimator.config.document import read_document
from estimator.prediction_log import Label, PredictionRecord, open_log
from estimator.store.artefact import check_golden, open_artefact
from estimator.store.store import Store
from tests.chaos import N_KILLS, at_once, kills
from tests.conftest import ROOT
from tests.test_learned_rows import table, write_quick_config
from tests.verb_chaos import hidden, killed, only_chaos, run_command

TRAIN = ("train", "--conf", "config.json", "--store", "models")
TUNE = ("tune", "--conf", "config.json")
PROMOTE = ("promote", "house", "--store", "models")
RETRAIN = ("retrain", "house", "--input", "new.csv", "--store", "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table().write_csv(tmp_path / "t.csv")
    table(2, 60).write_csv(tmp_path / "new.csv")
    write_quick_config(tmp_path / "config.json")
    return tmp_path


def check_store(folder: Path) -> set[str]:
    """Check that every version is whole and every alias is of one; return the versions."""
    model = folder / "models" / "house"
    versions = {path.name for path in model.iterdir() if path.is_dir() and path.name.startswith("20")}
    for version in versions:
        check_golden(open_artefact(model / version))
    store = Store(folder / "models")
    assert set(store.aliases("house").values()) <= versions
    assert {change.version for change in store.history("house")} <= versions
    return versions


@only_chaos
def test_versions_are_whole_wherever_training_is_killed(folder):
    for _ in killed(folder, *TRAIN):
        check_store(folder)
    assert run_command(folder, *TRAIN) is not None
    check_store(folder)
    assert hidden(folder) == []


@only_chaos
def test_retraining_killed_anywhere_leaves_whole_versions_rows_and_decisions(folder):
    run_command(folder, *TRAIN)
    for _ in killed(folder, *RETRAIN):
        versions = check_store(folder)
        for path in (folder / "models" / "house" / "decisions").glob("2*"):
            record = json.loads((path / "decision.json").read_text())
            assert {item["version"] for item in record["candidates"]} <= versions
            assert (path / "decision.html").stat().st_size > 1000
    assert run_command(folder, *RETRAIN) is not None
    assert hidden(folder) == []


@only_chaos
def test_search_killed_anywhere_is_finished_by_the_next(folder):
    for number in killed(folder, *TUNE):
        if number % 3 == 2:
            assert run_command(folder, *TUNE) is not None
            lines = (folder / "tuning" / "journal.log").read_text().splitlines()
            assert all(json.loads(line) for line in lines)
            assert read_document(folder / "config.tuned.json").values["name"] == "house"
            shutil.rmtree(folder / "tuning")
    assert hidden(folder) == []


def log_of(folder: Path):
    return open_log(str(folder / "log.db"), Path(), {})


def record_at(number: int) -> PredictionRecord:
    return PredictionRecord(f"r{number}", 10.0 + number, "house", "v1", {"area": number}, {"prediction": 1.0})


def write_log(folder: Path, numbers: range) -> None:
    log = log_of(folder)
    log.write([record_at(number) for number in numbers])
    log.close()


def label_log(folder: Path, numbers: range) -> None:
    log = log_of(folder)
    log.add_labels([Label(f"r{number}", float(number)) for number in numbers], 100.0)
    log.close()


def counts(folder: Path) -> tuple[int, int]:
    log = log_of(folder)
    try:
        return log.count()
    finally:
        log.close()


def test_log_holds_all_rows_of_a_request_or_none(tmp_path):
    write_log(tmp_path, range(10))
    outcomes = set()
    for number, _ in enumerate(kills(partial(write_log, tmp_path, range(10, 20)))):
        outcomes.add(counts(tmp_path)[0])
        if number % 20 == 19:
            (tmp_path / "log.db").unlink()
            write_log(tmp_path, range(10))
    assert outcomes <= {10, 20}
    write_log(tmp_path, range(30))
    assert counts(tmp_path) == (30, 0)


def test_labels_of_a_request_are_all_kept_or_none(tmp_path):
    write_log(tmp_path, range(10))
    for _ in kills(partial(label_log, tmp_path, range(10))):
        assert counts(tmp_path)[1] in (0, 10)
    label_log(tmp_path, range(10))
    assert counts(tmp_path) == (10, 10)


def test_log_and_labels_of_three_at_once_are_all_kept(tmp_path):
    write_log(tmp_path, range(1))

    def write_often(start: int) -> None:
        for number in range(start, start + 20):
            write_log(tmp_path, range(number, number + 1))

    at_once(partial(write_often, 100), partial(write_often, 200), partial(label_log, tmp_path, range(100, 130)))
    assert counts(tmp_path) == (41, 30)


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.slow
def test_full_disk_leaves_the_versions_and_says_so(folder):
    """A limit on the size of a file stands in for the end of the disk."""
    run_command(folder, *TRAIN)
    before = check_store(folder)
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    for limit in (100, 3000, 20_000) if N_KILLS else (20_000,):
        command = [sys.executable, "-c", LIMITED, str(limit), sys.executable, "-m", "estimator", *TRAIN]
        done = subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert "cannot be written: File too large" in done.stderr
        assert "Traceback" not in done.stderr
        assert check_store(folder) == before
    assert hidden(folder) == []


def as_other_user() -> list[str]:
    """Return what starts a command as a user who is not root, who can write everywhere."""
    if os.geteuid() != 0:
        return []
    command = ["setpriv", "--reuid=65534", "--clear-groups"]
    if shutil.which("setpriv") is None or subprocess.run([*command, sys.executable, "-c", ""]).returncode:
        pytest.skip("root can write everywhere, and another user cannot start Python")
    return command


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [TRAIN, *([RETRAIN, PROMOTE] if N_KILLS else [])])
def test_read_only_store_is_named(folder, arguments):
    run_command(folder, *TRAIN)
    before = check_store(folder)
    store = [folder / "models", folder / "models" / "house"]
    for path in store:
        path.chmod(0o555)
    folder.chmod(0o777)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    prefix = as_other_user()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder), "ESTIMATOR_CACHE": str(folder)}
    words = [word if word != "house" or arguments[0] != "promote" else f"house/{min(before)}" for word in arguments]
    # The other user has not signed the version, whose config names the table.
    trust = ["--trust"] * (bool(prefix) and arguments[0] == "retrain")
    command = [*prefix, sys.executable, "-m", "estimator", *words, *trust]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    for path in store:
        path.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert check_store(folder) == before
