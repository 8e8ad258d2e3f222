"""Explanations of a version: contributions, importance, weak slices, fairness and the model card."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.core.task import Task
from estimator.data.schema import Column
from estimator.errors import ConfigError
from estimator.evaluation.explanation import contributions
from estimator.evaluation.explanation.fairness import fairness
from estimator.evaluation.explanation.slices import Slice, column_slices
from estimator.evaluation.explanation.weak_slices import find_weak_slices
from estimator.evaluation.metrics import SHELF
from estimator.models import SHELF as MODELS
from estimator.serving.auth.access import Access
from estimator.serving.auth.keys import KeyRing, new_key
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import Client, gateway
from tests.conftest import EXAMPLES

NUMBER = Task("regression")
MAE = SHELF.load("mae")()


@pytest.fixture(scope="module")
def boston(tmp_path_factory):
    """Boston by a linear model and by trees, as verbs.train.train gives them."""
    store = str(tmp_path_factory.mktemp("boston"))
    settings = {"linear": ("model.kind=linear",), "boosting": ("model.kind=boosting", "model.n_estimators=40")}
    conf = tmp_path_factory.mktemp("conf") / "config.json"
    conf.write_text(json.dumps({"data": {"path": str(EXAMPLES / "boston" / "boston.csv"), "target": "MEDV"}}))
    quick = ("validation.folds=0", "evaluation.importance_repeats=0", "evaluation.bootstrap_samples=100")
    return {
        kind: verbs.train.train(conf, verbs.Context((*quick, *overrides), store_path=store))
        for kind, overrides in settings.items()
    }


@pytest.fixture
def train(tmp_path):
    """Train a config into a store of this test."""
    context = verbs.Context(store_path=str(tmp_path / "models"))
    return lambda conf, *overrides: verbs.train.train(conf, replace(context, overrides=overrides))


def two_groups(rows: int = 600) -> pl.DataFrame:
    """Return numbers that are far noisier for one group than for the other; the mean does not depend on the group."""
    generator = np.random.default_rng(0)
    x, z = generator.standard_normal((2, rows))
    group = generator.permutation(["calm"] * (rows // 2) + ["wild"] * (rows // 2))
    noise = generator.standard_normal(rows) * np.where(group == "wild", 2.0, 0.2)
    return pl.DataFrame({"x": x, "z": z, "group": group, "y": 3 * x + noise})


@pytest.mark.parametrize("kind", ["linear", "boosting"])
def test_exact_contributions_sum_to_the_prediction(boston, kind):
    made = boston[kind]
    rows = made.trained.prepared.test_rows.batch.rows(np.arange(5))
    exact = contributions(made.trained.predictor, rows, rows, fitted=made.trained.fitted)
    assert exact.standard_errors is None
    predictions = made.trained.predictor.predict_batch(rows).values
    np.testing.assert_allclose(exact.base + exact.values.sum(axis=1), predictions, rtol=1e-6)


@pytest.mark.parametrize("name", ["penguins", "credit", "boston"])
def test_sampled_contributions_sum_to_the_prediction(store, name):
    predictor = (
        verbs.Context(store_path=str(store)).version(name if name != "boston" else "house_pricing_model").predictor
    )
    golden = open_artefact(next((store / predictor.name).glob("20*"))).read_json("golden.json")["rows"]
    batch = predictor.schema.read_rows(golden)
    sampled = contributions(predictor, batch.rows(np.arange(3)), batch, seed=1)
    np.testing.assert_allclose(sampled.base + sampled.values.sum(axis=1), sampled.predictions, rtol=1e-9)
    if name == "penguins":
        assert list(sampled.classes) == predictor.predict_batch(batch.rows(np.arange(3))).values.tolist()


@pytest.mark.parametrize("name", ["house_pricing_model", "penguins"])
def test_explanations_over_http_add_up_to_the_predictions(store, name):
    artefact = open_artefact(version_folder(store / name))
    client = Client(gateway(artefact))
    rows = artefact.read_json("golden.json")["rows"][:3]
    explained = client.post("/v1/explain", rows).json()
    predicted = client.post("/v1/predict", rows).json()["predictions"]
    assert explained["version"] == artefact.version
    for explanation, prediction in zip(explained["explanations"], predicted, strict=True):
        contributions = [item["contribution"] for item in explanation["contributions"]]
        assert [abs(value) for value in contributions] == sorted(map(abs, contributions), reverse=True)
        assert {item["column"] for item in explanation["contributions"]} == {
            column.name for column in artefact.schema.features
        }
        assert explanation["prediction"] == prediction["prediction"]
        name_of_class = explanation["class_name"]
        expected = prediction["prediction"] if name_of_class is None else prediction["probabilities"][name_of_class]
        # A service rounds what it shows.
        assert explanation["baseline"] + sum(contributions) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert client.post(f"/v1/models/{name}/explain", rows).status_code == 200
    assert client.post("/v1/explain", rows[:1] * 101).status_code == 413
    assert client.post("/v1/explain", [{}]).status_code == 422


def test_explanations_need_a_scope_of_their_own(store):
    keys = [new_key(scope, [scope], now=datetime.now(UTC)) for scope in ("predict", "explain")]
    ring = KeyRing([key for key, _ in keys])
    artefact = open_artefact(version_folder(store / "house_pricing_model"))
    client = Client(gateway(artefact, access=Access(ring)))
    rows = artefact.read_json("golden.json")["rows"][:1]
    statuses = [client.post("/v1/explain", rows, **{"x-api-key": text}).status_code for _, text in keys]
    assert statuses == [403, 200]


def test_sampling_agrees_with_the_exact_within_its_own_error(boston):
    made = boston["linear"]
    rows, others = made.trained.prepared.test_rows.batch.rows(np.arange(4)), made.trained.prepared.test_rows.batch
    exact = contributions(made.trained.predictor, rows, others, fitted=made.trained.fitted)
    drawn = contributions(made.trained.predictor, rows, others.rows(np.arange(0, others.n_rows, 2)), seed=3)
    assert drawn.standard_errors is not None
    z = (drawn.values - exact.values) / np.maximum(drawn.standard_errors, 1e-9 * np.abs(exact.values).max())
    assert np.abs(z).max() < 5
    assert np.abs(drawn.values - exact.values).max() < 0.35 * np.abs(exact.values).max()


def test_noise_is_less_important_than_a_feature(config_of, train):
    conf = config_of(two_groups(), "y", model={"kind": "linear"}, evaluation={"importance_repeats": 3})
    made = train(conf, "evaluation.metrics=[mae]")
    importance = {item.column: item for item in made.report.explanation.importance}
    assert made.report.explanation.importance[0].column == "x"
    assert importance["x"].low > 0
    assert importance["z"].low <= 0.01


def test_dependence_on_a_linear_column_is_its_slope(config_of, train):
    made = train(config_of(two_groups(), "y", model={"kind": "linear"}, evaluation={"importance_repeats": 1}))
    dependence = next(item for item in made.report.explanation.partial_dependence if item.column == "x")
    slopes = np.diff(dependence.mean) / np.diff(dependence.grid)
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-6)
    assert slopes[0] == pytest.approx(3.0, abs=0.2)
    np.testing.assert_allclose(dependence.low, dependence.high, atol=1e-9)


def test_a_weak_slice_is_found_and_reported(config_of, train):
    made = train(config_of(two_groups(), "y", model={"kind": "linear"}, evaluation={"bootstrap_samples": 1000}))
    worst = made.report.explanation.weak_slices.slices[0]
    assert worst.condition == "group is 'wild'"
    assert worst.score > 5 * worst.score_elsewhere
    assert "group is &#39;wild&#39;" in (made.artefact.folder / "report.html").read_text()
    assert "group is 'wild'" in (made.artefact.folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("values", "conditions"),
    [
        ([1, 2, 3, 4, 5, 6, *[999] * 94], ["d up to 6", "d above 6"]),
        ([*[0] * 94, 1, 2, 3, 4, 5, 6, 7], ["d up to 0", "d above 0"]),
        ([3, 3, 4, float("nan")], ["d is missing", "d is 3", "d is 4"]),
        (list(range(100)), ["d up to 24.75", "d above 24.75 up to 49.5", "d above 49.5 up to 74.25", "d above 74.25"]),
        ([float("nan")] * 5, ["d is missing"]),
    ],
)
def test_slices_of_a_column_hold_every_row_once(values, conditions):
    slices = column_slices(Column("d", "integer"), np.array(values, dtype=np.float64))
    assert [item.condition for item in slices] == conditions
    assert sum(item.rows.astype(int) for item in slices).tolist() == [1] * len(values)


def test_weak_slices_are_rarely_false_discoveries():
    n_found = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        actual, predictions = generator.standard_normal((2, 400))
        columns = {name: generator.standard_normal(400) for name in "abcdef"}
        slices = [item for name, values in columns.items() for item in column_slices(Column(name, "number"), values)]
        result = find_weak_slices(
            slices, (), np.abs(actual - predictions), actual, NUMBER.predictions(predictions), MAE
        )
        assert result.n_tested == 24
        n_found += bool(result.slices)
    assert n_found <= 6


def test_equal_groups_are_rarely_called_unequal():
    unequal = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        actual, predictions = generator.standard_normal((2, 300))
        group = generator.integers(0, 4, 300)
        slices = [Slice(f"g is {code}", group == code) for code in range(4)]
        result = fairness("g", slices, NUMBER, actual, NUMBER.predictions(predictions), ("mae", MAE),
                        bootstrap_samples=200, confidence=0.95, seed=0)  # fmt: skip
        unequal += result.verdict.startswith("unequal")
    assert unequal <= 6


def test_groups_of_a_dropped_column_are_compared(config_of, train):
    conf = config_of(
        two_groups(),
        "y",
        model={"kind": "linear"},
        data={"drop": ["group"]},
        evaluation={"fairness_columns": ["group"]},
        validation={"folds": 2},
    )
    made = train(conf)
    (result,) = made.report.explanation.fairness
    assert "group" not in [column.name for column in made.trained.predictor.schema.features]
    assert result.verdict.startswith("unequal: rmse differs by")
    assert sum(group.rows for group in result.groups) == 600
    card = (made.artefact.folder / "card.md").read_text()
    assert "| `group is 'calm'` | 300 |" in card


def test_a_live_version_with_other_columns_is_compared(config_of, train):
    train(config_of(two_groups(), "y", model={"kind": "linear"}))
    fewer = train(config_of(two_groups(), "y", model={"kind": "linear"}, data={"drop": ["group"]}))
    assert fewer.report.live_version is not None
    gone = train(config_of(two_groups().drop("group"), "y", model={"kind": "linear"}))
    assert gone.report.live_version is None


def test_a_fairness_column_must_exist(config_of, train):
    conf = config_of(two_groups(), "y", evaluation={"fairness_columns": ["grup"]})
    with pytest.raises(ConfigError, match=r"evaluation\.fairness_columns\.0: no column 'grup'") as caught:
        train(conf)
    assert "did you mean 'group'?" in caught.value.message


def test_a_card_states_the_purpose_and_escapes_names(config_of, train):
    frame = two_groups(200).rename({"x": "a|b `c`"})
    purpose = "To separate calm from wild; not for people."
    sections = {"model": {"kind": "linear"}, "evaluation": {"importance_repeats": 1}, "purpose": purpose}
    conf = config_of(frame, "y", **sections)
    card = (train(conf).artefact.folder / "card.md").read_text()
    assert "To separate calm from wild; not for people." in card
    assert "| `a\\|b 'c'` |" in card
    for line in card.splitlines():
        if line.startswith("| `"):
            assert line.replace("\\|", "").count("|") in (3, 5)


def test_no_shuffles_skip_importance_and_contributions(config_of, train):
    made = train(config_of(two_groups(), "y"), "evaluation.importance_repeats=0")
    result = made.report.explanation
    assert (result.importance, result.partial_dependence, result.contributions) == ([], [], None)
    assert result.weak_slices.n_tested > 0


@pytest.mark.parametrize("kind", sorted(set(MODELS.names()) - {"tabm", "dense", "catboost", "xgboost", "ensemble"}))
def test_an_explanation_is_stored_with_its_version(config_of, train, kind):
    frame = two_groups(200).with_columns(
        pl.when(pl.col("y") > 0).then(pl.lit("up")).otherwise(pl.lit("down")).alias("y")
    )
    made = train(config_of(frame, "y", model={"kind": kind}, evaluation={"importance_repeats": 1}))
    result = made.artefact.read_json("explanation.json")
    assert {item["column"] for item in result["importance"]} == {"x", "z", "group"}
    assert len(result["examples"]) == 3
    assert {item["class_name"] for item in result["partial_dependence"]} == {"up"}
