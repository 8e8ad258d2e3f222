"""Boosted trees: LightGBM with early stopping, then refitted on all rows with the number of rounds found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.errors import TrainingError, needs_extra
from estimator.graph import Graph
from estimator.models.base import Fitted, MatrixModel, Rows, Step, TrainingData, Watch, probabilities, silent
from estimator.models.trees import write_trees
from estimator.task import Floats

if TYPE_CHECKING:
    import lightgbm

STATE_FILE = "trees.txt"
_OBJECTIVES = {"mse": "regression", "mae": "regression_l1", "huber": "huber", "poisson": "poisson",
               "gamma": "gamma", "tweedie": "tweedie", "mape": "mape"}  # fmt: skip
# Objectives whose raw score is the logarithm of the answer.
_LOG_LINK = frozenset({"poisson", "gamma", "tweedie"})


@dataclass(frozen=True)
class FittedBoosting(Fitted):
    """Trees as LightGBM's own text; of several texts the mean of their raw scores counts."""

    tolerance: ClassVar[float] = 1e-12
    texts: tuple[str, ...] = ()
    log_link: bool = False

    @cached_property
    def _boosters(self) -> list[lightgbm.Booster]:
        import lightgbm

        return [lightgbm.Booster(model_str=text) for text in self.texts]

    def predict(self, matrix: Floats) -> Floats:
        told = [booster.predict(matrix, raw_score=True) for booster in self._boosters]
        raw = np.asarray(np.mean(told, axis=0), np.float64)
        if self.task.kind == "binary":
            positive = np.exp(-np.logaddexp(0.0, -raw))
            return np.column_stack([1.0 - positive, positive])
        if self.task.kind == "multiclass":
            raised = np.exp(raw - raw.max(axis=1, keepdims=True))
            shares: Floats = raised / raised.sum(axis=1, keepdims=True)
            return shares
        answers: Floats = np.exp(raw) if self.log_link else raw
        return answers

    def nodes(self, graph: Graph, matrix: str) -> str:
        n_outputs = self.task.n_outputs if self.task.kind == "multiclass" else 1
        trees = [tree for booster in self._boosters for tree in booster.dump_model()["tree_info"]]
        scores = write_trees(graph, matrix, trees, n_outputs=n_outputs, scale=1.0 / len(self.texts))
        if self.task.kind == "binary":
            return probabilities(graph, graph("Sigmoid", scores))
        if self.task.kind == "multiclass":
            return graph("Softmax", scores, axis=1)
        return graph("Exp", scores) if self.log_link else scores

    def state(self) -> Mapping[str, bytes]:
        if len(self.texts) == 1:
            return {STATE_FILE: self.texts[0].encode()}
        return {f"{place}.{STATE_FILE}": text.encode() for place, text in enumerate(self.texts)}

    @classmethod
    def mean_of(cls, fitted: Sequence[Fitted]) -> Fitted:
        own = [model for model in fitted if isinstance(model, FittedBoosting)]
        return replace(own[0], texts=tuple(text for model in own for text in model.texts))


