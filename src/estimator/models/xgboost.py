"""Boosted trees of XGBoost, on singles and sets of levels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.core.arrays import Floats
from estimator.errors import needs_extra
from estimator.graph.builder import Graph
from estimator.graph.trees import BRANCH_LT, BRANCH_MEMBER, Split, as_singles, write_singles, write_trees
from estimator.models.base import Rows, TrainingData
from estimator.models.boosted import LOG_LINK, BoostedTrees, FittedTrees, Growth, explained

if TYPE_CHECKING:
    import xgboost

STATE_FILE = "trees.json"
CERTAIN = np.float32(1e-6)
# For fewer numbers threads wait for each other longer than they work.
FEW_CELLS = 1_000_000
# Loss -> objective and the metric that tells it.
_OBJECTIVES = {"mse": ("reg:squarederror", "rmse"), "mae": ("reg:absoluteerror", "mae"),
               "poisson": ("count:poisson", "poisson-nloglik"), "gamma": ("reg:gamma", "gamma-nloglik"),
               "tweedie": ("reg:tweedie", "tweedie-nloglik@1.5")}  # fmt: skip


@dataclass(frozen=True)
class FittedXGBoost(FittedTrees):
    """Trees as XGBoost's own JSON. Its answers are singles, summed as singles; the graph sums doubles."""

    tolerance: ClassVar[float] = 2e-5
    state_file: ClassVar[str] = STATE_FILE

    @cached_property
    def _boosters(self) -> list[xgboost.Booster]:
        return list(map(_loaded, self.contents))

    def library_scores(self, matrix: Floats) -> list[Floats]:
        rows = _data(matrix, self.codes)
        return [np.asarray(booster.predict(rows, output_margin=True), np.float64) for booster in self._boosters]

    def write_scores(self, graph: Graph, matrix: str) -> str:
        learners = [json.loads(content)["learner"] for content in self.contents]
        parts = [learner["gradient_booster"]["model"] for learner in learners]
        trees = [pair for part in parts for pair in zip(part["trees"], part["tree_info"], strict=True)]
        roots = [((_Tree.of(tree), 0), group) for tree, group in trees]
        singles, scale = write_singles(graph, matrix), 1.0 / len(parts)
        sums = write_trees(graph, singles, roots, _read, n_outputs=self.n_scores, scale=scale)
        bases = [self._base(learner["learner_model_param"]["base_score"]) for learner in learners]
        return graph("Add", sums, graph.constant([np.mean(bases, axis=0)], np.float64))

    def _base(self, written: str) -> Floats:
        """Return the scores before the first tree; they are written as the answer they give."""
        answer = np.atleast_1d(np.asarray(json.loads(written), np.float32))
        if self.task.kind == "binary":
            # XGBoost is never surer than this before the first tree.
            answer = np.clip(answer, CERTAIN, 1 - CERTAIN)
            return (np.log(answer) - np.log1p(-answer)).astype(np.float64)
        return (np.log(answer) if self.log_link else answer).astype(np.float64)


