"""Is the second really better: of versions, of configs, and when nobody can tell."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from estimator import verbs
from estimator.core.task import Predictions
from estimator.errors import EstimatorError
from estimator.evaluation.metrics import SHELF
from estimator.training.comparison import compare
from tests.conftest import EXAMPLES

HOW = {"bootstrap_samples": 400, "confidence": 0.95, "seed": 0}


def judged(noise: float, shift: float, n_rows: int, seed: int = 0, margin: float = 0.0):
    generator = np.random.default_rng(seed)
    actual = generator.standard_normal(n_rows)
    first = actual + generator.normal(0, 1, n_rows)
    second = actual + (first - actual) * (1 - shift) + generator.normal(0, noise, n_rows)
    return compare("mae", SHELF.load("mae")(), actual, Predictions(first), Predictions(second), margin=margin, **HOW)


def test_a_clear_gain_is_better_and_a_clear_loss_is_not():
    assert judged(0.01, 0.1, 500).verdict == "better"
    assert judged(0.01, -0.1, 500).verdict == "not better"


def test_an_equal_answer_is_called_better_in_few_of_a_hundred_runs():
    equal = [compare_equal(seed) for seed in range(100)]
    assert equal.count("better") <= 7


def compare_equal(seed: int) -> str:
    generator = np.random.default_rng([8, seed])
    actual = generator.standard_normal(200)
    first, second = (Predictions(actual + generator.normal(0, 1, 200)) for _ in range(2))
    return compare("rmse", SHELF.load("rmse")(), actual, first, second, **HOW).verdict


def gained(gains: np.ndarray):
    nothing, second = np.zeros(len(gains)), np.full(len(gains), 50.0)
    return compare("mae", SHELF.load("mae")(), nothing, Predictions(second + gains), Predictions(second), **HOW)


def test_the_number_of_rows_that_would_tell_does_tell():
    """A gain of a tenth of its deviation is told by (1.96 + 0.84)^2 / 0.1^2 = 785 rows in 80 of 100 cases."""
    few = np.random.default_rng(1).standard_normal(80)
    needed = gained(0.1 + (few - few.mean()) / few.std()).rows_needed
    assert needed == pytest.approx(785, rel=0.15)
    told = [gained(0.1 + np.random.default_rng([9, seed]).standard_normal(needed)).verdict for seed in range(40)]
    assert 24 <= told.count("better") <= 39


def test_a_gain_below_the_margin_is_not_better():
    assert judged(0.001, -0.001, 2000, margin=0.05).verdict == "not better"


@pytest.fixture(scope="module")
def boston(tmp_path_factory):
    """A folder with a config, its table, and two versions in a store."""
    folder = tmp_path_factory.mktemp("boston")
    shutil.copytree(EXAMPLES / "boston", folder, dirs_exist_ok=True)
    conf = folder / "config.json"
    for epochs in (2, 30):
        order = verbs.Context((f"training.epochs={epochs}",), store_path=str(folder / "models"))
        verbs.train.train(conf, order)
    return folder


def test_two_versions_are_compared_on_the_rows_both_held_out(boston, run):
    words = ["house_pricing_model@live", "house_pricing_model@candidate", "--store", boston / "models"]
    code, told, _ = run("compare", *words, "--folder", boston, "--require-better", "--json")
    assert (code, told["verdict"], told["metrics"][0]["rows"]) == (0, "better", 101)
    code, told, _ = run("compare", *reversed(words[:2]), *words[2:], "--folder", boston, "--require-better", "--json")
    assert (code, told["verdict"]) == (3, "not better")


def test_rows_that_were_learned_from_are_refused(boston):
    table = (str(boston / "boston.csv"), None)
    order = verbs.Context(store_path=str(boston / "models"))
    with pytest.raises(EstimatorError, match="was trained on these rows"):
        verbs.compare.compare("house_pricing_model@live", "house_pricing_model@candidate", order, table=table)


def test_two_configs_are_compared_on_the_same_folds(boston, run):
    shorter = boston / "shorter.json"
    config = json.loads((boston / "config.json").read_text())
    config["training_config"]["epochs"] = 1
    shorter.write_text(json.dumps(config))
    code, told, _ = run("compare", shorter, boston / "config.json", "--json")
    assert (code, told["verdict"], told["metrics"][0]["rows"]) == (0, "better", 405)
    code, _, err = run("compare", shorter, boston / "boston.csv")
    assert code == 1
    assert "error" in err


def test_configs_with_other_rows_are_refused(boston, run):
    code, _, err = run("compare", boston / "config.json", "nothing@live")
    assert code == 1
    assert "the other argument is not one" in err


def test_a_version_is_made_again_bit_for_bit(boston, run):
    words = ("verify", "house_pricing_model@candidate", "--store", boston / "models")
    code, told, _ = run(*words, "--folder", boston, "--json")
    assert (code, told["equal"], told["differences"]) == (0, True, [])


def test_other_data_are_named_where_a_version_differs(boston, run, tmp_path):
    lines = (boston / "boston.csv").read_text().splitlines(keepends=True)
    (tmp_path / "boston.csv").write_text("".join(lines[:-5]))
    words = ("verify", "house_pricing_model@live", "--store", boston / "models")
    code, told, _ = run(*words, "--folder", tmp_path, "--json")
    assert (code, told["equal"]) == (3, False)
    assert told["differences"][0] == "the data changed: 501 rows now, 506 then"
    assert told["largest_relative"] > 0
