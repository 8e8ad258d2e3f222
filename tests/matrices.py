"""The checks' rows as a matrix, for tests of models that fit one."""

from __future__ import annotations

from estimator.checks import models as checks
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.graph.builder import DOUBLE, Graph, Output
from estimator.graph.session import Session
from estimator.models import EncodedFitData, EncodedRows, FittedMatrixModel


def encoded_example(task: Task) -> EncodedFitData:
    data = checks.example_data(task)
    rows = EncodedRows(checks.to_matrix(data.rows.batch), data.rows.target, data.rows.weights)
    return EncodedFitData(rows, data.validation_mask, None, task)


def graph_predictions(fitted: FittedMatrixModel, matrix: Floats) -> Floats:
    graph = Graph()
    names = [graph.input(f"x{column}", DOUBLE) for column in range(matrix.shape[1])]
    value = fitted.write(graph, graph("Concat", *names, axis=1))
    session = Session(graph.finish([Output("prediction", value, DOUBLE, rank=2)]))
    predictions = session.run({name: matrix[:, [column]] for column, name in enumerate(names)})[0]
    return predictions[:, 0] if fitted.task.is_regression else predictions
