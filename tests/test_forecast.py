"""Forecasts of memory, disk and time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.errors import TrainingError
from estimator.models import model_of
from estimator.training import forecast as forecasts
from estimator.training.duration import estimate_seconds, members_of, trial_rounds
from estimator.verbs.context import SHELVES
from estimator.verbs.train import prepared_rows
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def ames():
    prepared, config, model = prepared_rows(EXAMPLES / "ames" / "config.yml", verbs.Context())
    return prepared, config, model


def test_the_forecast_width_is_close_to_the_matrix(ames):
    prepared, config, _ = ames
    for kind in ("boosting", "linear"):
        config = config.model_copy(update={"model": SHELVES.models.load(kind)()})
        estimate = forecasts.forecast(prepared, model_of(config), config, EXAMPLES)
        width = model_of(config).encoding(prepared.fit_data(config)).matrix.shape[1]
        assert width <= estimate.n_columns <= 1.3 * width


def test_too_little_memory_or_disk_is_an_error(ames, monkeypatch):
    prepared, config, model = ames
    monkeypatch.setattr(forecasts, "free_memory_bytes", lambda: 2_000_000)
    with pytest.raises(TrainingError, match=r"needs about .* [MG]B of memory, with the libraries, and may use 1\.8 MB"):
        forecasts.forecast(prepared, model, config, EXAMPLES).check_resources()
    with pytest.raises(TrainingError, match="of disk"):
        replace(
            forecasts.forecast(prepared, model, config, EXAMPLES), memory_bytes=0, free_disk_bytes=1000
        ).check_resources()


def test_a_forecast_writes_no_version(run, tmp_path):
    shutil.copytree(EXAMPLES / "boston", tmp_path, dirs_exist_ok=True)
    words = ("train", "--conf", tmp_path / "config.json", "--store", tmp_path / "models", "--forecast")
    code, result, _ = run(*words, "--json")
    assert (code, result["n_rows"], result["n_fits"]) == (0, 405, 6)
    assert 0 < result["forecast_seconds"] < result["seconds"]
    assert not (tmp_path / "models").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("kind", "n_rows", "n_columns", "n_classes"),
    [("constant", 20_000, 20, 2), ("linear", 300, 100, 32), ("boosting", 1000, 5, 2)],
)
def test_memory_is_forecast_within_a_factor_of_two(config_of, tmp_path, kind, n_rows, n_columns, n_classes):
    draw = np.random.default_rng(0)
    columns = {f"x{index}": draw.normal(size=n_rows).round(3) for index in range(n_columns)}
    classes = [f"class {code}" for code in draw.integers(0, n_classes, n_rows)]
    path = config_of(pl.DataFrame({**columns, "target": classes}), "target", model={"kind": kind})
    words = ("train", "--conf", str(path), "--store", str(tmp_path / "models"), "--json")
    estimate, _ = _process(*words, "--forecast")
    _, peak_bytes = _process(*words)
    assert 0.5 < estimate["memory_bytes"] / peak_bytes < 2.0


def test_forecasting_a_small_table_fits_nothing(config_of):
    frame = pl.DataFrame({"x": np.arange(300.0) % 50 + 0.5, "target": np.arange(300.0) % 7})
    path = config_of(frame, "target", model={"kind": "boosting"})
    code = (
        "import sys, pathlib; from estimator import verbs; "
        f"verbs.train.forecast(pathlib.Path({str(path)!r}), verbs.Context()); "
        "print('lightgbm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_a_trial_finds_the_rounds_of_all_rows(ames):
    prepared, config, _ = ames
    config = config.model_copy(update={"model": SHELVES.models.load("boosting")()})
    model, data = model_of(config), prepared.fit_data(config)
    rounds = trial_rounds(data, model, 80, config, 60.0)
    needed = model.model_copy(update={"refit": False}).fit(data, config.training).summary["n_estimators"]
    assert 0.5 <= rounds / needed <= 2.0
    assert trial_rounds(data, model, 80, config, 1.0) is None


def test_more_work_takes_longer(ames):
    prepared, config, _ = ames
    for kind in ("constant", "linear", "boosting", "dense", "tabm", "xgboost", "catboost", "ensemble"):
        model = SHELVES.models.load(kind)()
        widths = [80] * len(members_of(model))
        whole = estimate_seconds(prepared, model, widths, config)
        plain = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"importance_repeats": 0})})
        assert 0 < estimate_seconds(prepared, model, widths, plain) < whole, kind


def _process(*words: str) -> tuple[dict[str, Any], int]:
    """Run the command line in a process of its own; return what it printed, and its memory at its peak."""
    code = (
        "import sys, pathlib; from estimator.cli import main; code = main(sys.argv[1:]); "
        "print(pathlib.Path('/proc/self/status').read_text(), file=sys.stderr); sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    peak_kilobytes = next(line.split()[1] for line in ended.stderr.splitlines() if line.startswith("VmHWM"))
    return json.loads(ended.stdout), 1024 * int(peak_kilobytes)
