"""Boosted trees of LightGBM, on raw numbers and sets of levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.core.arrays import Floats
from estimator.errors import needs_extra
from estimator.graph.builder import Graph
from estimator.graph.trees import BRANCH_LEQ, BRANCH_MEMBER, Split, write_trees
from estimator.models.base import TrainingData
from estimator.models.boosted import LOG_LINK, BoostedTrees, FittedTrees, Growth, explained
from estimator.models.fitted import Additions

if TYPE_CHECKING:
    import lightgbm

STATE_FILE = "trees.txt"
_OBJECTIVES = {"mse": "regression", "mae": "regression_l1", "huber": "huber", "poisson": "poisson",
               "gamma": "gamma", "tweedie": "tweedie", "mape": "mape"}  # fmt: skip


@dataclass(frozen=True)
class FittedBoosting(FittedTrees):
    """Trees as LightGBM's own text."""

    tolerance: ClassVar[float] = 1e-12
    state_file: ClassVar[str] = STATE_FILE

    @cached_property
    def _boosters(self) -> list[lightgbm.Booster]:
        return list(map(_loaded, self.contents))

    def library_scores(self, matrix: Floats) -> list[Floats]:
        return [np.asarray(booster.predict(matrix, raw_score=True)) for booster in self._boosters]

    def contributions(self, matrix: Floats, background: Floats) -> Additions | None:
        """Return LightGBM's own, by TreeSHAP (Lundberg et al., 2020), the mean over models."""
        if self.log_link or self.n_scores > 1:
            return None
        told = np.mean([booster.predict(matrix, pred_contrib=True) for booster in self._boosters], axis=0)
        return Additions(told[:, :-1], float(told[0, -1]))

    def write_scores(self, graph: Graph, matrix: str) -> str:
        trees = [tree for booster in self._boosters for tree in booster.dump_model()["tree_info"]]
        roots = [(tree["tree_structure"], place % self.n_scores) for place, tree in enumerate(trees)]
        return write_trees(graph, matrix, roots, _read, n_outputs=self.n_scores, scale=1.0 / len(self._boosters))


class Boosting(BoostedTrees):
    """Gradient boosted trees (Ke et al., 2017, "LightGBM") on raw numbers and sets of levels."""

    max_categories: ClassVar[int] = 255
    state_file: ClassVar[str] = STATE_FILE
    usual_space: ClassVar[Mapping[str, Any]] = {
        **BoostedTrees.usual_space,
        "model.num_leaves": {"low": 4, "high": 128, "log": True, "integer": True},
        "model.min_child_samples": {"low": 2, "high": 100, "log": True, "integer": True},
        "model.extra_trees": [False, True],
    }
    num_leaves: Annotated[int, Field(ge=2)] = Field(24, description="most leaves of a tree")
    min_child_samples: Annotated[int, Field(ge=1)] = Field(10, description="fewest rows of a leaf")
    reg_alpha: Annotated[float, Field(ge=0)] = Field(0.0, description="l1 penalty of leaf values")
    extra_trees: bool = Field(False, description="draw thresholds at random (Geurts et al., 2006)")
    loss: Literal["mse", "mae", "huber", "poisson", "gamma", "tweedie", "mape"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def grow(self, growth: Growth) -> FittedBoosting:
        with needs_extra("train", "model kind 'boosting'"):
            import lightgbm
        data, parameters = growth.data, self._parameters(growth.data, growth.seed)
        before = None if growth.start is None else _loaded(growth.start)
        rows, watched = growth.rows, growth.watched
        train = lightgbm.Dataset(
            rows.matrix,
            rows.target,
            weight=rows.weights,
            categorical_feature=list(data.codes),
            params=parameters,
            free_raw_data=False,
        )
        callbacks: list[Callable[..., Any]] = [_Recorder(growth.tell)]
        if growth.early_stopping_rounds:
            callbacks.append(lightgbm.early_stopping(growth.early_stopping_rounds, verbose=False))
        with explained("LightGBM", lightgbm.basic.LightGBMError):
            booster = lightgbm.train(
                parameters, train, num_boost_round=growth.n_estimators, init_model=before, callbacks=callbacks,
                valid_sets=[train.create_valid(watched.matrix, watched.target, watched.weights)] if watched else None,
                valid_names=["val_loss"] if watched else None,
            )  # fmt: skip
        # Without patience the best round is the last.
        best = booster.best_iteration if growth.early_stopping_rounds else 0
        n_rounds = best or booster.current_iteration()
        return FittedBoosting(
            data.task, (booster.model_to_string(num_iteration=n_rounds).encode(),),
            data.task.is_regression and self.loss in LOG_LINK, data.codes,
            summary={"n_estimators": n_rounds - (before.current_iteration() if before else 0)},
        )  # fmt: skip

    def _parameters(self, data: TrainingData, seed: int) -> dict[str, Any]:
        if data.task.is_regression:
            objective: dict[str, Any] = {"objective": _OBJECTIVES[self.loss]}
        elif data.task.kind == "binary":
            objective = {"objective": "binary"}
        else:
            objective = {"objective": "multiclass", "num_class": data.task.n_outputs}
        return {
            **objective,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": min(self.min_child_samples, max(1, len(data.rows) // 10)),
            "bagging_fraction": self.subsample,
            "bagging_freq": 1,
            "feature_fraction": self.colsample_bytree,
            "lambda_l1": self.reg_alpha,
            "lambda_l2": self.reg_lambda,
            "extra_trees": self.extra_trees,
            "seed": seed,
            "num_threads": data.threads,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


def _loaded(content: bytes) -> lightgbm.Booster:
    import lightgbm

    return lightgbm.Booster(model_str=content.decode())


def _read(node: Mapping[str, Any]) -> float | tuple[Split, Mapping[str, Any], Mapping[str, Any]]:
    """Read a node of `Booster.dump_model()`."""
    if "split_feature" not in node:
        return float(node["leaf_value"])
    feature, threshold = node["split_feature"], node["threshold"]
    if node["decision_type"] == "==":
        split = Split(feature, BRANCH_MEMBER, members=tuple(float(level) for level in threshold.split("||")))
    else:
        split = Split(feature, BRANCH_LEQ, float(threshold), missing_is_yes=_missing_goes_left(node))
    return split, node["left_child"], node["right_child"]


def _missing_goes_left(node: Mapping[str, Any]) -> bool:
    """LightGBM sends NaN the default way if it saw gaps there in training, else it takes NaN for 0."""
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else float(node["threshold"]) >= 0.0


class _Recorder:
    """A LightGBM callback that tells each round's losses."""

    order = 10
    before_iteration = False

    def __init__(self, tell: Callable[[Mapping[str, float]], None]) -> None:
        self.tell = tell

    def __call__(self, env: Any) -> None:
        self.tell({str(name): float(value) for name, _, value, *_ in env.evaluation_result_list})
