"""Linear models: ridge regression, or logistic regression for levels."""

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
from estimator.models.base import Fitted, MatrixModel, Progress, TrainingData, probabilities, silent
from estimator.models.fitted import Additions

MOST_ITERATIONS = 5000
# A score whose exponential is 0.
NEVER = -1e300
PENALTIES = tuple(float(value) for value in np.logspace(-3, 4, 15))


@dataclass(frozen=True)
class FittedLinear(Fitted):
    """Weights of shape (width, outputs) and one intercept per output; one output for a number or two levels."""

    tolerance: ClassVar[float] = 1e-5
    library: Any = None
    weights: Any = None
    intercepts: Any = None

    def predict(self, matrix: Floats) -> Floats:
        found: Floats
        if self.task.is_regression:
            found = np.asarray(self.library.predict(matrix), np.float64)
        else:
            found = np.zeros((len(matrix), self.task.n_outputs))
            found[:, self.library.classes_] = self.library.predict_proba(matrix)
        return found

    def nodes(self, graph: Graph, matrix: str) -> str:
        product = graph("MatMul", matrix, graph.constant(self.weights, np.float64))
        scores = graph("Add", product, graph.constant([self.intercepts], np.float64))
        if self.task.is_regression:
            return scores
        if self.task.kind == "binary":
            return probabilities(graph, logistic(Value(graph, scores)).name)
        return graph("Softmax", scores, axis=1)

    def contributions(self, matrix: Floats, background: Floats) -> Additions | None:
        if self.task.kind == "multiclass":
            return None
        weights, usual = self.weights[:, 0], background.mean(axis=0)
        return Additions((matrix - usual) * weights, float(usual @ weights) + self.intercepts[0])

    def state(self) -> Mapping[str, bytes]:
        return {}


def _all_levels(logistic: Any, task: Task) -> tuple[Floats, Floats]:
    """Return weights and intercepts of every level; one that training did not hold is never answered."""
    if task.kind == "binary":
        return logistic.coef_.T, logistic.intercept_
    found, intercepts = np.zeros((logistic.coef_.shape[1], task.n_outputs)), np.full(task.n_outputs, NEVER)
    if len(logistic.classes_) == 2:
        # Two levels share one score; the first stands at 0.
        found[:, logistic.classes_[1]], intercepts[logistic.classes_] = logistic.coef_[0], [0.0, logistic.intercept_[0]]
    else:
        found[:, logistic.classes_], intercepts[logistic.classes_] = logistic.coef_.T, logistic.intercept_
    return found, intercepts


class Linear(MatrixModel):
    """Ridge or logistic regression on standardised numbers and indicators.

    The ridge penalty is chosen by efficient leave-one-out cross-validation (Golub, Heath and Wahba, 1979)
    unless it is given.
    """

    wants: ClassVar[Literal["scaled", "raw"]] = "scaled"
    max_categories: ClassVar[int] = 50
    continues: ClassVar[bool] = False
    usual_space: ClassVar[Mapping[str, Any]] = {"model.penalty": {"low": 0.001, "high": 10_000.0, "log": True}}
    penalty: Annotated[float, Field(gt=0)] | None = Field(
        None, description="l2 penalty; chosen from 0.001 to 10,000 for numbers, 1 for levels, when left out"
    )

    def fit(
        self,
        data: TrainingData,
        plan: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedLinear:
        with needs_extra("train", "model kind 'linear'"):
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression, RidgeCV
        rows = data.rows
        if data.task.is_regression:
            ridge = RidgeCV([self.penalty] if self.penalty else PENALTIES)
            ridge.fit(rows.matrix, rows.target, sample_weight=rows.weights)
            weights, intercepts = ridge.coef_.reshape(-1, 1), np.atleast_1d(ridge.intercept_)
            chosen = {"penalty": float(ridge.alpha_)}
            return FittedLinear(data.task, ridge, weights, intercepts.tolist(), summary=chosen)
        logistic = LogisticRegression(C=1.0 / (self.penalty or 1.0), max_iter=MOST_ITERATIONS)
        with warnings.catch_warnings():
            # A run that ends at the limit is told in the summary instead.
            warnings.simplefilter("ignore", ConvergenceWarning)
            logistic.fit(rows.matrix, rows.target.astype(np.int64), sample_weight=rows.weights)
        weights, intercepts = _all_levels(logistic, data.task)
        told = {"iterations": float(logistic.n_iter_.max()), "most_iterations": float(MOST_ITERATIONS)}
        return FittedLinear(data.task, logistic, weights, intercepts.tolist(), summary=told)
