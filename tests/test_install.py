"""The base install in a virtual environment; `make test-install` runs this file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clients import post, serving
from tests.conftest import EXAMPLES, ROOT

pytestmark = pytest.mark.skipif(not os.environ.get("ESTIMATOR_TEST_INSTALL"), reason="make test-install")


@pytest.fixture(scope="session")
def serving_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with only the base install."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pinned = ["--constraint", str(ROOT / "constraints.txt")] if (ROOT / "constraints.txt").exists() else []
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *pinned]
    done = subprocess.run([*pip, str(ROOT)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the base install cannot be made here: {done.stderr[-200:]}")
    return folder


def test_base_install_serves_a_version(serving_only, store, house, report_figure):
    python = serving_only / "bin" / "python"
    absent = [name for name in ("jax", "lightgbm", "sklearn", "optuna", "polars", "onnx") if not _has(python, name)]
    assert absent == ["jax", "lightgbm", "sklearn", "optuna", "polars", "onnx"]
    began = time.perf_counter()
    with serving(store / "house_pricing_model", command=[str(serving_only / "bin" / "estimator")]) as (
        process,
        address,
    ):
        response = post(address, [house])
        seconds = time.perf_counter() - began
        memory = _memory_mb(process.pid)
    assert 15 < response["predictions"][0]["Prediction price 0"] < 35
    packages = next((serving_only / "lib").glob("python*/site-packages"))
    files = [path for path in packages.rglob("*") if path.is_file() and not path.is_relative_to(packages / "pip")]
    size = sum(path.stat().st_size for path in files) / 1e6
    report_figure(
        f"base install: start to first response {seconds:.2f} s, memory {memory:.0f} MB, installed {size:.0f} MB"
    )


def test_base_install_names_what_training_needs(serving_only, tmp_path):
    command = [str(serving_only / "bin" / "estimator"), "train", "--conf", str(EXAMPLES / "boston" / "config.json")]
    done = subprocess.run([*command, "--store", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'estimator-lifepath[" in done.stderr


def _has(python: Path, name: str) -> bool:
    return subprocess.run([str(python), "-c", f"import {name}"], capture_output=True).returncode == 0


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
