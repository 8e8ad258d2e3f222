"""Forecasts of memory, disk and time."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from estimator import verbs
from estimator.errors import TrainingError
from estimator.models import model_of
from estimator.training import forecast as forecasts
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
    with pytest.raises(TrainingError, match=r"needs about .* MB of memory, 2\.0 MB are free"):
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
    assert 0 < result["seconds"] <= result["trial_seconds"]
    assert not (tmp_path / "models").exists()
