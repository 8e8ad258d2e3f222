"""What families of boosted trees share: rounds, early stopping, and a refit with the best number of rounds."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.core.text import counted
from estimator.core.units import Arithmetic
from estimator.errors import TrainingError
from estimator.graph.builder import Graph, Value, logistic
from estimator.models.cost import FitCost, FitShape
from estimator.models.dataset import EncodedFitData, EncodedRows
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.probabilities import softmax, write_binary_probabilities
from estimator.models.progress import Progress, TrainingStep, silent, stage

# Losses whose score is the logarithm of the prediction.
LOG_LINK = frozenset({"poisson", "gamma", "tweedie"})

# Rounds until the best one; of more than two classes fewer, by the rows of each.
USUAL_ROUNDS, ROUNDS_PER_CLASS_ROW, MIN_CLASS_ROUNDS = 220, 0.2, 5
# Seconds of a row in one tree: by the graph, and with it by the library.
ROW_TREE_SECONDS = 1e-7

# What a library that holds the matrix in single precision can tell apart.
SINGLE_MATRIX = Arithmetic(24, 1e-30, 1e30, math.inf)


@dataclass(frozen=True, slots=True)
class BoostingRun:
    """One call of a library: rows to fit, rows to evaluate after each round, and when to stop.

    With 0 `early_stopping_rounds` all rounds are run. `start` is the state to continue from; `report` is called with
    each round's losses.
    """

    data: EncodedFitData
    rows: EncodedRows
    eval_rows: EncodedRows | None
    n_estimators: int
    early_stopping_rounds: int
    seed: int
    start: bytes | None
    report: Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class FittedTrees(FittedMatrixModel):
    """Boosted trees in their library's own format, which is also the state of a warm start.

    With several models in `contents`, the prediction is that of their mean score. Scores have shape (rows, 1), or
    (rows, classes) for more than two classes.
    """

    state_file: ClassVar[str]
    contents: tuple[bytes, ...] = ()
    log_link: bool = False
    categorical: tuple[int, ...] = ()

    @abstractmethod
    def library_scores(self, matrix: Floats) -> list[Floats]:
        """Return each model's scores, by the library."""

    @abstractmethod
    def write_scores(self, graph: Graph, matrix: str) -> str:
        """Write all models; return the mean of their scores."""

    @property
    def n_scores(self) -> int:
        """Scores per row: two classes share one."""
        return self.task.n_outputs if self.task.kind == "multiclass" else 1

    def predict(self, matrix: Floats) -> Floats:
        all_scores = [np.reshape(scores, (-1, self.n_scores)) for scores in self.library_scores(matrix)]
        scores = np.mean(np.asarray(all_scores, np.float64), axis=0)
        if self.task.kind == "binary":
            positive = np.exp(-np.logaddexp(0.0, -scores))
            return np.column_stack([1.0 - positive, positive])
        if self.task.kind == "multiclass":
            return softmax(scores)
        numbers: Floats = np.exp(scores[:, 0]) if self.log_link else scores[:, 0]
        return numbers

    def write(self, graph: Graph, matrix: str) -> str:
        scores = self.write_scores(graph, matrix)
        if self.task.kind == "binary":
            return write_binary_probabilities(graph, logistic(Value(graph, scores)).name)
        if self.task.kind == "multiclass":
            return graph("Softmax", scores, axis=1)
        return graph("Exp", scores) if self.log_link else scores

    def state(self) -> Mapping[str, bytes]:
        if len(self.contents) == 1:
            return {self.state_file: self.contents[0]}
        return {f"{index}.{self.state_file}": content for index, content in enumerate(self.contents)}

    @classmethod
    def mean_of(cls, models: Sequence[FittedMatrixModel]) -> FittedMatrixModel:
        trees = [model for model in models if isinstance(model, cls)]
        return replace(trees[0], contents=tuple(content for model in trees for content in model.contents))