class Boosting(MatrixModel):
    """Gradient boosted trees (Ke et al., 2017, "LightGBM") on raw numbers and sets of levels."""

    wants: ClassVar[Literal["scaled", "raw"]] = "raw"
    widest: ClassVar[int] = 255
    continues: ClassVar[bool] = True
    rounds: Annotated[int, Field(ge=1)] = Field(2000, description="most rounds; early stopping ends sooner")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(0.05, description="weight of each round")
    leaves: Annotated[int, Field(ge=2)] = Field(24, description="most leaves of a tree")
    min_rows: Annotated[int, Field(ge=1)] = Field(10, description="fewest rows of a leaf")
    row_share: Annotated[float, Field(gt=0, le=1)] = Field(0.8, description="share of rows drawn for each round")
    column_share: Annotated[float, Field(gt=0, le=1)] = Field(0.6, description="share of columns drawn for each tree")
    l1: Annotated[float, Field(ge=0)] = Field(0.0, description="l1 penalty of leaf values")
    l2: Annotated[float, Field(ge=0)] = Field(1.0, description="l2 penalty of leaf values")
    extra_trees: bool = Field(False, description="draw thresholds at random (Geurts et al., 2006)")
    patience: Annotated[int, Field(ge=0)] = Field(60, description="rounds without gain before stopping; 0: never stop")
    refit: bool = Field(True, description="fit again on all training rows with the number of rounds found")
    loss: Literal["mse", "mae", "huber", "poisson", "gamma", "tweedie", "mape"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def fit(
        self, data: TrainingData, plan: Training, *, watch: Watch = silent, start: Mapping[str, bytes] | None = None
    ) -> FittedBoosting:
        with needs_extra("train", "model kind 'boosting'"):
            import lightgbm
        before = _continued(start)
        stops = self.patience > 0 and data.can_stop
        rows, watched = (data.fitting, data.validating) if stops else (data.rows, data.held_out)
        curves: list[Mapping[str, float]] = []
        followers: list[Any] = [_Recorder(curves, self.rounds, watch)]
        if stops:
            followers.append(lightgbm.early_stopping(self.patience, verbose=False))
        booster = self._run(rows, data, plan, watched=watched, before=before, rounds=self.rounds, callbacks=followers)
        rounds = (booster.best_iteration or booster.current_iteration()) - before.n_rounds
        if stops and self.refit and data.outside is None:
            booster = self._run(data.rows, data, plan, watched=None, before=before, rounds=max(rounds, 1), callbacks=[])
        text = booster.model_to_string(num_iteration=rounds + before.n_rounds)
        return FittedBoosting(
            data.task, (text,), data.task.is_regression and self.loss in _LOG_LINK,
            curves=tuple(curves), summary={"rounds": rounds},
        )  # fmt: skip

    def _run(
        self,
        rows: Rows,
        data: TrainingData,
        plan: Training,
        *,
        watched: Rows | None,
        before: _Start,
        rounds: int,
        callbacks: list[Any],
    ) -> lightgbm.Booster:
        import lightgbm

        parameters = self._parameters(data, plan)
        train = lightgbm.Dataset(
            rows.matrix,
            rows.target,
            weight=rows.weights,
            categorical_feature=list(data.codes),
            params=parameters,
            free_raw_data=False,
        )
        sets, names = [train], ["loss"]
        if watched is not None and len(watched):
            sets.append(train.create_valid(watched.matrix, watched.target, weight=watched.weights))
            names.append("val_loss")
        try:
            return lightgbm.train(
                parameters, train, num_boost_round=rounds, valid_sets=sets[1:] or None,
                valid_names=names[1:] or None, init_model=before.booster, callbacks=callbacks,
            )  # fmt: skip
        except lightgbm.basic.LightGBMError as error:
            raise TrainingError(f"LightGBM cannot fit these rows: {error}") from error

    def _parameters(self, data: TrainingData, plan: Training) -> dict[str, Any]:
        if data.task.is_regression:
            objective: dict[str, Any] = {"objective": _OBJECTIVES[self.loss]}
        elif data.task.kind == "binary":
            objective = {"objective": "binary"}
        else:
            objective = {"objective": "multiclass", "num_class": data.task.n_outputs}
        return {
            **objective,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": min(self.min_rows, max(1, len(data.rows) // 10)),
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "feature_fraction": self.column_share,
            "lambda_l1": self.l1,
            "lambda_l2": self.l2,
            "extra_trees": self.extra_trees,
            "seed": plan.seed,
            "num_threads": data.threads,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True)
class _Start:
    """The trees that training goes on from, if any."""

    booster: lightgbm.Booster | None
    n_rounds: int


def _continued(start: Mapping[str, bytes] | None) -> _Start:
    import lightgbm

    if start is None:
        return _Start(None, 0)
    if STATE_FILE not in start:
        raise TrainingError("the version to continue from holds no boosted trees", hint="leave out --from")
    booster = lightgbm.Booster(model_str=start[STATE_FILE].decode())
    return _Start(booster, booster.current_iteration())


class _Recorder:
    """A LightGBM callback that keeps each round's loss and tells the watcher."""

    order = 10
    before_iteration = False

    def __init__(self, curves: list[Mapping[str, float]], total: int, watch: Watch) -> None:
        self.curves, self.total, self.watch = curves, total, watch

    def __call__(self, env: Any) -> None:
        values = {str(name): float(value) for name, _, value, *_ in env.evaluation_result_list}
        self.curves.append(values)
        self.watch(Step(len(self.curves), self.total, values))
