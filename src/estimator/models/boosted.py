"""What families of boosted trees share: rounds, early stopping, and a second fit with the number of rounds found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.errors import TrainingError
from estimator.graph.builder import Graph, Value, logistic
from estimator.models.base import Fitted, MatrixModel, Progress, Rows, TrainingData, TrainingStep, probabilities, silent

# Losses whose score is the logarithm of the answer.
LOG_LINK = frozenset({"poisson", "gamma", "tweedie"})


@dataclass(frozen=True, slots=True)
class Growth:
    """One run of a library: rows to learn from, rows to follow the loss on, and when to end.

    With a `patience` of 0 all rounds are run. `start` is the state to go on from; `tell` takes each round's losses.
    """

    data: TrainingData
    rows: Rows
    watched: Rows | None
    n_estimators: int
    early_stopping_rounds: int
    seed: int
    start: bytes | None
    tell: Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class FittedTrees(Fitted):
    """Trees in their library's own format, which is the state of a warm start too.

    Of several models in `contents` the mean of their scores counts. Scores have shape (rows, 1), or (rows, levels) for
    more than two levels.
    """

    state_file: ClassVar[str]
    contents: tuple[bytes, ...] = ()
    log_link: bool = False
    codes: tuple[int, ...] = ()

    @abstractmethod
    def library_scores(self, matrix: Floats) -> list[Floats]:
        """Return each model's scores, by the library."""

    @abstractmethod
    def write_scores(self, graph: Graph, matrix: str) -> str:
        """Write all models; return the mean of their scores."""

    @property
    def n_scores(self) -> int:
        """Scores of a row: two levels share one."""
        return self.task.n_outputs if self.task.kind == "multiclass" else 1

    def predict(self, matrix: Floats) -> Floats:
        told = [np.reshape(scores, (-1, self.n_scores)) for scores in self.library_scores(matrix)]
        scores = np.mean(np.asarray(told, np.float64), axis=0)
        if self.task.kind == "binary":
            positive = np.exp(-np.logaddexp(0.0, -scores))
            return np.column_stack([1.0 - positive, positive])
        if self.task.kind == "multiclass":
            raised = np.exp(scores - scores.max(axis=1, keepdims=True))
            shares: Floats = raised / raised.sum(axis=1, keepdims=True)
            return shares
        answers: Floats = np.exp(scores[:, 0]) if self.log_link else scores[:, 0]
        return answers

    def nodes(self, graph: Graph, matrix: str) -> str:
        scores = self.write_scores(graph, matrix)
        if self.task.kind == "binary":
            return probabilities(graph, logistic(Value(graph, scores)).name)
        if self.task.kind == "multiclass":
            return graph("Softmax", scores, axis=1)
        return graph("Exp", scores) if self.log_link else scores

    def state(self) -> Mapping[str, bytes]:
        if len(self.contents) == 1:
            return {self.state_file: self.contents[0]}
        return {f"{place}.{self.state_file}": content for place, content in enumerate(self.contents)}

    @classmethod
    def mean_of(cls, fitted: Sequence[Fitted]) -> Fitted:
        own = [model for model in fitted if isinstance(model, cls)]
        return replace(own[0], contents=tuple(content for model in own for content in model.contents))


class BoostedTrees(MatrixModel):
    """Settings and course of training that all families of boosted trees share."""

    wants: ClassVar[Literal["scaled", "raw"]] = "raw"
    continues: ClassVar[bool] = True
    usual_space: ClassVar[Mapping[str, Any]] = {
        "model.learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        "model.subsample": {"low": 0.4, "high": 1.0},
        "model.colsample_bytree": {"low": 0.3, "high": 1.0},
        "model.reg_lambda": {"low": 0.01, "high": 100.0, "log": True},
    }
    state_file: ClassVar[str]
    n_estimators: Annotated[int, Field(ge=1)] = Field(2000, description="most rounds; early stopping ends sooner")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(0.05, description="weight of each round")
    subsample: Annotated[float, Field(gt=0, le=1)] = Field(0.8, description="share of rows drawn for each round")
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = Field(
        0.6, description="share of columns drawn for each tree; catboost: for each question"
    )
    reg_lambda: Annotated[float, Field(ge=0)] = Field(1.0, description="l2 penalty of leaf values")
    early_stopping_rounds: Annotated[int, Field(ge=0)] = Field(
        60, description="rounds without gain before stopping; 0: never stop"
    )
    refit: bool = Field(True, description="fit again on all training rows with the number of rounds found")

    @abstractmethod
    def grow(self, growth: Growth) -> FittedTrees:
        """Run the library once; its summary holds the `rounds` that were best, and only their trees are kept."""

    def fit(
        self,
        data: TrainingData,
        plan: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedTrees:
        begun = self._begun(start)
        stops = self.early_stopping_rounds > 0 and data.can_stop
        rows, watched = (data.fitting, data.validating) if stops else (data.rows, data.held_out)
        curves: list[Mapping[str, float]] = []

        def tell(losses: Mapping[str, float]) -> None:
            curves.append(losses)
            progress(TrainingStep(len(curves), self.n_estimators, losses))

        growth = Growth(
            data, rows, watched or None, self.n_estimators, self.early_stopping_rounds * stops, plan.seed, begun, tell
        )
        fitted = self.grow(growth)
        if stops and self.refit and data.outside is None:
            rounds = max(int(fitted.summary["n_estimators"]), 1)
            again = replace(
                growth,
                rows=data.rows,
                watched=None,
                n_estimators=rounds,
                early_stopping_rounds=0,
                tell=lambda losses: None,
            )
            fitted = self.grow(again)
        return replace(fitted, curves=tuple(curves))

    def _begun(self, start: Mapping[str, bytes] | None) -> bytes | None:
        if start is None:
            return None
        if self.state_file not in start:
            raise TrainingError(
                "the version to continue from holds no boosted trees of this kind", hint="leave out --from"
            )
        return start[self.state_file]


@contextmanager
def explained(library: str, fault: type[Exception]) -> Iterator[None]:
    """Turn a library's refusal to fit into an error of ours."""
    try:
        yield
    except fault as error:
        raise TrainingError(f"{library} cannot fit these rows: {error}") from error