class BoostedTrees(MatrixModel):
    """Settings and course of training that all families of boosted trees share."""

    if TYPE_CHECKING:
        # A field of every family, each with its own choices.
        loss: str
    # Seconds of one tree: a fixed part, one per matrix column, one per cell.
    tree_seconds: ClassVar[tuple[float, float, float]]
    matrix_kind: ClassVar[Literal["scaled", "raw"]] = "raw"
    supports_warm_start: ClassVar[bool] = True
    default_space: ClassVar[Mapping[str, Any]] = {
        "model.learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        "model.subsample": {"low": 0.4, "high": 1.0},
        "model.colsample_bytree": {"low": 0.3, "high": 1.0},
        "model.reg_lambda": {"low": 0.01, "high": 100.0, "log": True},
    }
    state_file: ClassVar[str]
    n_estimators: Annotated[int, Field(ge=1)] = Field(
        2000, description="maximum number of boosting rounds; early stopping usually ends sooner"
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(0.05, description="weight of each round")
    subsample: Annotated[float, Field(gt=0, le=1)] = Field(0.8, description="fraction of rows sampled for each round")
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = Field(
        0.6, description="fraction of columns sampled for each tree; catboost: for each split"
    )
    reg_lambda: Annotated[float, Field(ge=0)] = Field(1.0, description="l2 penalty of leaf values")
    early_stopping_rounds: Annotated[int, Field(ge=0)] = Field(
        60, description="rounds without improvement before stopping; 0: never stop early"
    )
    refit: bool = Field(True, description="fit again on all training rows with the best number of rounds")

    @property
    def ignores_offset(self) -> bool:
        return self.loss in ("mse", "mae", "huber")

    @property
    def loss_degree(self) -> int | None:
        return {"mse": 2, "mae": 1}.get(self.loss)

    def fit_cost(self, shape: FitShape, training: Training) -> FitCost:
        trees_per_round = shape.n_outputs if shape.n_outputs > 2 else 1
        best = min(self.n_estimators, shape.rounds or self._usual_rounds(shape))
        n_rounds = min(self.n_estimators, best + self.early_stopping_rounds)
        if self.refit and shape.refits and self.early_stopping_rounds:
            n_rounds += best
        seconds = trees_per_round * n_rounds * self.seconds_per_tree(shape)
        return FitCost(seconds, ROW_TREE_SECONDS * trees_per_round * best, trees_per_round * best)

    def seconds_per_tree(self, shape: FitShape) -> float:
        """Return about how long one tree takes to grow."""
        fixed, per_column, per_cell = self.tree_seconds
        return fixed + shape.width * (per_column + per_cell * shape.n_rows)

    def _usual_rounds(self, shape: FitShape) -> int:
        if not self.early_stopping_rounds:
            return self.n_estimators
        default = type(self).model_fields["learning_rate"].default
        usual: float = USUAL_ROUNDS
        if shape.n_outputs > 2:
            usual = min(max(ROUNDS_PER_CLASS_ROW * shape.n_rows / shape.n_outputs, MIN_CLASS_ROUNDS), USUAL_ROUNDS)
        return max(1, int(usual * default / self.learning_rate))

    @abstractmethod
    def boost(self, run: BoostingRun) -> FittedTrees:
        """Run the library once and keep the trees of the best round; the summary holds its `n_estimators`."""

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedMatrixModel:
        self._check_target(data)
        stops = self.early_stopping_rounds > 0 and data.has_validation
        rows, eval_rows = (data.fit_rows, data.validation_rows) if stops else (data.rows, data.held_out)
        curves: list[Mapping[str, float]] = []

        def report(losses: Mapping[str, float]) -> None:
            curves.append(losses)
            progress(TrainingStep(len(curves), self.n_estimators, losses, "rounds"))

        run = BoostingRun(
            data,
            rows,
            eval_rows or None,
            self.n_estimators,
            self.early_stopping_rounds * stops,
            training.seed,
            self._start_content(start),
            report,
        )
        fitted = self.boost(run)
        if stops and self.refit and data.validation_fold is None:
            best = max(int(fitted.summary["n_estimators"]), 1)
            progress(stage(f"fitting {counted(best, 'round')} again, on all training rows"))
            all_rows = replace(run, rows=data.rows, eval_rows=None, n_estimators=best, early_stopping_rounds=0)
            fitted = self.boost(replace(all_rows, report=lambda losses: None))
        return replace(fitted, curves=tuple(curves))

    def _check_target(self, data: EncodedFitData) -> None:
        """Reject a target that the loss has no value for."""
        if not (data.task.is_regression and self.loss in LOG_LINK):
            return
        target = data.rows.target[data.rows.weights > 0]
        is_outside = target <= 0 if self.loss == "gamma" else target < 0
        if is_outside.any() or not target.any():
            expected = "above 0" if self.loss == "gamma" else "of at least 0, and not all 0"
            raise TrainingError(
                f"model.loss: {self.loss!r} expects a target {expected}; {int(is_outside.sum()):,} of {len(target):,} "
                f"rows have another, the least is {target.min():g}",
                hint="set model.loss: mse, or mae",
            )

    def _start_content(self, start: Mapping[str, bytes] | None) -> bytes | None:
        if start is None:
            return None
        if self.state_file not in start:
            raise TrainingError(
                f"the version to continue from has no state/{self.state_file}: it is another kind of model",
                hint="leave out training.pretrained (--from), or set model.kind to that version's",
            )
        return start[self.state_file]


@contextmanager
def library_errors(library: str, error_type: type[Exception]) -> Iterator[None]:
    """Context manager that raises a library's error as a `TrainingError`."""
    try:
        yield
    except error_type as error:
        raise TrainingError(f"{library} cannot fit these rows: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return a library's message without its stack trace, and the time and place in its source before it.

    >>> _reason(ValueError("[22:23:50] /src/objective.cu:83: label must be positive\\nStack trace: ..."))
    'label must be positive'
    """
    first_line = str(error).strip().split("\n")[0]
    return re.sub(r"^(\[[\d:]+\] )?\S+\.(cu|cc|cpp|h):\d+: ", "", first_line)
