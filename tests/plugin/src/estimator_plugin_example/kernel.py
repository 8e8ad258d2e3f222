"""Kernel regression: the mean of the training targets, weighted by how near their rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.graph.builder import Graph
from estimator.models import EncodedFitData, FittedMatrixModel, MatrixModel, Progress, silent


@dataclass(frozen=True)
class FittedKernel(FittedMatrixModel):
    """Predicts softmax(row @ weights + intercepts) @ targets, with one weight column per training row."""

    tolerance: ClassVar[float] = 1e-6
    weights: Any = None
    intercepts: Any = None
    targets: Any = None

    def predict(self, matrix: Floats) -> Floats:
        scores = matrix @ self.weights + self.intercepts
        nearness = np.exp(scores - scores.max(axis=1, keepdims=True))
        predictions: Floats = nearness / nearness.sum(axis=1, keepdims=True) @ self.targets
        return predictions[:, 0] if self.task.is_regression else predictions

    def write(self, graph: Graph, matrix: str) -> str:
        product = graph("MatMul", matrix, graph.constant(self.weights, np.float64))
        scores = graph("Add", product, graph.constant(self.intercepts, np.float64))
        return graph("MatMul", graph("Softmax", scores, axis=1), graph.constant(self.targets, np.float64))

    def state(self) -> Mapping[str, bytes]:
        return {}


class Kernel(MatrixModel):
    """Kernel regression (Nadaraya and Watson, 1964) with a Gaussian kernel; classes get its class frequencies.

    All training rows are stored in the graph, so it suits tables of a few thousand rows.
    """

    matrix_kind: ClassVar[Literal["scaled", "raw"]] = "scaled"
    max_categories: ClassVar[int] = 50
    supports_warm_start: ClassVar[bool] = False
    distributions: ClassVar[tuple[str, ...]] = ("estimator-plugin-example",)
    default_space: ClassVar[Mapping[str, Any]] = {"model.bandwidth": {"low": 0.1, "high": 10.0, "log": True}}
    bandwidth: Annotated[float, Field(gt=0)] = Field(
        1.0, description="standard deviation of the kernel, in standard deviations of a column"
    )

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedKernel:
        rows = data.rows.take(data.rows.weights > 0)
        targets = rows.target[:, None]
        if not data.task.is_regression:
            targets = np.eye(data.task.n_outputs)[rows.target.astype(np.int64)]
        # A row's squared distance, without the part that is the same for all training rows: softmax cancels it.
        precision = self.bandwidth**-2
        intercepts = np.log(rows.weights) - np.square(rows.matrix).sum(axis=1) * precision / 2
        return FittedKernel(data.task, rows.matrix.T * precision, intercepts, targets)
