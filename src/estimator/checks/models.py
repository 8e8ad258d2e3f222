"""What every model family promises, for numbers, two levels and three."""

from __future__ import annotations

import numpy as np

from estimator.config import Training
from estimator.graph import DOUBLE, Graph, Output
from estimator.models import Fitted, Model, Rows, TrainingData
from estimator.session import Session
from estimator.task import Floats, Task

N_ROWS, WIDTH = 120, 4
TASKS = (Task("regression"), Task("binary", ("no", "yes")), Task("multiclass", ("a", "b", "c")))
PLAN = Training(epochs=3, batch_size=16)


def example(task: Task, *, n_rows: int = N_ROWS) -> TrainingData:
    """Return encoded rows with something to learn in them."""
    generator = np.random.default_rng(11)
    matrix = generator.standard_normal((n_rows, WIDTH))
    score = matrix[:, 0] * 2 + matrix[:, 1]
    cuts = np.quantile(score, np.linspace(0, 1, task.n_outputs + 1)[1:-1])
    target = score * 50 + 300 if task.is_regression else np.searchsorted(cuts, score).astype(np.float64)
    validation = np.arange(n_rows) % 5 == 0
    return TrainingData(Rows(matrix, target, np.ones(n_rows)), validation, None, task)


def graph_answers(fitted: Fitted, matrix: Floats) -> Floats:
    """Return the answers of the written graph, fed column by column."""
    graph = Graph()
    names = [graph.input(f"x{place}", DOUBLE) for place in range(matrix.shape[1])]
    written = fitted.nodes(graph, graph("Concat", *names, axis=1))
    session = Session(graph.finish([Output("answer", written, DOUBLE, rank=2)]))
    found: Floats = session.run({name: matrix[:, [place]] for place, name in enumerate(names)})[0]
    return found[:, 0] if fitted.task.is_regression else found


def graph_and_library_agree(model: Model) -> None:
    """On training rows and on rows far away, to the tolerance the family states."""
    for task in TASKS:
        data = example(task)
        fitted = model.fit(data, PLAN)
        far = np.vstack([data.rows.matrix, data.rows.matrix * 100, np.zeros((1, WIDTH))])
        expected = fitted.predict(far)
        difference = np.abs(graph_answers(fitted, far) - expected)
        assert (difference <= fitted.tolerance * np.maximum(np.abs(expected), np.abs(expected).mean())).all()


def probabilities_sum_to_one(model: Model) -> None:
    """Every row of a classification is a distribution over the levels."""
    for task in TASKS[1:]:
        found = model.fit(example(task), PLAN).predict(example(task).rows.matrix)
        assert found.shape == (N_ROWS, task.n_outputs)
        assert (found >= 0).all()
        assert np.allclose(found.sum(axis=1), 1.0, atol=1e-5)


def the_same_seed_gives_the_same_model(model: Model) -> None:
    """Same rows, same settings, same answers, bit for bit."""
    data = example(TASKS[0])
    first, second = (model.fit(data, PLAN).predict(data.rows.matrix) for _ in range(2))
    assert np.array_equal(first, second)


def few_rows_can_be_learned(model: Model) -> None:
    """Three rows are few, not wrong."""
    data = example(TASKS[0], n_rows=3)
    assert np.isfinite(model.fit(data, PLAN).predict(data.rows.matrix)).all()


def weights_count(model: Model) -> None:
    """A row of weight 0 does not change what is learned."""
    data = example(TASKS[0])
    spoiled = data.rows.target.copy()
    spoiled[::2] += 1e4
    half = (np.arange(N_ROWS) % 2).astype(np.float64)
    weighted = TrainingData(Rows(data.rows.matrix, spoiled, half), np.zeros(N_ROWS, np.bool_), None, data.task)
    found = model.fit(weighted, Training(epochs=60, batch_size=16)).predict(data.rows.matrix)
    assert abs(found.mean() - data.rows.target[1::2].mean()) < 500


def a_warm_start_goes_on(model: Model) -> None:
    """Families that continue take their own state back and answer in the same shape."""
    if not model.continues:
        return
    data = example(TASKS[0])
    first = model.fit(data, PLAN)
    again = model.fit(data, PLAN, start=first.state())
    assert again.predict(data.rows.matrix).shape == (N_ROWS,)
    assert not np.array_equal(again.predict(data.rows.matrix), first.predict(data.rows.matrix))


PROMISES = (
    graph_and_library_agree,
    probabilities_sum_to_one,
    the_same_seed_gives_the_same_model,
    few_rows_can_be_learned,
    weights_count,
    a_warm_start_goes_on,
)
