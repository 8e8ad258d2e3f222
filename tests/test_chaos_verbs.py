"""What train, tune, retrain, the log, images and deployments write is whole, wherever they are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from estimator.config.document import read_document
from estimator.prediction_log import Label, PredictionRecord, open_log
from estimator.shipping.deployment import DeploymentContext
from estimator.shipping.deployment.base import deployment_lock
from estimator.shipping.files import write_yaml
from estimator.shipping.image.build_record import read_record, record_lock, write_record
from estimator.store.artefact import check_golden, open_artefact
from estimator.store.store import Store
from tests.chaos import N_KILLS, at_once, count_kill, kills
from tests.conftest import ROOT
from tests.test_learned_rows import table, write_quick_config

only_chaos = pytest.mark.skipif(not N_KILLS, reason="each kill starts a command: make test-chaos")
TRAIN = ("train", "--conf", "config.json", "--store", "models")
TUNE = ("tune", "--conf", "config.json")
PROMOTE = ("promote", "house", "--store", "models")
RETRAIN = ("retrain", "house", "--input", "new.csv", "--store", "models")


def run(folder: Path, *arguments: str, call: int = 0) -> tuple[int, int] | None:
    """Run a command; return the number of its calls and its exit code, None if it was killed."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-m", "tests.verb_chaos", str(call), *arguments]
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-4000:]
    if done.returncode:
        return None
    n_calls, exit_code = map(int, done.stdout.split()[-2:])
    return n_calls, exit_code


def killed(folder: Path, *arguments: str) -> Iterator[int]:
    """Kill a command at calls all over it, most of them near its end, where it writes; yield after each kill."""
    result = run(folder, *arguments)
    assert result is not None
    n_calls, randomness = result[0], random.Random(5)
    n_kills = 0
    while n_kills < N_KILLS:
        at = randomness.choice((randomness.randrange(1, n_calls), n_calls - randomness.randrange(1, 60)))
        # What an earlier run has done already takes no calls, so that this one may end before.
        if run(folder, *arguments, call=max(at, 1)) is None:
            count_kill()
            n_kills += 1
            yield n_kills


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


def hidden(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob(".*")]


@only_chaos
def test_versions_are_whole_wherever_training_is_killed(folder):
    for _ in killed(folder, *TRAIN):
        check_store(folder)
    assert run(folder, *TRAIN) is not None
    check_store(folder)
    assert hidden(folder) == []


@only_chaos
def test_retraining_killed_anywhere_leaves_whole_versions_rows_and_decisions(folder):
    run(folder, *TRAIN)
    for _ in killed(folder, *RETRAIN):
        versions = check_store(folder)
        for path in (folder / "models" / "house" / "decisions").glob("2*"):
            record = json.loads((path / "decision.json").read_text())
            assert {item["version"] for item in record["candidates"]} <= versions
            assert (path / "decision.html").stat().st_size > 1000
    assert run(folder, *RETRAIN) is not None
    assert hidden(folder) == []


@only_chaos
def test_search_killed_anywhere_is_finished_by_the_next(folder):
    for number in killed(folder, *TUNE):
        if number % 3 == 2:
            assert run(folder, *TUNE) is not None
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


def push_image(folder: Path, number: int) -> None:
    with record_lock(folder, purpose="pushing it"):
        write_record({**read_record(folder), "pushed": number}, folder)


def test_record_of_an_image_is_whole_wherever_a_push_is_killed(tmp_path):
    write_record({"name": "m", "tag": "t", "builder": "direct", "layout": None}, tmp_path)
    for at in kills(partial(push_image, tmp_path, 1)):
        assert read_record(tmp_path).get("pushed") in (None, 1), at
    push_image(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["image.json"]


def write_deployment(folder: Path) -> None:
    with deployment_lock(DeploymentContext(folder, {})):
        write_yaml(folder / "deployment" / "compose.yaml", [{"services": {"server": {"image": "m"}}}], comment="by us")


def test_files_of_a_deployment_are_whole_wherever_it_is_killed(tmp_path):
    write_deployment(tmp_path)
    expected = (tmp_path / "deployment" / "compose.yaml").read_text()
    for _ in kills(partial(write_deployment, tmp_path)):
        assert (tmp_path / "deployment" / "compose.yaml").read_text() == expected
    write_deployment(tmp_path)
    assert hidden(tmp_path) == []


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.slow
def test_full_disk_leaves_the_versions_and_says_so(folder):
    """A limit on the size of a file stands in for the end of the disk."""
    run(folder, *TRAIN)
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
    run(folder, *TRAIN)
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
