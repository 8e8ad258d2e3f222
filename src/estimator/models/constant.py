"""The baseline: the same prediction for every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.graph.builder import Graph
from estimator.models.dataset import EncodedFitData
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.progress import Progress, silent


@dataclass(frozen=True)
class FittedConstant(FittedMatrixModel):
    """The prediction, of shape (1,) or (classes,)."""

    tolerance: ClassVar[float] = 1e-12
    prediction: tuple[float, ...] = ()

    def predict(self, matrix: Floats) -> Floats:
        predictions = np.tile(self.prediction, (len(matrix), 1))
        return predictions[:, 0] if self.task.is_regression else predictions

    def write(self, graph: Graph, matrix: str) -> str:
        # Of the matrix only the number of rows is used.
        n_rows = graph("Slice", graph("Shape", matrix), graph.constant([0], np.int64), graph.constant([1], np.int64))
        shape = graph("Concat", n_rows, graph.constant([1], np.int64), axis=0)
        return graph("Tile", graph.constant([self.prediction], np.float64), shape)

    def state(self) -> Mapping[str, bytes]:
        return {}


class Constant(MatrixModel):
    """Predict the mean of the target, or the frequency of each class, for every row."""

    matrix_kind: ClassVar[Literal["scaled", "raw"]] = "raw"
    max_categories: ClassVar[int] = 1000
    supports_warm_start: ClassVar[bool] = False
    ignores_offset: ClassVar[bool] = True
    loss_degree: ClassVar[int] = 2

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedConstant:
        rows = data.rows
        if data.task.is_regression:
            return FittedConstant(data.task, (float(np.average(rows.target, weights=rows.weights)),))
        counts = np.bincount(rows.target.astype(np.int64), rows.weights, minlength=data.task.n_outputs)
        return FittedConstant(data.task, tuple((counts / counts.sum()).tolist()))