class XGBoost(BoostedTrees):
    """Gradient boosted trees (Chen and Guestrin, 2016, "XGBoost") on numbers as singles and sets of levels."""

    max_categories: ClassVar[int] = 255
    state_file: ClassVar[str] = STATE_FILE
    usual_space: ClassVar[Mapping[str, Any]] = {
        **BoostedTrees.usual_space,
        "model.max_depth": {"low": 2, "high": 10, "integer": True},
        "model.min_child_weight": {"low": 0.1, "high": 50.0, "log": True},
    }
    max_depth: Annotated[int, Field(ge=1, le=20)] = Field(6, description="most questions from the root to a leaf")
    min_child_weight: Annotated[float, Field(ge=0)] = Field(
        1.0, description="least weight of a leaf: its rows for mse, else the second derivatives of their loss"
    )
    loss: Literal["mse", "mae", "poisson", "gamma", "tweedie"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def grow(self, growth: Growth) -> FittedXGBoost:
        with needs_extra("xgboost", "model kind 'xgboost'"):
            import xgboost
        data, watched = growth.data, growth.watched
        before = None if growth.start is None else _loaded(growth.start)
        callbacks = [_recorder(growth.tell, squared=data.task.is_regression and self.loss == "mse")]
        if growth.early_stopping_rounds:
            callbacks.append(xgboost.callback.EarlyStopping(rounds=growth.early_stopping_rounds))
        with explained("XGBoost", xgboost.core.XGBoostError):
            booster = xgboost.train(
                self._parameters(data, growth.seed),
                _labelled(growth.rows, data.codes),
                num_boost_round=growth.n_estimators,
                evals=[(_labelled(watched, data.codes), "val_loss")] if watched else [],
                xgb_model=before,
                callbacks=callbacks,
                verbose_eval=False,
            )
        n_rounds = booster.best_iteration + 1 if growth.early_stopping_rounds else booster.num_boosted_rounds()
        return FittedXGBoost(
            data.task, (bytes(booster[:n_rounds].save_raw("json")),),
            data.task.is_regression and self.loss in LOG_LINK, data.codes,
            summary={"n_estimators": n_rounds - (0 if before is None else before.num_boosted_rounds())},
        )  # fmt: skip

    def _parameters(self, data: TrainingData, seed: int) -> dict[str, Any]:
        objective, metric = _OBJECTIVES[self.loss]
        if data.task.kind == "binary":
            objective, metric = "binary:logistic", "logloss"
        elif data.task.kind == "multiclass":
            objective, metric = "multi:softprob", "mlogloss"
        return {
            "objective": objective,
            "eval_metric": metric,
            **({"num_class": data.task.n_outputs} if data.task.kind == "multiclass" else {}),
            "tree_method": "hist",
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample_bytree,
            "reg_lambda": self.reg_lambda,
            "seed": seed,
            "nthread": 1 if data.rows.matrix.size < FEW_CELLS else data.threads,
            "verbosity": 0,
        }


def _loaded(content: bytes) -> xgboost.Booster:
    import xgboost

    return xgboost.Booster(model_file=bytearray(content))


def _data(matrix: Floats, codes: tuple[int, ...], **labels: Floats) -> xgboost.DMatrix:
    import xgboost

    kinds = ["c" if place in codes else "q" for place in range(matrix.shape[1])]
    return xgboost.DMatrix(as_singles(matrix), feature_types=kinds, enable_categorical=True, **labels)


def _labelled(rows: Rows, codes: tuple[int, ...]) -> xgboost.DMatrix:
    return _data(rows.matrix, codes, label=rows.target, weight=rows.weights)


def _recorder(tell: Callable[[Mapping[str, float]], None], *, squared: bool) -> xgboost.callback.TrainingCallback:
    """Return a callback that tells each round's losses; a root of mean squares is told `squared`."""
    from xgboost.callback import TrainingCallback

    class Recorder(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
            last = {name: float(values[-1]) for name, metrics in evals_log.items() for values in metrics.values()}
            tell({name: value**2 if squared else value for name, value in last.items()})
            return False

    return Recorder()


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree of the JSON model, and the levels that go right by the node that asks for them."""

    nodes: Mapping[str, Any]
    levels: Mapping[int, tuple[float, ...]]

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> _Tree:
        parts = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
        levels = {node: tuple(map(float, tree["categories"][begin : begin + size])) for node, begin, size in parts}
        return cls(tree, levels)


_Node = tuple[_Tree, int]


def _read(node: _Node) -> float | tuple[Split, _Node, _Node]:
    tree, place = node
    left, right = tree.nodes["left_children"][place], tree.nodes["right_children"][place]
    # Written with the fewest digits that tell one single from another.
    number = float(np.float32(tree.nodes["split_conditions"][place]))
    if left == -1:
        return number
    feature, missing_left = tree.nodes["split_indices"][place], bool(tree.nodes["default_left"][place])
    if place in tree.levels:
        levels = tree.levels[place]
        return Split(feature, BRANCH_MEMBER, 0.0, not missing_left, levels), (tree, right), (tree, left)
    return Split(feature, BRANCH_LT, number, missing_left), (tree, left), (tree, right)
