"""The checks' rows as a matrix, for tests of families that learn from one."""

from __future__ import annotations

from estimator.checks import models as checks
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.graph.builder import DOUBLE, Graph, Output
from estimator.graph.session import Session
from estimator.models import Fitted, Rows, TrainingData


def example(task: Task) -> TrainingData:
    table = checks.example(task)
    rows = Rows(checks.numbers_of(table.rows.batch), table.rows.target, table.rows.weights)
    return TrainingData(rows, table.validation, None, task)


def graph_answers(fitted: Fitted, matrix: Floats) -> Floats:
    graph = Graph()
    names = [graph.input(f"x{place}", DOUBLE) for place in range(matrix.shape[1])]
    written = fitted.nodes(graph, graph("Concat", *names, axis=1))
    session = Session(graph.finish([Output("answer", written, DOUBLE, rank=2)]))
    found = session.run({name: matrix[:, [place]] for place, name in enumerate(names)})[0]
    return found[:, 0] if fitted.task.is_regression else found
