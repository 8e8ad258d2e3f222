"""What every model family promises, for numbers, two levels and three."""

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
from estimator.graph.session import Session
from estimator.models import Labelled, Learned, Model, Start, Table

N_ROWS, WIDTH = 120, 4
TASKS = (Task("regression"), Task("binary", ("no", "yes")), Task("multiclass", ("a", "b", "c")))
PLAN = Training(epochs=3, batch_size=16)
SCHEMA = Schema(tuple(Column(f"x{place}", "number", nullable=True) for place in range(WIDTH)), Column("y", "number"))


def example(task: Task, *, n_rows: int = N_ROWS) -> Table:
    """Return rows with something to learn in them."""
    matrix = np.random.default_rng(11).standard_normal((n_rows, WIDTH))
    score = matrix[:, 0] * 2 + matrix[:, 1]
    cuts = np.quantile(score, np.linspace(0, 1, task.n_outputs + 1)[1:-1])
    target = score * 50 + 300 if task.is_regression else np.searchsorted(cuts, score).astype(np.float64)
    validation = np.arange(n_rows) % 5 == 0
    folds = np.arange(n_rows)[None, :] % min(5, n_rows)
    return Table(SCHEMA, task, Labelled(rows_of(matrix), target, np.ones(n_rows)), validation, folds)


def rows_of(matrix: Floats) -> Batch:
    """Return numbers of shape (rows, WIDTH) as checked rows."""
    return Batch({f"x{place}": matrix[:, [place]] for place in range(WIDTH)}, len(matrix))


def numbers_of(batch: Batch) -> Floats:
    """Return what `rows_of` was given."""
    return np.concatenate(list(batch.feed.values()), axis=1)


def graph_answers(learned: Learned, batch: Batch) -> Floats:
    """Return the answers of the written graph."""
    graph = Graph()
    session = Session(graph.finish([Output("answer", learned.write(graph), DOUBLE, rank=2)]))
    found: Floats = session.run(batch.feed)[0]
    return found[:, 0] if learned.task.is_regression else found


def graph_and_library_agree(model: Model) -> None:
    """On training rows, on rows far away and on gaps, to the tolerance the family states."""
    for task in TASKS:
        table = example(task)
        learned, near = model.learn(table, PLAN), numbers_of(table.rows.batch)
        far = rows_of(np.vstack([near, near * 100, np.zeros((1, WIDTH)), np.full((1, WIDTH), np.nan)]))
        expected = learned.predict(far)
        difference = np.abs(graph_answers(learned, far) - expected)
        assert (difference <= learned.tolerance * np.maximum(np.abs(expected), np.abs(expected).mean())).all()


def probabilities_sum_to_one(model: Model) -> None:
    """Every row of a classification is a distribution over the levels."""
    for task in TASKS[1:]:
        found = model.learn(example(task), PLAN).predict(example(task).rows.batch)
        assert found.shape == (N_ROWS, task.n_outputs)
        assert (found >= 0).all()
        assert np.allclose(found.sum(axis=1), 1.0, atol=1e-5)


def the_same_seed_gives_the_same_model(model: Model) -> None:
    """Same rows, same settings, same answers, bit for bit."""
    table = example(TASKS[0])
    first, second = (model.learn(table, PLAN).predict(table.rows.batch) for _ in range(2))
    assert np.array_equal(first, second)


def few_rows_can_be_learned(model: Model) -> None:
    """Three rows are few, not wrong."""
    table = example(TASKS[0], n_rows=3)
    assert np.isfinite(model.learn(table, PLAN).predict(table.rows.batch)).all()


def weights_count(model: Model) -> None:
    """A row of weight 0 does not change what is learned."""
    table = example(TASKS[0])
    spoiled = table.rows.target.copy()
    spoiled[::2] += 1e4
    half = (np.arange(N_ROWS) % 2).astype(np.float64)
    rows = Labelled(table.rows.batch, spoiled, half)
    weighted = Table(SCHEMA, table.task, rows, np.zeros(N_ROWS, np.bool_), table.folds)
    found = model.learn(weighted, Training(epochs=60, batch_size=16)).predict(table.rows.batch)
    assert abs(found.mean() - table.rows.target[1::2].mean()) < 500


def a_warm_start_goes_on(model: Model) -> None:
    """Families that continue take their own state back and learn what fresh rows say."""
    if not model.continues:
        return
    table = example(TASKS[0])
    first = model.learn(table, PLAN)
    state = dict(first.state())
    features = Features.from_data(SCHEMA, json.loads(state.pop("features.json")))
    fresh = replace(table, rows=replace(table.rows, target=table.rows.target * 2))
    again = model.learn(fresh, PLAN, start=Start("before", SCHEMA, features, state)).predict(table.rows.batch)
    assert again.shape == (N_ROWS,)
    assert not np.array_equal(again, first.predict(table.rows.batch))


PROMISES = (
    graph_and_library_agree,
    probabilities_sum_to_one,
    the_same_seed_gives_the_same_model,
    few_rows_can_be_learned,
    weights_count,
    a_warm_start_goes_on,
)
