"""What training will take, told before it begins."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from estimator import verbs
from estimator.errors import TrainingError
from estimator.training import forecast as forecasts
from estimator.verbs.context import SHELVES, model_of
from estimator.verbs.train import prepared_rows
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def ames():
    prepared, config, model = prepared_rows(EXAMPLES / "ames" / "config.yml", verbs.Context())
    return prepared, config, model


def test_the_width_foreseen_is_near_the_encoded_one(ames):
    prepared, config, _ = ames
    for kind in ("boosting", "linear"):
        config = config.model_copy(update={"model": SHELVES.models.load(kind)()})
        found = forecasts.forecast(prepared, model_of(config), config, EXAMPLES)
        width = model_of(config).encoding(prepared.fit_data(config)).matrix.shape[1]
        assert width <= found.n_columns <= 1.3 * width


def test_what_does_not_fit_is_refused_with_a_way_out(ames, monkeypatch):
    prepared, config, model = ames
    monkeypatch.setattr(forecasts, "free_memory_bytes", lambda: 2_000_000)
    with pytest.raises(TrainingError, match=r"needs about .* MB of memory, 2\.0 MB are free"):
        forecasts.forecast(prepared, model, config, EXAMPLES).check_resources()
    with pytest.raises(TrainingError, match="of disk"):
        replace(
            forecasts.forecast(prepared, model, config, EXAMPLES), memory_bytes=0, free_disk_bytes=1000
        ).check_resources()


def test_the_command_tells_time_and_makes_no_version(run, tmp_path):
    shutil.copytree(EXAMPLES / "boston", tmp_path, dirs_exist_ok=True)
    words = ("train", "--conf", tmp_path / "config.json", "--store", tmp_path / "models", "--forecast")
    code, told, _ = run(*words, "--json")
    assert (code, told["n_rows"], told["n_fits"]) == (0, 405, 6)
    assert 0 < told["seconds"] <= told["trial_seconds"]
    assert not (tmp_path / "models").exists()
