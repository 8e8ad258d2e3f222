"""The promises of every model family, for numbers, two classes and three."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.data.schema import Batch, Column, Schema
from estimator.features.matrix import Features
from estimator.graph.builder import DOUBLE, Graph, Output
from estimator.graph.session import Block, Session
from estimator.models import Dataset, FitData, FittedModel, Model, WarmStart

N_ROWS, WIDTH = 120, 4
TASKS = (Task("regression"), Task("binary", ("no", "yes")), Task("multiclass", ("a", "b", "c")))
TRAINING = Training(epochs=3, batch_size=16)
SCHEMA = Schema(tuple(Column(f"x{index}", "number", nullable=True) for index in range(WIDTH)), Column("y", "number"))


def example_data(task: Task, *, n_rows: int = N_ROWS) -> FitData:
    """Return rows whose target depends on the first two of their columns."""
    matrix = np.random.default_rng(11).standard_normal((n_rows, WIDTH))
    score = matrix[:, 0] * 2 + matrix[:, 1]
    cuts = np.quantile(score, np.linspace(0, 1, task.n_outputs + 1)[1:-1])
    target = score * 50 + 300 if task.is_regression else np.searchsorted(cuts, score).astype(np.float64)
    validation_mask = np.arange(n_rows) % 5 == 0
    folds = np.arange(n_rows)[None, :] % min(5, n_rows)
    rows = Dataset(to_batch(matrix), target, np.ones(n_rows), np.ones(n_rows))
    return FitData(SCHEMA, task, rows, validation_mask, folds)


def to_batch(matrix: Floats) -> Batch:
    """Return numbers of shape (rows, WIDTH) as checked rows."""
    return Batch({f"x{index}": matrix[:, [index]] for index in range(WIDTH)}, len(matrix))


def to_matrix(batch: Batch) -> Floats:
    """Return the numbers that `to_batch` was given."""
    return np.concatenate(list(batch.feed.values()), axis=1)


def graph_predictions(fitted: FittedModel, batch: Batch) -> Floats:
    """Return the predictions of the written graph."""
    predictions: Floats = _session(fitted).run(batch.feed)[0]
    return predictions[:, 0] if fitted.task.is_regression else predictions


def _session(fitted: FittedModel) -> Session:
    graph = Graph()
    return Session(graph.finish([Output("prediction", fitted.write(graph), DOUBLE, rank=2)]))


def graph_and_library_agree(model: Model) -> None:
    """On training rows, far outside their range and on missing values, to the tolerance the family states."""
    for task in TASKS:
        data = example_data(task)
        fitted, near = model.fit(data, TRAINING), to_matrix(data.rows.batch)
        far = to_batch(np.vstack([near, near * 100, np.zeros((1, WIDTH)), np.full((1, WIDTH), np.nan)]))
        expected = fitted.predict(far)
        difference = np.abs(graph_predictions(fitted, far) - expected)
        assert (difference <= fitted.tolerance * np.maximum(np.abs(expected), np.abs(expected).mean())).all()


def a_block_of_rows_is_served_as_all_rows_are(model: Model) -> None:
    """A server runs the graph on memory of its own: it gives what arrays give, to the last digits."""
    for task in TASKS:
        data = example_data(task)
        session, batch = _session(model.fit(data, TRAINING)), data.rows.batch.rows(np.arange(8))
        block = Block(session, (), batch.n_rows)
        for name, values in batch.feed.items():
            block.cells[name][:] = values
        assert np.allclose(block.run(batch.n_rows)[0], session.run(batch.feed)[0], rtol=1e-6, atol=0.0)


def probabilities_sum_to_one(model: Model) -> None:
    """Every row of a classification is a distribution over the classes."""
    for task in TASKS[1:]:
        probabilities = model.fit(example_data(task), TRAINING).predict(example_data(task).rows.batch)
        assert probabilities.shape == (N_ROWS, task.n_outputs)
        assert (probabilities >= 0).all()
        assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)


def same_seed_gives_same_model(model: Model) -> None:
    """Same rows, same settings, same predictions, bit for bit."""
    data = example_data(TASKS[0])
    first, second = (model.fit(data, TRAINING).predict(data.rows.batch) for _ in range(2))
    assert np.array_equal(first, second)


def three_rows_are_enough(model: Model) -> None:
    """A tiny table can be fitted."""
    data = example_data(TASKS[0], n_rows=3)
    assert np.isfinite(model.fit(data, TRAINING).predict(data.rows.batch)).all()


def weights_count(model: Model) -> None:
    """A row of weight 0 does not change the fit."""
    data = example_data(TASKS[0])
    spoiled = data.rows.target.copy()
    spoiled[::2] += 1e4
    half = (np.arange(N_ROWS) % 2).astype(np.float64)
    rows = Dataset(data.rows.batch, spoiled, half, half)
    weighted = FitData(SCHEMA, data.task, rows, np.zeros(N_ROWS, np.bool_), data.folds)
    predictions = model.fit(weighted, Training(epochs=60, batch_size=16)).predict(data.rows.batch)
    assert abs(predictions.mean() - data.rows.target[1::2].mean()) < 500


def a_warm_start_continues(model: Model) -> None:
    """Families that support a warm start read their own state back and fit new rows."""
    if not model.supports_warm_start:
        return
    data = example_data(TASKS[0])
    first = model.fit(data, TRAINING)
    state = dict(first.state())
    features = Features.from_data(SCHEMA, json.loads(state.pop("features.json")))
    new = replace(data, rows=replace(data.rows, target=data.rows.target * 2))
    start = WarmStart("before", SCHEMA, features, state)
    second = model.fit(new, TRAINING, start=start).predict(data.rows.batch)
    assert second.shape == (N_ROWS,)
    assert not np.array_equal(second, first.predict(data.rows.batch))


PROMISES = (
    graph_and_library_agree,
    a_block_of_rows_is_served_as_all_rows_are,
    probabilities_sum_to_one,
    same_seed_gives_same_model,
    three_rows_are_enough,
    weights_count,
    a_warm_start_continues,
)
