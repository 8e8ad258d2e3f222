"""The score to beat: the same answer for every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.graph.builder import Graph
from estimator.models.base import Fitted, MatrixModel, Progress, TrainingData, silent


@dataclass(frozen=True)
class FittedConstant(Fitted):
    """The answer, of shape (1,) or (levels,)."""

    tolerance: ClassVar[float] = 1e-12
    answer: tuple[float, ...] = ()

    def predict(self, matrix: Floats) -> Floats:
        answers = np.tile(self.answer, (len(matrix), 1))
        return answers[:, 0] if self.task.is_regression else answers

    def nodes(self, graph: Graph, matrix: str) -> str:
        # The matrix only tells how many rows there are.
        n_rows = graph("Slice", graph("Shape", matrix), graph.constant([0], np.int64), graph.constant([1], np.int64))
        shape = graph("Concat", n_rows, graph.constant([1], np.int64), axis=0)
        return graph("Tile", graph.constant([self.answer], np.float64), shape)

    def state(self) -> Mapping[str, bytes]:
        return {}


class Constant(MatrixModel):
    """Predict the mean of the target, or the share of each level, for every row."""

    wants: ClassVar[Literal["scaled", "raw"]] = "raw"
    max_categories: ClassVar[int] = 1000
    continues: ClassVar[bool] = False

    def fit(
        self,
        data: TrainingData,
        plan: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedConstant:
        rows = data.rows
        if data.task.is_regression:
            answer = [float(np.average(rows.target, weights=rows.weights))]
        else:
            counts = np.bincount(rows.target.astype(np.int64), rows.weights, minlength=data.task.n_outputs)
            answer = (counts / counts.sum()).tolist()
        return FittedConstant(data.task, tuple(answer))
