"""Linear models of scikit-learn: ridge regression, and logistic regression for classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.errors import needs_extra
from estimator.graph.builder import Graph, Value, logistic
from estimator.models.base import AdditiveContributions
from estimator.models.constant import Constant
from estimator.models.cost import FitCost, FitShape, LibraryCost
from estimator.models.dataset import EncodedFitData
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.probabilities import write_binary_probabilities
from estimator.models.progress import Progress, silent

MAX_ITERATIONS = 5000
# With fewer rows, leaving one out leaves none or one.
MIN_ROWS_TO_CHOOSE = 3
# A score whose exponential is 0.
NEGLIGIBLE_SCORE = -1e300
# What logistic regression usually takes.
USUAL_ITERATIONS = 22
PENALTIES = tuple(float(value) for value in np.logspace(-3, 4, 15))


@dataclass(frozen=True)
class FittedLinear(FittedMatrixModel):
    """Weights (width, outputs) and one intercept per output; a number or two classes have one output.

    `model` is scikit-learn's, which has no type hints.
    """

    tolerance: ClassVar[float] = 1e-5
    model: Any = None
    weights: Any = None
    intercepts: Any = None

    def predict(self, matrix: Floats) -> Floats:
        from sklearn import config_context

        # Far outside the training range, a standardized number may be infinite, as it is in the graph.
        with config_context(assume_finite=True), np.errstate(over="ignore", invalid="ignore"):
            if self.task.is_regression:
                return np.asarray(self.model.predict(matrix), np.float64)
            probabilities = np.zeros((len(matrix), self.task.n_outputs))
            probabilities[:, self.model.classes_] = self.model.predict_proba(matrix)
            return probabilities

    def write(self, graph: Graph, matrix: str) -> str:
        product = graph("MatMul", matrix, graph.constant(self.weights, np.float64))
        scores = graph("Add", product, graph.constant([self.intercepts], np.float64))
        if self.task.is_regression:
            return scores
        if self.task.kind == "binary":
            return write_binary_probabilities(graph, logistic(Value(graph, scores)).name)
        return graph("Softmax", scores, axis=1)

    def contributions(self, matrix: Floats, background: Floats) -> AdditiveContributions | None:
        if self.task.kind == "multiclass":
            return None
        weights, mean = self.weights[:, 0], background.mean(axis=0)
        return AdditiveContributions((matrix - mean) * weights, float(mean @ weights) + self.intercepts[0])

    def state(self) -> Mapping[str, bytes]:
        return {}


class Linear(MatrixModel):
    """Ridge or logistic regression on standardized numbers and indicators.

    The ridge penalty is chosen by efficient leave-one-out cross-validation (Golub, Heath and Wahba, 1979)
    unless it is given.
    """

    matrix_kind: ClassVar[Literal["scaled", "raw"]] = "scaled"
    max_categories: ClassVar[int] = 50
    supports_warm_start: ClassVar[bool] = False
    default_space: ClassVar[Mapping[str, Any]] = {"model.penalty": {"low": 0.001, "high": 10_000.0, "log": True}}
    distributions: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    library_cost: ClassVar[LibraryCost] = LibraryCost(1.5, 200_000_000)
    ignores_offset: ClassVar[bool] = True
    loss_degree: ClassVar[int] = 2
    penalty: Annotated[float, Field(gt=0)] | None = Field(
        None, description="l2 penalty; by default chosen from 0.001 to 10,000 for numbers, and 1 for classes"
    )

    def fit_cost(self, shape: FitShape, training: Training) -> FitCost:
        n_rows, width, n_outputs = shape.n_rows, shape.width, shape.n_outputs
        if n_outputs == 1:
            seconds = n_rows * width * (1.35e-7 + 1.2e-9 * min(width, n_rows))
        else:
            seconds = USUAL_ITERATIONS * (2e-4 + n_rows * width * (6e-10 + 4.5e-10 * n_outputs))
        return FitCost(seconds, 1e-8 * width + 5e-10 * width * n_outputs)

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedMatrixModel:
        with needs_extra("train", "model kind 'linear'"):
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
        rows = data.rows
        if data.task.is_regression:
            few = len(rows) < MIN_ROWS_TO_CHOOSE
            ridge = Ridge(self.penalty or 1.0) if few else RidgeCV([self.penalty] if self.penalty else PENALTIES)
            ridge.fit(rows.matrix, rows.target, sample_weight=rows.weights)
            weights, intercepts = ridge.coef_.reshape(-1, 1), np.atleast_1d(ridge.intercept_)
            summary = {"penalty": float(ridge.alpha if few else ridge.alpha_)}
            return FittedLinear(data.task, ridge, weights, intercepts.tolist(), summary=summary)
        if len(np.unique(rows.target)) == 1:
            # A fold may hold one class, which scikit-learn rejects.
            return Constant().fit_matrix(data, training)
        logistic = LogisticRegression(C=1.0 / (self.penalty or 1.0), max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            # The summary shows when a fit ends at the limit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Many classes of few rows are what the config asks for.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            logistic.fit(rows.matrix, rows.target.astype(np.int64), sample_weight=rows.weights)
        weights, intercepts = _all_classes(logistic, data.task)
        summary = {"iterations": float(logistic.n_iter_.max()), "max_iterations": float(MAX_ITERATIONS)}
        return FittedLinear(data.task, logistic, weights, intercepts.tolist(), summary=summary)


def _all_classes(logistic: Any, task: Task) -> tuple[Floats, Floats]:
    """Return weights and intercepts of every class; a class that training did not hold is never predicted."""
    if task.kind == "binary":
        return logistic.coef_.T, logistic.intercept_
    weights, intercepts = np.zeros((logistic.coef_.shape[1], task.n_outputs)), np.full(task.n_outputs, NEGLIGIBLE_SCORE)
    if len(logistic.classes_) == 2:
        # scikit-learn fits one score for two classes; that of the first is 0.
        weights[:, logistic.classes_[1]] = logistic.coef_[0]
        intercepts[logistic.classes_] = [0.0, logistic.intercept_[0]]
    else:
        weights[:, logistic.classes_], intercepts[logistic.classes_] = logistic.coef_.T, logistic.intercept_
    return weights, intercepts
