"""Folds, out-of-fold predictions, ensembles, and the coverage of intervals and sets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.checks.models import TASKS, TRAINING, example_data, to_batch, to_matrix
from estimator.config import read_config
from estimator.core.task import Task
from estimator.data.splitting import assign_folds
from estimator.evaluation.validation import corrected_mean, fold_masks, out_of_fold_predictions
from estimator.graph.builder import BOOL, DOUBLE, Graph, Output
from estimator.graph.session import Session
from estimator.models import SHELF, FittedModel, Model
from estimator.models.conformal import Calibration, ClassSet, Conformal, Interval
from estimator.models.ensemble import Ensemble
from estimator.models.matrix import SingleModel
from estimator.training.prepare import prepare
from estimator.training.train import write_graph
from estimator.verbs.context import SHELVES
from tests.conftest import EXAMPLES, read_example


def prepared(config_of, frame, **sections):
    config = read_config(config_of(frame, "y", **{"validation": {"folds": 5}, **sections}), SHELVES)
    return prepare(frame.cast(pl.String), config), config


def dated(n_rows: int = 200) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.standard_normal(n_rows)
    days = [f"20{10 + row // 28:02d}-01-{1 + row % 28:02d}" for row in generator.permutation(n_rows)]
    group = [f"g{row}" for row in generator.integers(0, 30, n_rows)]
    return pl.DataFrame({"x": x, "day": days, "group": group, "y": x + generator.standard_normal(n_rows)})


def test_folds_keep_groups_whole_and_have_similar_sizes(config_of):
    rows, config = prepared(config_of, dated(), training={"split": {"kind": "group", "column": "group"}})
    (assigned,) = rows.folds
    groups = dated()["group"].to_numpy()[~rows.test_mask]
    assert all(len(set(assigned[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    assert np.ptp(np.bincount(assigned)) <= 0.1 * len(assigned)
    assert config.validation.folds == np.unique(assigned).size


def test_folds_by_time_train_on_the_past_only(config_of):
    rows, config = prepared(config_of, dated(), training={"split": {"kind": "time", "column": "day"}})
    data = rows.fit_data(config)
    days = dated()["day"].to_numpy()[~rows.test_mask]
    assert len(fold_masks(data)) == 4
    for training_mask, test_mask in fold_masks(data):
        assert max(days[training_mask].tolist()) <= min(days[test_mask].tolist())


def in_order(**training) -> dict[str, object]:
    return {"split": {"kind": "rows", "test": "181-200", "in_order": True}, **training}


def test_folds_of_rows_in_order_are_blocks_of_neighbors(config_of):
    rows, _ = prepared(config_of, dated(), training=in_order())
    (assigned,) = rows.folds
    assert np.ptp(np.bincount(assigned, minlength=5)) <= 5
    n_neighbors_apart = int((np.diff(assigned) != 0).sum())
    assert n_neighbors_apart == 24
    assert 0.1 < rows.validation_mask.mean() < 0.2


def test_repeats_of_rows_in_order_have_other_blocks(config_of):
    rows, _ = prepared(config_of, dated(), training=in_order(), validation={"folds": 5, "repeats": 2})
    first, second = rows.folds
    assert (first != second).any()


def test_a_class_that_one_block_holds_makes_folds_random(config_of):
    frame = dated().with_columns(y=pl.Series(["good"] * 15 + ["bad"] * 5 + ["good"] * 179 + ["bad"]))
    rows, _ = prepared(config_of, frame, training=in_order())
    (assigned,) = rows.folds
    is_bad = frame["y"].to_numpy()[~rows.test_mask] == "bad"
    assert len(np.unique(assigned[is_bad])) == 5


def test_folds_keep_the_proportions_of_classes():
    config = read_config(EXAMPLES / "credit" / "config.yml", SHELVES)
    frame = read_example("credit")
    is_bad = (frame["Status"] == "bad").to_numpy().astype(float)
    assigned = assign_folds(
        frame, config.model_copy(update={"validation": config.validation.model_copy(update={"repeats": 2})}), is_bad
    )
    assert assigned.shape == (2, frame.height)
    for repeat in assigned:
        fractions = [is_bad[repeat == fold].mean() for fold in range(5)]
        assert max(fractions) - min(fractions) < 0.002
    assert (assigned[0] != assigned[1]).any()


class Memorizer(Model):
    """Predicts 1 for the rows that it was fitted on, else 0."""

    supports_warm_start = False

    def fit(self, data, training, *, progress=None, start=None) -> FittedModel:
        fitted_values = set(data.rows.batch.feed["x0"][:, 0].tolist())

        class FittedMemorizer(SingleModel):
            def predict(self, batch):
                return np.array([float(value in fitted_values) for value in batch.feed["x0"][:, 0].tolist()])

        return FittedMemorizer(data.task, None, None)


def test_no_out_of_fold_model_was_fitted_on_its_row():
    predictions = out_of_fold_predictions(example_data(TASKS[0]), Memorizer(), TRAINING)
    assert predictions is not None
    assert predictions.tolist() == [0.0] * len(predictions)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_an_ensemble_is_no_worse_than_its_members_out_of_fold(task):
    data = example_data(task)
    fitted = Ensemble(members=[{"kind": "linear"}, {"kind": "boosting", "n_estimators": 60}]).fit(data, TRAINING)
    summary = fitted.summary
    assert summary["loss"] <= min(summary["loss of linear"], summary["loss of boosting"]) * 1.05
    assert sum(value for name, value in summary.items() if name.startswith("weight")) == pytest.approx(1.0)


def test_a_refitted_ensemble_is_smaller_and_reports_its_loss():
    data = example_data(TASKS[0])
    data = replace(data, held_out=data.rows)
    members = [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 40}]
    whole, small = (Ensemble(members=members, refit=refit).fit(data, TRAINING) for refit in (False, True))
    assert [member.name for member in small.members] == [member.name for member in whole.members]
    assert len(write_graph(small)) < len(write_graph(whole))
    assert np.isfinite([small.summary["held-out loss"], small.summary["held-out loss of all folds"]]).all()
    assert np.array_equal(small.out_of_fold, whole.out_of_fold)


def test_a_useless_member_is_left_out():
    data = example_data(TASKS[0])
    fitted = Ensemble(members=[{"kind": "linear"}, {"kind": "constant"}]).fit(data, TRAINING)
    assert [member.name for member in fitted.members] == ["linear"]


def test_members_survive_a_config_round_trip(config_of, tmp_path):
    members = [{"kind": "linear", "penalty": 2.0}, {"kind": "boosting", "n_estimators": 20}]
    model = {"kind": "ensemble", "members": members}
    conf = config_of(read_example("boston"), "MEDV", model=model, validation={"folds": 2})
    made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))
    written = made.artefact.config["model"]["members"]
    assert [(item["kind"], item.get("penalty"), item.get("n_estimators")) for item in written] == [
        ("linear", 2.0, None),
        ("boosting", None, 20),
    ]
    again = SHELF.load("ensemble")(members=written)
    assert [type(member).__name__ for member in again.members] == ["Linear", "Boosting"]


@pytest.mark.parametrize("n_rows", [60, 400, 3000])
def test_intervals_cover_globally_and_locally(n_rows):
    """Errors grow with the prediction, and new rows of each fifth of the predictions must be covered."""
    covered = []
    for seed in range(40):
        generator = np.random.default_rng([n_rows, seed])
        predictions = generator.lognormal(0, 1, n_rows + 2000)
        target = predictions * (1 + 0.2 * generator.standard_normal(n_rows + 2000))
        interval = Interval.fit(predictions[:n_rows], target[:n_rows], 0.9)
        low, high = interval.bounds(predictions[n_rows:])
        inside = (low <= target[n_rows:]) & (target[n_rows:] <= high)
        order = np.argsort(predictions[n_rows:])
        covered.append([inside[fifth].mean() for fifth in np.array_split(order, 5)])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)
    if n_rows >= 400:
        assert np.abs(np.mean(covered, axis=0) - 0.9).max() < 0.06


def test_calibration_changes_overconfident_probabilities_only():
    generator = np.random.default_rng(1)
    exact = 1 / (1 + np.exp(-2 * generator.standard_normal(4000)))
    target = (generator.random(4000) < exact).astype(float)
    overconfident = 1 / (1 + np.exp(-3 * np.log(exact / (1 - exact))))
    calibration = Calibration.fit(np.column_stack([1 - overconfident, overconfident]), target)
    assert calibration.slope == pytest.approx(1 / 3, abs=0.04)
    assert not Calibration.fit(np.column_stack([1 - exact, exact]), target).changes
    # Rows without a weight do not count.
    both, twice = np.concatenate([overconfident, exact]), np.concatenate([target, target])
    weights = np.repeat([1.0, 0.0], 4000)
    weighted = Calibration.fit(np.column_stack([1 - both, both]), twice, weights)
    assert weighted.slope == pytest.approx(calibration.slope, abs=0.02)
    assert not Calibration.fit(np.column_stack([1 - both, both]), twice, 1.0 - weights).changes


@pytest.mark.parametrize("kind", ["tabm", "boosting"])
def test_graph_and_library_calibrate_extreme_probabilities_alike(kind):
    data, calibration = example_data(TASKS[1]), Calibration(0.2)
    fitted = SHELF.load(kind)().fit(data, TRAINING)
    far = to_batch(to_matrix(data.rows.batch) * 100)
    session = Session(write_graph(fitted, Conformal(0.9, None, calibration, None)))
    probabilities = dict(zip(session.outputs, session.run(far.feed), strict=True))["probability"]
    assert np.allclose(probabilities, calibration.apply(fitted.predict(far)), rtol=1e-5)


def test_prediction_sets_have_their_coverage():
    covered = []
    for seed in range(20):
        generator = np.random.default_rng([2, seed])
        scores = generator.standard_normal((3000, 4)) * 1.5
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        target = (probabilities.cumsum(axis=1) < generator.random((3000, 1))).sum(axis=1).astype(float)
        members = ClassSet.fit(probabilities[:1500], target[:1500], 0.9).members(probabilities[1500:])
        covered.append(members[np.arange(1500), target[1500:].astype(int)].mean())
        assert members.any(axis=1).all()
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)


def test_the_graph_writes_the_same_bounds_and_sets():
    generator = np.random.default_rng(3)
    predictions = generator.lognormal(0, 1, 500)
    interval = Interval.fit(predictions, predictions * (1 + 0.3 * generator.standard_normal(500)), 0.8)
    probabilities = generator.dirichlet(np.ones(3), 500)
    target = probabilities.argmax(axis=1).astype(float)
    calibration, class_set = Calibration(0.7), ClassSet.fit(probabilities, target, 0.9)
    graph = Graph()
    bounds = interval.write(graph, graph.input("x", DOUBLE))
    columns = graph("Concat", *(graph.input(f"p{column}", DOUBLE) for column in range(3)), axis=1)
    outputs = [Output(name, value, DOUBLE, 2) for name, value in zip(("low", "high"), bounds, strict=True)]
    outputs.append(Output("calibrated", calibration.write(graph, columns, 3), DOUBLE, 2))
    outputs.append(Output("set", class_set.write(graph, columns), BOOL, 2))
    feed = {"x": predictions[:, None], **{f"p{column}": probabilities[:, [column]] for column in range(3)}}
    low, high, calibrated, members = Session(graph.finish(outputs)).run(feed)
    assert low[:, 0] == pytest.approx(interval.bounds(predictions)[0])
    assert high[:, 0] == pytest.approx(interval.bounds(predictions)[1])
    assert calibrated == pytest.approx(calibration.apply(probabilities))
    assert np.array_equal(members, class_set.members(probabilities))


def test_too_few_rows_give_no_interval():
    assert Conformal.fit(Task("regression"), np.zeros(10), np.zeros(10), 0.9, calibrate=True) is None


def test_the_interval_over_folds_corrects_for_shared_rows():
    scores = np.random.default_rng(4).normal(10, 1, 5)
    naive, corrected = (corrected_mean(scores, n_train=80, n_test=n_test, confidence=0.95) for n_test in (0.0, 20.0))
    assert corrected.high - corrected.low == pytest.approx((naive.high - naive.low) * np.sqrt(1 + 5 / 4))


@pytest.mark.parametrize("name", ["house_pricing_model", "credit", "penguins"])
def test_every_example_covers_its_held_out_rows(store, name):
    """Coverage of numbers lies near 90%; sets of classes that are nearly always right may cover more."""
    manifest = verbs.Context().version(str(store / name)).manifest
    actual = manifest["coverage"]["actual"]
    assert actual["high"] >= 0.88
    assert actual["low"] <= 0.93 or manifest["task"]["kind"] != "regression"


def test_a_response_has_an_interval_per_row(store):
    from estimator.config import Serving
    from estimator.serving.service import ResponseFormat, Service

    service = Service(verbs.Context().version(str(store / "house_pricing_model")), Serving())
    rows = service.artefact.read_json("golden.json")["rows"][:2]
    response = json.loads(service.respond(json.dumps(rows).encode(), "name", ResponseFormat.FULL).body)
    assert response["coverage"] == 0.9
    for row in response["predictions"]:
        low, high = row["interval"]
        assert low < row["prediction"] < high
