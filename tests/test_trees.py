"""Boosted trees: graph and library agree, early stopping keeps the best round, warm starts continue."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from estimator import models, verbs
from estimator.config import Training
from estimator.core.task import Task
from estimator.errors import MissingExtraError, TrainingError
from estimator.graph.builder import DOUBLE, Graph, Output
from estimator.graph.session import Session
from estimator.graph.trees import BRANCH_EQ, BRANCH_MEMBER
from estimator.models import EncodedFitData, EncodedRows
from tests.conftest import EXAMPLES, read_example

LIBRARIES = {"boosting": "lightgbm", "catboost": "catboost", "xgboost": "xgboost"}
KINDS = [
    pytest.param(
        kind, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")
    )
    for kind, name in LIBRARIES.items()
]
every_kind = pytest.mark.parametrize("kind", KINDS)
TRAINING = Training()


def made(example, kind, folder):
    """Train a short model of a kind on an example."""
    (config,) = (EXAMPLES / example).glob("config.*")
    short = [f"model.kind={kind}", "model.n_estimators=80", "validation.folds=0", "evaluation.importance_repeats=0"]
    return verbs.train.train(config, verbs.Context(store_path=str(folder), overrides=short))


def encoded_data(task, *, n_categories=6, n_rows=600):
    """Return encoded rows with missing values, whose target depends on numbers and a categorical column."""
    generator = np.random.default_rng(3)
    numbers = generator.standard_normal((n_rows, 2))
    numbers[::7, 1] = np.nan
    codes = np.where(np.arange(n_rows) % 11 == 0, np.nan, np.arange(n_rows) % n_categories)
    score = numbers[:, 0] + 2 * np.isin(codes, (1, 4)) + generator.standard_normal(n_rows) / 5
    target = score * 10 + 50 if task.is_regression else np.digitize(score, (0.0, 1.5)[: task.n_outputs - 1]) * 1.0
    rows = EncodedRows(np.column_stack([numbers, codes]), target, np.ones(n_rows))
    return EncodedFitData(rows, np.arange(n_rows) % 4 == 0, None, task, categorical=(2,))


@every_kind
@pytest.mark.parametrize("example", ["ames", "credit", "penguins"])
def test_unknown_categories_and_missing_values_match_the_library(kind, example, tmp_path):
    trained = made(example, kind, tmp_path).trained
    schema = trained.predictor.schema
    texts = [column.name for column in schema.features if column.is_string and column.unknown != "error"]
    rows = read_example(example).head(150).drop(schema.target.name).to_dicts()
    for index, row in enumerate(rows):
        row.update(dict.fromkeys(texts[index % 3 :: 3], "an unknown category"))
        row.update({column.name: None for column in schema.features[index % 5 :: 5] if column.nullable})
    batch = schema.read_rows(rows)
    expected, predictions = trained.fitted.predict(batch), trained.predictor.predict_batch(batch).raw
    assert trained.parity.largest_relative <= trained.fitted.tolerance
    np.testing.assert_allclose(predictions, expected, rtol=trained.fitted.tolerance, atol=trained.fitted.tolerance)


@pytest.mark.parametrize(("kind", "mode"), [("catboost", BRANCH_EQ), ("xgboost", BRANCH_MEMBER)])
def test_categorical_splits_stay_categorical_in_the_graph(kind, mode, tmp_path):
    pytest.importorskip(LIBRARIES[kind])
    graph = onnx.load_from_string(made("ames", kind, tmp_path).artefact.read("model.onnx")).graph
    (trees,) = (node for node in graph.node if node.op_type == "TreeEnsemble")
    (modes,) = (attribute.t.raw_data for attribute in trees.attribute if attribute.name == "nodes_modes")
    assert mode in modes


@every_kind
@pytest.mark.parametrize("task", [Task("regression"), Task("binary", ("a", "b")), Task("multiclass", ("a", "b", "c"))])
def test_early_stopping_keeps_the_best_round(kind, task):
    model, steps = models.SHELF.load(kind)(early_stopping_rounds=15, learning_rate=0.3), []
    fitted = model.fit_matrix(encoded_data(task), TRAINING, progress=steps.append)
    losses = [curve["val_loss"] for curve in fitted.curves]
    assert fitted.summary["n_estimators"] == np.argmin(losses) + 1 == len(losses) - 15
    assert [step.values for step in steps if step.total] == list(fitted.curves)
    assert steps[-1].label == f"fitting {len(losses) - 15} rounds again, on all training rows"


@every_kind
def test_losses_are_in_the_targets_units(kind):
    rows = encoded_data(Task("regression"))
    fitted = models.SHELF.load(kind)(early_stopping_rounds=15, refit=False).fit_matrix(rows, TRAINING)
    errors = fitted.predict(rows.validation_rows.matrix) - rows.validation_rows.target
    assert min(curve["val_loss"] for curve in fitted.curves) == pytest.approx(np.mean(errors**2), rel=1e-4)


@every_kind
def test_a_warm_start_adds_trees(kind):
    rows, family = encoded_data(Task("binary", ("a", "b"))), models.SHELF.load(kind)
    first = family(n_estimators=30, early_stopping_rounds=0).fit_matrix(rows, TRAINING)
    again = family(n_estimators=20, early_stopping_rounds=0).fit_matrix(rows, TRAINING, start=first.state())
    tiny = family(n_estimators=1, learning_rate=1e-6, early_stopping_rounds=0)
    nothing = tiny.fit_matrix(rows, TRAINING, start=first.state())
    assert again.summary["n_estimators"] == 20
    np.testing.assert_allclose(nothing.predict(rows.rows.matrix), first.predict(rows.rows.matrix), atol=1e-5)
    target = rows.rows.target.astype(int)
    losses = [
        -np.log(fitted.predict(rows.rows.matrix)[np.arange(len(target)), target]).mean() for fitted in (first, again)
    ]
    assert losses[1] < losses[0]


@every_kind
def test_a_warm_start_rejects_another_librarys_trees(kind):
    with pytest.raises(TrainingError, match="another kind of model"):
        models.SHELF.load(kind)().fit_matrix(encoded_data(Task("regression")), TRAINING, start={"other.txt": b""})


def test_catboost_rejects_255_categories():
    pytest.importorskip("catboost")
    with pytest.raises(TrainingError, match="expected at most 254 categories in a column, got 255"):
        models.SHELF.load("catboost")().fit_matrix(encoded_data(Task("regression"), n_categories=255), TRAINING)


DEGENERATE_COLUMNS = {
    "one value": (np.zeros(40), ()),
    "one category": (np.zeros(40), (0,)),
    "all missing": (np.full(40, np.nan), ()),
    "missing categories": (np.full(40, np.nan), (0,)),
    "no relation": (np.arange(40) // 2 % 2 * 1.0, ()),
}


@every_kind
@pytest.mark.parametrize("column", DEGENERATE_COLUMNS)
@pytest.mark.parametrize("target", [np.arange(40) % 2 * 1.0, np.full(40, 7.0), np.zeros(40), np.arange(40) // 20 * 1.0])
@pytest.mark.parametrize("n_estimators", [1, 5])
def test_trees_without_a_split_predict_in_the_graph(kind, column, target, n_estimators, capfd):
    values, categorical = DEGENERATE_COLUMNS[column]
    rows = EncodedRows(values[:, None], target, np.ones(40))
    for task in (Task("regression"), Task("binary", ("a", "b"))):
        if not task.is_regression and target.max() > 1:
            continue
        data = EncodedFitData(rows, np.arange(40) % 5 == 0, None, task, categorical=categorical)
        model = models.SHELF.load(kind)(n_estimators=n_estimators, early_stopping_rounds=0)
        fitted = model.fit_matrix(data, TRAINING)
        graph = Graph()
        output = Output("prediction", fitted.write(graph, graph.input("x", DOUBLE)), DOUBLE, rank=2)
        predictions = Session(graph.finish([output])).run({"x": values[:, None]})[0]
        expected = fitted.predict(values[:, None])
        np.testing.assert_allclose(predictions, expected.reshape(40, -1), rtol=1e-5, atol=1e-7)
    assert capfd.readouterr() == ("", "")


@every_kind
def test_a_loss_of_positive_targets_names_negative_ones(kind, capfd):
    data = encoded_data(Task("regression"))
    below = replace(data.rows, target=data.rows.target - 50)
    with pytest.raises(TrainingError, match="'poisson' expects a target of at least 0") as error:
        models.SHELF.load(kind)(loss="poisson").fit_matrix(replace(data, rows=below), TRAINING)
    assert "mse" in str(error.value.hint)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["catboost", "xgboost"])
def test_what_a_library_rejects_is_one_line(kind, capfd):
    pytest.importorskip(LIBRARIES[kind])
    data = encoded_data(Task("regression"))
    unknown = replace(data.rows, target=np.where(np.arange(600) == 4, np.nan, data.rows.target))
    with pytest.raises(TrainingError, match="cannot fit these rows") as error:
        models.SHELF.load(kind)().fit_matrix(replace(data, rows=unknown), TRAINING)
    assert "\n" not in error.value.message
    assert "Stack trace" not in error.value.message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["catboost", "xgboost"])
def test_a_missing_library_names_its_extra(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(MissingExtraError, match=f"model kind '{kind}' needs the package '{kind}'") as error:
        models.SHELF.load(kind)().fit_matrix(encoded_data(Task("regression")), TRAINING)
    assert f"[{kind}]" in str(error.value.hint)


@every_kind
def test_the_state_is_the_librarys_own_file(kind):
    fitted = models.SHELF.load(kind)(n_estimators=3).fit_matrix(encoded_data(Task("regression")), TRAINING)
    ((name, content),) = fitted.state().items()
    start = {"trees.txt": b"tree\n", "trees.cbm": b"CBM1", "trees.json": b"{"}[name]
    assert content.startswith(start)
    assert name != "trees.json" or json.loads(content)["learner"]
