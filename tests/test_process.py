"""Real processes: signals, kills, a full disk, concurrent trainings, and what each import loads."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from estimator.serving.workers import _start_missing
from tests.clients import ESTIMATOR, post, serving, within
from tests.conftest import EXAMPLES, ROOT


def processor_ticks(pid: int) -> int:
    """Return the hundredths of a second a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to see that a request is running")
def test_shutdown_waits_for_running_requests(store, house):
    body = json.dumps([house] * 10_000)
    with serving(store / "house_pricing_model") as (process, address):
        # After a first response, all that the process computes is the request.
        post(address, [house])
        with contextlib.closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)) as connection:
            before = processor_ticks(process.pid)
            connection.request("POST", "/v1/services/predict", body, {"content-type": "application/json"})
            while processor_ticks(process.pid) < before + 5:
                time.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            response = json.load(connection.getresponse())
        assert process.wait(60) == 0
    assert len(response["predictions"]) == 10_000


def workers_of(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to see the workers")
def test_killed_worker_is_replaced_and_all_stop_together(store, house):
    with serving(store / "house_pricing_model", "--workers", "2") as (process, address):
        first = workers_of(process.pid)
        assert len(first) == 2
        os.kill(min(first), signal.SIGKILL)
        responses = [post(address, [house]) for _ in range(20)]
        assert within(60, lambda: len(workers_of(process.pid) - {min(first)}) == 2)
        assert all(response == responses[0] for response in responses)
        all_workers = workers_of(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not any(is_running(pid) for pid in all_workers)


def test_interrupted_start_of_a_worker_leaves_none_unknown():
    """The first process ends the workers that it knows, and waits for all."""
    workers, started = [], []

    def start():
        os.kill(os.getpid(), signal.SIGINT)
        started.append("worker")
        return "worker"

    with pytest.raises(KeyboardInterrupt):
        _start_missing(workers, 2, start)
    assert workers == started == ["worker"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to see the workers")
def test_workers_end_with_their_parent(store):
    with serving(store / "penguins", "--workers", "2") as (process, _):
        workers = workers_of(process.pid)
        process.kill()
        assert within(60, lambda: not any(is_running(pid) for pid in workers))


def test_failed_worker_start_is_explained_once(store, tmp_path):
    """Workers find that predictions for the golden rows differ; the error is printed once."""
    folder = tmp_path / "penguins"
    shutil.copytree(store / "penguins", folder)
    version = next(path.parent for path in folder.glob("*/manifest.json"))
    golden = json.loads((version / "golden.json").read_text())
    golden["predictions"] = [[0.0] * len(probabilities) for probabilities in golden["predictions"]]
    (version / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["golden.json"] = hashlib.sha256((version / "golden.json").read_bytes()).hexdigest()
    (version / "manifest.json").write_text(json.dumps(manifest))
    command = [*ESTIMATOR, "serve", "--model", str(version), "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("predictions for the golden rows differ") == 1


def test_used_port_is_explained(store):
    with serving(store / "penguins") as (_, address):
        port = address.rsplit(":", 1)[1]
        again = subprocess.run(
            [*ESTIMATOR, "serve", "--model", str(store / "penguins"), "--port", port], capture_output=True, text=True
        )
    assert again.returncode == 1
    assert "choose another --port" in again.stderr


def test_public_address_needs_a_key(store):
    command = [*ESTIMATOR, "serve", "--model", str(store / "penguins"), "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "--allow-public" in done.stderr) == (1, True)


def long_training(tmp_path: Path) -> subprocess.Popen[str]:
    options = ["train", "--conf", str(EXAMPLES / "boston" / "config.json"), "--set", "training.epochs=200000"]
    return subprocess.Popen(
        [*ESTIMATOR, *options, "--store", str(tmp_path / "models")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_training(process: subprocess.Popen[str]) -> bool:
    """Whether a process has loaded what trains nets, which is after it has read the table."""
    return process.poll() is not None or "jaxlib" in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to see that training has started")
def test_ctrl_c_stops_training_cleanly(tmp_path):
    process = long_training(tmp_path)
    assert within(120, lambda: is_training(process))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list((tmp_path).rglob("manifest.json"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to see that training has started")
def test_killed_training_leaves_a_usable_store(tmp_path):
    process = long_training(tmp_path)
    assert within(120, lambda: is_training(process))
    process.kill()
    process.communicate(timeout=120)
    listed = subprocess.run(
        [*ESTIMATOR, "models", "--store", str(tmp_path / "models"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(listed.stdout)["models"] == []


def test_full_disk_is_explained_and_leaves_no_version(tmp_path):
    """A limit on the size of a file stands in for the end of the disk: writing fails with the system's own error."""
    conf = EXAMPLES / "penguins" / "config.yml"
    command = [*ESTIMATOR, "train", "--conf", str(conf), "--store", str(tmp_path / "models")]
    limited = ["bash", "-c", "trap '' XFSZ; ulimit -f 20; exec \"$@\"", "bash", *command]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "models").rglob("*.onnx"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_output_on_a_full_disk_is_explained(tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [*ESTIMATOR, "models", "--store", str(tmp_path), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    message = "error: the standard output: cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_report_of_ci_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    command = [*ESTIMATOR, "ci", "--conf", "nowhere.yml", "--report", str(tmp_path / "file" / "below" / "report.md")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "below/report.md: cannot be written: Not a directory" in done.stderr


def test_concurrent_trainings_make_two_versions(tmp_path):
    command = [
        *ESTIMATOR,
        "train",
        "--conf",
        str(EXAMPLES / "penguins" / "config.yml"),
        "--store",
        str(tmp_path),
        "--json",
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert len({item["version"] for item in outputs}) == 2
    assert {item["alias"] for item in outputs} == {"live", "candidate"}
    assert len(list((tmp_path / "penguins").glob("*/manifest.json"))) == 2


LIGHT = (
    "numpy",
    "polars",
    "onnx",
    "onnxruntime",
    "jax",
    "lightgbm",
    "sklearn",
    "fastapi",
    "uvicorn",
    "scipy",
    "rich",
    "jinja2",
)
TRAINING = (
    "polars",
    "onnx",
    "jax",
    "lightgbm",
    "sklearn",
    "scipy",
    "optuna",
    "pandas",
    "ruamel",
    "jinja2",
    "safetensors",
)


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Return which of some packages a piece of code brings in."""
    tail = f"import sys; print([name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tail}"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def test_help_imports_no_heavy_package():
    assert imported("from estimator.cli import main; main(['--help'])", LIGHT) == []


def test_import_estimator_imports_no_heavy_package():
    assert imported("import estimator; estimator.train, estimator.load", LIGHT) == []


def test_predicting_imports_no_training_library(store, house):
    code = f"import estimator; print(estimator.load({str(store / 'house_pricing_model')!r}).predict([{house!r}]))"
    assert imported(code, TRAINING) == []


def test_onnxruntime_telemetry_is_off():
    code = "import os\nfrom estimator.graph.session import Session\nassert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    assert imported(code, ("onnx",)) == []
    for path in (ROOT / "src").rglob("*.py"):
        if any(line.strip().startswith("import onnxruntime") for line in path.read_text().splitlines()):
            assert path.name == "session.py"


def test_demo_prints_the_tutorial_response():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "boston" / "demo.py")], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert '"Prediction price 0"' in done.stdout


def test_invalid_row_over_http_gets_422(store, house):
    with serving(store / "house_pricing_model") as (_, address):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(address, [{**house, "RM": "six"}])
        caught.value.close()
        assert caught.value.code == 422
        assert "server" not in {name.lower() for name in caught.value.headers}
