"""Comparisons of versions and configs: better, worse, not better, or undecided."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from estimator import verbs
from estimator.core.task import Predictions
from estimator.errors import EstimatorError
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.scores import bootstrap_weights
from estimator.training.comparison import compare
from tests.conftest import EXAMPLES

HOW = {"bootstrap_samples": 400, "confidence": 0.95, "seed": 0}


def compared(noise: float, shift: float, n_rows: int, seed: int = 0, margin: float = 0.0):
    generator = np.random.default_rng(seed)
    actual = generator.standard_normal(n_rows)
    first = actual + generator.normal(0, 1, n_rows)
    second = actual + (first - actual) * (1 - shift) + generator.normal(0, noise, n_rows)
    return compare("mae", SHELF.load("mae")(), actual, Predictions(first), Predictions(second), margin=margin, **HOW)


def test_a_clear_gain_is_better_and_a_clear_loss_worse():
    assert compared(0.01, 0.1, 500).verdict == "better"
    worse = compared(0.01, -0.1, 500)
    assert worse.verdict == "worse"
    assert worse.sentence.startswith("worse: mae worsens by 0.0")


def test_rows_alike_in_blocks_prove_as_much_as_their_blocks():
    """Of runs of 8 equal rows, one in each run is information: the interval grows by about the root of 8."""
    widths = {}
    for block_rows in (1, 32):
        generator = np.random.default_rng(0)
        actual, gains = generator.standard_normal(1600), np.repeat(generator.standard_normal(200), 8)
        first, second = actual + 2.0, actual + 2.0 - 0.2 * gains
        comparison = compare(
            "mae", SHELF.load("mae")(), actual, Predictions(first), Predictions(second), block_rows=block_rows, **HOW
        )
        widths[block_rows] = comparison.gain.high - comparison.gain.low
    assert 2.0 < widths[32] / widths[1] < 3.5
    (weights,) = bootstrap_weights(10, 3, 0, block_rows=4)
    assert weights.sum(axis=1).tolist() == [10.0, 10.0, 10.0]


def test_equal_models_are_rarely_called_better():
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


def test_the_rows_needed_do_decide():
    """A gain of a tenth of a standard deviation needs (1.96 + 0.84)^2 / 0.1^2 = 785 rows."""
    few = np.random.default_rng(1).standard_normal(80)
    needed = gained(0.1 + (few - few.mean()) / few.std()).rows_needed
    assert needed == pytest.approx(785, rel=0.15)
    verdicts = [gained(0.1 + np.random.default_rng([9, seed]).standard_normal(needed)).verdict for seed in range(40)]
    assert 24 <= verdicts.count("better") <= 39


def test_a_gain_below_the_margin_is_not_better():
    assert compared(0.01, 0.0, 2000, margin=0.05).verdict == "not better"


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
    code, result, _ = run("compare", *words, "--folder", boston, "--require-better", "--json")
    assert (code, result["verdict"], result["metrics"][0]["rows"]) == (0, "better", 101)
    code, result, _ = run("compare", *reversed(words[:2]), *words[2:], "--folder", boston, "--require-better", "--json")
    assert (code, result["verdict"]) == (3, "worse")


def test_an_override_that_does_nothing_is_rejected(boston, run):
    both = ["house_pricing_model@live", "house_pricing_model@candidate", "--store", boston / "models"]
    code, _, err = run("compare", *both, "--folder", boston, "--set", "training.seed=4")
    assert (code, "--set training.seed=4: a version keeps the config" in err) == (1, True)
    table = ("--input", boston / "boston.csv")
    for words in (["compare", *both, *table], ["evaluate", "--model", both[0], *both[2:], *table]):
        code, _, err = run(*words, "--set", "training.seed=4")
        assert (code, "changes only how the table is read" in err) == (1, True)


def test_an_override_that_makes_two_configs_equal_is_rejected(boston, run, tmp_path):
    conf = boston / "quick.json"
    conf.write_text((boston / "config.json").read_text().replace('"epochs": 17', '"epochs": 1'))
    code, _, err = run("compare", boston / "config.json", conf, "--set", "training.epochs=1")
    assert (code, "makes them equal: there is nothing to compare" in err) == (1, True)
    code, result, err = run("compare", boston / "config.json", conf, "--set", "training.batch_size=50", "--json")
    assert (code, result["verdict"]) == (0, "worse")
    assert "--set training.batch_size=50 applies to both configs" in result["notes"]


def test_training_rows_are_rejected(boston):
    table = (str(boston / "boston.csv"), None)
    order = verbs.Context(store_path=str(boston / "models"))
    with pytest.raises(EstimatorError, match="was trained on these rows"):
        verbs.compare.compare("house_pricing_model@live", "house_pricing_model@candidate", order, table=table)


def test_two_configs_are_compared_on_the_same_folds(boston, run):
    shorter = boston / "shorter.json"
    config = json.loads((boston / "config.json").read_text())
    config["training_config"]["epochs"] = 1
    shorter.write_text(json.dumps(config))
    code, result, _ = run("compare", shorter, boston / "config.json", "--json")
    assert (code, result["verdict"], result["metrics"][0]["rows"]) == (0, "better", 405)
    code, _, err = run("compare", shorter, boston / "boston.csv")
    assert code == 1
    assert "error" in err


def test_a_config_and_a_version_cannot_be_compared(boston, run):
    code, _, err = run("compare", boston / "config.json", "nothing@live")
    assert code == 1
    assert "the other argument is not one" in err


def test_a_version_is_reproduced_bit_for_bit(boston, run):
    words = ("verify", "house_pricing_model@candidate", "--store", boston / "models")
    code, result, _ = run(*words, "--folder", boston, "--json")
    assert (code, result["equal"], result["differences"]) == (0, True, [])


def test_changed_data_is_named_as_the_cause(boston, run, tmp_path):
    lines = (boston / "boston.csv").read_text().splitlines(keepends=True)
    (tmp_path / "boston.csv").write_text("".join(lines[:-5]))
    words = ("verify", "house_pricing_model@live", "--store", boston / "models")
    code, result, _ = run(*words, "--folder", tmp_path, "--json")
    assert (code, result["equal"]) == (3, False)
    assert result["differences"][0] == "the data changed: 501 rows now, 506 then"
    assert result["largest_relative"] > 0


def test_scores_that_are_no_numbers_are_null_in_json():
    """AUC of rows of one class has no value."""
    one_class = Predictions(np.array(["a"] * 4), np.full((4, 2), 0.5), ("a", "b"))
    comparison = compare("auc", SHELF.load("auc")(), np.zeros(4), one_class, one_class, **HOW)
    data = json.loads(json.dumps(comparison.to_data(), allow_nan=False))
    assert data["first"] is data["second"] is data["margin"] is None
