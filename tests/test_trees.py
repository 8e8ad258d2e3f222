"""Families of boosted trees answer in the graph as their libraries do, stop in time and go on from where they were."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import onnx
import pytest

from estimator import models, verbs
from estimator.config import Training
from estimator.core.task import Task
from estimator.errors import MissingExtraError, TrainingError
from estimator.graph.trees import BRANCH_EQ, BRANCH_MEMBER
from estimator.models import Rows, TrainingData
from tests.conftest import EXAMPLES, read_example

LIBRARIES = {"boosting": "lightgbm", "catboost": "catboost", "xgboost": "xgboost"}
KINDS = [
    pytest.param(
        kind, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")
    )
    for kind, name in LIBRARIES.items()
]
every_kind = pytest.mark.parametrize("kind", KINDS)
PLAN = Training()


def made(example, kind, folder):
    """Train a short model of a kind on an example."""
    (config,) = (EXAMPLES / example).glob("config.*")
    short = [f"model.kind={kind}", "model.n_estimators=80", "validation.folds=0", "evaluation.importance_repeats=0"]
    return verbs.train.train(config, verbs.Context(store_path=str(folder), overrides=short))


def data(task, *, n_levels=6, n_rows=600):
    """Return encoded rows with gaps, a column of levels and something to learn in both."""
    generator = np.random.default_rng(3)
    numbers = generator.standard_normal((n_rows, 2))
    numbers[::7, 1] = np.nan
    levels = np.where(np.arange(n_rows) % 11 == 0, np.nan, np.arange(n_rows) % n_levels)
    score = numbers[:, 0] + 2 * np.isin(levels, (1, 4)) + generator.standard_normal(n_rows) / 5
    target = score * 10 + 50 if task.is_regression else np.digitize(score, (0.0, 1.5)[: task.n_outputs - 1]) * 1.0
    rows = Rows(np.column_stack([numbers, levels]), target, np.ones(n_rows))
    return TrainingData(rows, np.arange(n_rows) % 4 == 0, None, task, codes=(2,))


@every_kind
@pytest.mark.parametrize("example", ["ames", "credit", "penguins"])
def test_unseen_levels_and_gaps_are_answered_as_by_the_library(kind, example, tmp_path):
    trained = made(example, kind, tmp_path).trained
    schema = trained.predictor.schema
    texts = [column.name for column in schema.features if column.is_string and column.unknown != "error"]
    rows = read_example(example).head(150).drop(schema.target.name).to_dicts()
    for place, row in enumerate(rows):
        row.update(dict.fromkeys(texts[place % 3 :: 3], "a level never seen"))
        row.update({column.name: None for column in schema.features[place % 5 :: 5] if column.nullable})
    batch = schema.read_rows(rows)
    expected, answers = trained.learned.predict(batch), trained.predictor.predict_batch(batch)
    found = answers.values if answers.probabilities is None else answers.probabilities
    assert trained.parity.largest_relative <= trained.learned.tolerance
    np.testing.assert_allclose(found, expected, rtol=trained.learned.tolerance, atol=trained.learned.tolerance)


@pytest.mark.parametrize(("kind", "mode"), [("catboost", BRANCH_EQ), ("xgboost", BRANCH_MEMBER)])
def test_levels_are_asked_for_as_levels(kind, mode, tmp_path):
    pytest.importorskip(LIBRARIES[kind])
    graph = onnx.load_from_string(made("ames", kind, tmp_path).artefact.read("model.onnx")).graph
    (trees,) = (node for node in graph.node if node.op_type == "TreeEnsemble")
    (modes,) = (attribute.t.raw_data for attribute in trees.attribute if attribute.name == "nodes_modes")
    assert mode in modes


@every_kind
@pytest.mark.parametrize("task", [Task("regression"), Task("binary", ("a", "b")), Task("multiclass", ("a", "b", "c"))])
def test_early_stopping_keeps_the_best_rounds(kind, task):
    model, steps = models.SHELF.load(kind)(early_stopping_rounds=15, learning_rate=0.3), []
    fitted = model.fit(data(task), PLAN, progress=steps.append)
    losses = [curve["val_loss"] for curve in fitted.curves]
    assert fitted.summary["n_estimators"] == np.argmin(losses) + 1 == len(losses) - 15
    assert [step.values for step in steps] == list(fitted.curves)


@every_kind
def test_the_loss_of_a_round_is_in_the_targets_units(kind):
    rows = data(Task("regression"))
    fitted = models.SHELF.load(kind)(early_stopping_rounds=15, refit=False).fit(rows, PLAN)
    errors = fitted.predict(rows.validating.matrix) - rows.validating.target
    assert min(curve["val_loss"] for curve in fitted.curves) == pytest.approx(np.mean(errors**2), rel=1e-4)


@every_kind
def test_a_warm_start_adds_to_the_trees_there_are(kind):
    rows, family = data(Task("binary", ("a", "b"))), models.SHELF.load(kind)
    first = family(n_estimators=30, early_stopping_rounds=0).fit(rows, PLAN)
    again = family(n_estimators=20, early_stopping_rounds=0).fit(rows, PLAN, start=first.state())
    nothing = family(n_estimators=1, learning_rate=1e-6, early_stopping_rounds=0).fit(rows, PLAN, start=first.state())
    assert again.summary["n_estimators"] == 20
    np.testing.assert_allclose(nothing.predict(rows.rows.matrix), first.predict(rows.rows.matrix), atol=1e-5)
    truth = rows.rows.target.astype(int)
    told = [-np.log(fitted.predict(rows.rows.matrix)[np.arange(len(truth)), truth]).mean() for fitted in (first, again)]
    assert told[1] < told[0]


@every_kind
def test_trees_of_another_library_cannot_be_continued(kind):
    with pytest.raises(TrainingError, match="no boosted trees of this kind"):
        models.SHELF.load(kind)().fit(data(Task("regression")), PLAN, start={"other.txt": b""})


def test_too_many_levels_for_catboost_are_refused():
    pytest.importorskip("catboost")
    with pytest.raises(TrainingError, match="at most 254 levels as they are, got one of 255"):
        models.SHELF.load("catboost")().fit(data(Task("regression"), n_levels=255), PLAN)


@pytest.mark.parametrize("kind", ["catboost", "xgboost"])
def test_a_missing_library_says_what_to_install(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(MissingExtraError, match=f"model kind '{kind}' needs the package '{kind}'") as error:
        models.SHELF.load(kind)().fit(data(Task("regression")), PLAN)
    assert f"[{kind}]" in str(error.value.hint)


@every_kind
def test_the_state_is_the_librarys_own_file(kind):
    ((name, content),) = models.SHELF.load(kind)(n_estimators=3).fit(data(Task("regression")), PLAN).state().items()
    begin = {"trees.txt": b"tree\n", "trees.cbm": b"CBM1", "trees.json": b"{"}[name]
    assert content.startswith(begin)
    assert name != "trees.json" or json.loads(content)["learner"]
