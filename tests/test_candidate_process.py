"""A library that crashes costs a candidate one try: it is reported with what it was doing, and the loop goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from estimator import verbs
from estimator.verbs.monitor import MonitoredModel
from tests.test_learned_rows import context_of, table, trained

# Starts processes that import everything.
pytestmark = pytest.mark.slow

# A plug-in whose fits die of a real signal, as a library in C does: in the retraining's process, so often.
PLUGIN = """
import os, signal, time
from pathlib import Path
from estimator.models.linear import Linear

class Crashing(Linear):
    def fit_matrix(self, data, training, **options):
        deaths, log = Path(os.environ["DEATHS"]), Path(os.environ["FITS"])
        log.write_text(log.read_text() + f"{os.getpid()}\\n" if log.exists() else f"{os.getpid()}\\n")
        n_left = int(deaths.read_text()) if deaths.exists() else 0
        if n_left:
            deaths.write_text(str(n_left - 1))
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
        while os.environ.get("HANG"):
            time.sleep(0.05)
        return super().fit_matrix(data, training, **options)
"""


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """Install the plug-in, train a version of its kind, and return the function that retrains it."""
    site = tmp_path / "site"
    info = site / "crashing-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "crashing.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[estimator.model]\ncrashing = crashing:Crashing\n")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("DEATHS", str(tmp_path / "deaths"))
    monkeypatch.setenv("FITS", str(tmp_path / "fits"))
    candidates = {"candidates": ["refit", "new_only"]}
    content = {"model": {"kind": "linear"}, "retraining": candidates}
    trained(tmp_path, table(), **content)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model": {"kind": "crashing"}}))
    command = [sys.executable, "-m", "estimator", "train", "--conf", "config.json", "--store", "models", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)["version"]
    table(2, 60).write_csv(tmp_path / "new.csv")

    def retrain(n_deaths: int, name: str = "SIGSEGV", **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "deaths").write_text(str(n_deaths))
        command = [sys.executable, "-m", "estimator", "retrain", f"house/{version}", "--input", "new.csv"]
        options = ["--store", "models", "--json"]
        env = {**os.environ, "SIGNAL": name, **environment}
        return subprocess.run([*command, *options], cwd=tmp_path, env=env, capture_output=True, text=True)

    return retrain


def test_crash_is_reported_and_tried_once_more(crashing):
    done = crashing(1)
    assert done.returncode in (0, 3), done.stderr
    decision = json.loads(done.stdout)
    assert [candidate["error"] for candidate in decision["candidates"]] == [None, None]
    (note,) = decision["notes"]
    assert note.startswith(
        "refit: the process that trained it was killed by SIGSEGV (segmentation fault) in fit_matrix"
    )
    assert "crashing.py:" in note
    assert note.endswith("; it is tried once more")


def test_candidate_that_crashes_twice_is_given_up_and_the_next_one_trained(crashing):
    done = crashing(2)
    assert done.returncode in (0, 3), done.stderr
    first, second = json.loads(done.stdout)["candidates"]
    assert first["version"] is None
    assert "died 2 times; the last one was killed by SIGSEGV" in first["error"]
    assert second["error"] is None


def test_all_that_the_system_kills_is_named(crashing):
    """No process writes a stack trace when memory ends."""
    decision = json.loads(crashing(4, "SIGKILL").stdout)
    assert all("SIGKILL (killed); is there too little memory?" in item["error"] for item in decision["candidates"])
    assert decision["reasons"][0] == "the live version stays: no candidate is proven better"
    assert len(decision["notes"]) == 4


def test_candidates_end_with_the_process_that_started_them(crashing, tmp_path):
    env = {**os.environ, "HANG": "1", "SIGNAL": "SIGSEGV"}
    (tmp_path / "fits").unlink()
    command = [
        sys.executable,
        "-m",
        "estimator",
        "retrain",
        "house@candidate",
        "--input",
        "new.csv",
        "--store",
        "models",
    ]
    parent = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "fits").exists() or not (tmp_path / "fits").read_text().strip():
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.02)
    child = int((tmp_path / "fits").read_text().split()[0])
    assert child != parent.pid
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_candidate_is_the_same_in_this_process_and_in_its_own(tmp_path):
    trained(tmp_path, table())
    table(2, 60).write_csv(tmp_path / "new.csv")
    model, folders = MonitoredModel("house", None, None, tmp_path), []
    for isolated in (True, False):
        decision = verbs.retrain.retrain(model, context_of(tmp_path), data=str(tmp_path / "new.csv"), isolated=isolated)
        folders.append(tmp_path / "models" / "house" / decision.candidates[0].version)
    assert (folders[0] / "model.onnx").read_bytes() == (folders[1] / "model.onnx").read_bytes()
