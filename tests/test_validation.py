"""Folds, out-of-fold answers, ensembles, and what intervals and sets promise."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.checks.models import PLAN, TASKS, example, numbers_of, rows_of
from estimator.config import read_config
from estimator.core.task import Task
from estimator.data.splitting import folds
from estimator.evaluation.validation import corrected, out_of_fold, parted
from estimator.graph.builder import BOOL, DOUBLE, Graph, Output
from estimator.graph.session import Session
from estimator.models import SHELF, Learned, Model
from estimator.models.conformal import Calibration, Conformal, Interval, LevelSet
from estimator.models.ensemble import Ensemble
from estimator.models.fitted import Single
from estimator.training.train import prepare, write_graph
from estimator.verbs.context import SHELVES
from tests.conftest import EXAMPLES, read_example


def prepared(config_of, frame, **sections):
    config = read_config(config_of(frame, "y", **sections), SHELVES)
    return prepare(frame.cast(pl.String), config), config


def dated(n_rows: int = 200) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.standard_normal(n_rows)
    days = [f"20{10 + row // 28:02d}-01-{1 + row % 28:02d}" for row in generator.permutation(n_rows)]
    group = [f"g{row}" for row in generator.integers(0, 30, n_rows)]
    return pl.DataFrame({"x": x, "day": days, "group": group, "y": x + generator.standard_normal(n_rows)})


def test_folds_keep_groups_whole_and_are_alike_in_size(config_of):
    rows, config = prepared(config_of, dated(), training={"split": {"kind": "group", "column": "group"}})
    (dealt,) = rows.folds
    groups = dated()["group"].to_numpy()[~rows.test]
    assert all(len(set(dealt[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    assert np.ptp(np.bincount(dealt)) <= 0.1 * len(dealt)
    assert config.validation.folds == np.unique(dealt).size


def test_folds_by_time_learn_from_the_past_alone(config_of):
    rows, config = prepared(config_of, dated(), training={"split": {"kind": "time", "column": "day"}})
    table = rows.table(config)
    days = dated()["day"].to_numpy()[~rows.test]
    assert len(parted(table)) == 4
    for inside, out in parted(table):
        assert max(days[inside].tolist()) <= min(days[out].tolist())


def test_folds_keep_the_proportions_of_levels():
    config = read_config(EXAMPLES / "credit" / "config.yml", SHELVES)
    frame = read_example("credit")
    truth = (frame["Status"] == "bad").to_numpy().astype(float)
    dealt = folds(
        frame, config.model_copy(update={"validation": config.validation.model_copy(update={"repeats": 2})}), truth
    )
    assert dealt.shape == (2, frame.height)
    for repeat in dealt:
        shares = [truth[repeat == number].mean() for number in range(5)]
        assert max(shares) - min(shares) < 0.002
    assert (dealt[0] != dealt[1]).any()


class Spy(Model):
    """Remembers nothing but which rows it saw, and answers whether it had seen a row."""

    continues = False

    def learn(self, table, plan, *, progress=None, start=None) -> Learned:
        seen = set(table.rows.batch.feed["x0"][:, 0].tolist())

        class Seen(Single):
            def predict(self, batch):
                return np.array([float(value in seen) for value in batch.feed["x0"][:, 0].tolist()])

        return Seen(table.task, None, None)


def test_no_row_is_answered_by_a_model_that_saw_it():
    found = out_of_fold(example(TASKS[0]), Spy(), PLAN)
    assert found is not None
    assert found.tolist() == [0.0] * len(found)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_an_ensemble_is_no_worse_than_its_members_out_of_fold(task):
    table = example(task)
    learned = Ensemble(members=[{"kind": "linear"}, {"kind": "boosting", "n_estimators": 60}]).learn(table, PLAN)
    scores = learned.summary
    assert scores["loss"] <= min(scores["loss of linear"], scores["loss of boosting"]) * 1.05
    assert sum(value for name, value in scores.items() if name.startswith("weight")) == pytest.approx(1.0)


def test_a_refitted_ensemble_is_smaller_and_tells_what_that_costs():
    table = example(TASKS[0])
    table = replace(table, held_out=table.rows)
    members = [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 40}]
    whole, small = (Ensemble(members=members, refit=refit).learn(table, PLAN) for refit in (False, True))
    assert [bag.name for bag in small.bags] == [bag.name for bag in whole.bags]
    assert len(write_graph(small)) < len(write_graph(whole))
    assert np.isfinite([small.summary["held-out loss"], small.summary["held-out loss of all folds"]]).all()
    assert np.array_equal(small.out_of_fold, whole.out_of_fold)


def test_a_useless_member_gets_no_weight_and_no_room():
    table = example(TASKS[0])
    learned = Ensemble(members=[{"kind": "linear"}, {"kind": "constant"}]).learn(table, PLAN)
    assert [bag.name for bag in learned.bags] == ["linear"]


def test_members_are_read_from_a_config_and_written_back(config_of, tmp_path):
    members = [{"kind": "linear", "penalty": 2.0}, {"kind": "boosting", "n_estimators": 20}]
    conf = config_of(read_example("boston"), "MEDV", model={"kind": "ensemble", "members": members})
    made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))
    written = made.artefact.config["model"]["members"]
    assert [(item["kind"], item.get("penalty"), item.get("n_estimators")) for item in written] == [
        ("linear", 2.0, None),
        ("boosting", None, 20),
    ]
    again = SHELF.load("ensemble")(members=written)
    assert [type(member).__name__ for member in again.members] == ["Linear", "Boosting"]


@pytest.mark.parametrize("n_rows", [60, 400, 3000])
def test_intervals_hold_what_they_promise_also_locally(n_rows):
    """Errors grow with the answer: each fifth of the answers must get its share, on rows of its own."""
    held = []
    for seed in range(40):
        generator = np.random.default_rng([n_rows, seed])
        answers = generator.lognormal(0, 1, n_rows + 2000)
        truth = answers * (1 + 0.2 * generator.standard_normal(n_rows + 2000))
        found = Interval.fit(answers[:n_rows], truth[:n_rows], 0.9)
        low, high = found.bounds(answers[n_rows:])
        inside = (low <= truth[n_rows:]) & (truth[n_rows:] <= high)
        order = np.argsort(answers[n_rows:])
        held.append([inside[part].mean() for part in np.array_split(order, 5)])
    assert np.mean(held) == pytest.approx(0.9, abs=0.015)
    if n_rows >= 400:
        assert np.abs(np.mean(held, axis=0) - 0.9).max() < 0.06


def test_calibration_mends_shares_that_are_too_bold_and_leaves_good_ones_alone():
    generator = np.random.default_rng(1)
    honest = 1 / (1 + np.exp(-2 * generator.standard_normal(4000)))
    truth = (generator.random(4000) < honest).astype(float)
    bold = 1 / (1 + np.exp(-3 * np.log(honest / (1 - honest))))
    found = Calibration.fit(np.column_stack([1 - bold, bold]), truth)
    assert found.slope == pytest.approx(1 / 3, abs=0.04)
    assert not Calibration.fit(np.column_stack([1 - honest, honest]), truth).changes


@pytest.mark.parametrize("kind", ["tabm", "boosting"])
def test_sure_answers_are_calibrated_alike_by_graph_and_library(kind):
    table, calibration = example(TASKS[1]), Calibration(0.2)
    learned = SHELF.load(kind)().learn(table, PLAN)
    far = rows_of(numbers_of(table.rows.batch) * 100)
    session = Session(write_graph(learned, Conformal(0.9, None, calibration, None)))
    found = dict(zip(session.outputs, session.run(far.feed), strict=True))["probability"]
    assert np.allclose(found, calibration.apply(learned.predict(far)), rtol=1e-5)


def test_sets_of_levels_hold_what_they_promise():
    held = []
    for seed in range(20):
        generator = np.random.default_rng([2, seed])
        scores = generator.standard_normal((3000, 4)) * 1.5
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        truth = (shares.cumsum(axis=1) < generator.random((3000, 1))).sum(axis=1).astype(float)
        members = LevelSet.fit(shares[:1500], truth[:1500], 0.9).members(shares[1500:])
        held.append(members[np.arange(1500), truth[1500:].astype(int)].mean())
        assert members.any(axis=1).all()
    assert np.mean(held) == pytest.approx(0.9, abs=0.01)


def test_the_graph_gives_the_same_bounds_and_sets():
    generator = np.random.default_rng(3)
    answers = generator.lognormal(0, 1, 500)
    interval = Interval.fit(answers, answers * (1 + 0.3 * generator.standard_normal(500)), 0.8)
    shares = generator.dirichlet(np.ones(3), 500)
    truth = shares.argmax(axis=1).astype(float)
    calibration, level_set = Calibration(0.7), LevelSet.fit(shares, truth, 0.9)
    graph = Graph()
    ends = interval.write(graph, graph.input("x", DOUBLE))
    parts = graph("Concat", *(graph.input(f"p{place}", DOUBLE) for place in range(3)), axis=1)
    outputs = [Output(name, value, DOUBLE, 2) for name, value in zip(("low", "high"), ends, strict=True)]
    outputs.append(Output("shares", calibration.write(graph, parts, 3), DOUBLE, 2))
    outputs.append(Output("set", level_set.write(graph, parts), BOOL, 2))
    feed = {"x": answers[:, None], **{f"p{place}": shares[:, [place]] for place in range(3)}}
    low, high, told, members = Session(graph.finish(outputs)).run(feed)
    assert low[:, 0] == pytest.approx(interval.bounds(answers)[0])
    assert high[:, 0] == pytest.approx(interval.bounds(answers)[1])
    assert told == pytest.approx(calibration.apply(shares))
    assert np.array_equal(members, level_set.members(shares))


def test_too_few_rows_promise_nothing():
    assert Conformal.fit(Task("regression"), np.zeros(10), np.zeros(10), 0.9, calibrates=True) is None


def test_an_interval_over_folds_is_wider_than_one_that_takes_them_for_independent():
    scores = np.random.default_rng(4).normal(10, 1, 5)
    naive, honest = (corrected(scores, n_learned=80, n_out=out, confidence=0.95) for out in (0.0, 20.0))
    assert honest.high - honest.low == pytest.approx((naive.high - naive.low) * np.sqrt(1 + 5 / 4))


@pytest.mark.parametrize("name", ["house_pricing_model", "credit", "penguins"])
def test_every_example_tells_how_sure_it_is(store, name):
    """Held-out coverage lies near the level; of levels that are nearly always right it may only be above."""
    manifest = verbs.Context().version(str(store / name)).manifest
    share = manifest["coverage"]["actual"]
    assert share["high"] >= 0.88
    assert share["low"] <= 0.93 or manifest["task"]["kind"] != "regression"


def test_a_request_is_answered_with_its_interval(store):
    from estimator.config import Serving
    from estimator.serving.service import Service

    service = Service(verbs.Context().version(str(store / "house_pricing_model")), Serving())
    rows = service.artefact.read_json("golden.json")["rows"][:2]
    answer = json.loads(service.predict(json.dumps(rows).encode(), "name").body)
    assert answer["coverage"] == 0.9
    for row in answer["predictions"]:
        low, high = row["interval"]
        assert low < row["prediction"] < high
