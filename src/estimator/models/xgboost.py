"""Boosted trees of XGBoost, on single-precision numbers and sets of categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.core.arrays import Floats
from estimator.core.units import Arithmetic
from estimator.errors import needs_extra
from estimator.graph.builder import Graph
from estimator.graph.trees import BRANCH_LT, BRANCH_MEMBER, TreeSplit, as_singles, write_singles, write_trees
from estimator.models.boosted import LOG_LINK, SINGLE_MATRIX, BoostedTrees, BoostingRun, FittedTrees, library_errors
from estimator.models.cost import LibraryCost
from estimator.models.dataset import EncodedFitData, EncodedRows

if TYPE_CHECKING:
    import xgboost

STATE_FILE = "trees.json"
# XGBoost clips the base probability of two classes to this far from 0 and 1.
MIN_BASE_PROBABILITY = np.float32(1e-6)
# XGBoost makes no split that gains less than 1e-6, in squares of the target.
MIN_SPREAD = 0.01
# Below this size threads wait for each other longer than they work.
SINGLE_THREAD_CELLS = 1_000_000
# Loss -> objective and its metric.
_OBJECTIVES = {
    "mse": ("reg:squarederror", "rmse"),
    "mae": ("reg:absoluteerror", "mae"),
    "poisson": ("count:poisson", "poisson-nloglik"),
    "gamma": ("reg:gamma", "gamma-nloglik"),
    "tweedie": ("reg:tweedie", "tweedie-nloglik@1.5"),
}


@dataclass(frozen=True)
class FittedXGBoost(FittedTrees):
    """Trees in XGBoost's JSON format. XGBoost sums leaves in single precision, the graph in double."""

    tolerance: ClassVar[float] = 2e-5
    state_file: ClassVar[str] = STATE_FILE

    @cached_property
    def _boosters(self) -> list[xgboost.Booster]:
        return list(map(_loaded, self.contents))

    def library_scores(self, matrix: Floats) -> list[Floats]:
        rows = _to_dmatrix(matrix, self.categorical)
        return [np.asarray(booster.predict(rows, output_margin=True), np.float64) for booster in self._boosters]

    def write_scores(self, graph: Graph, matrix: str) -> str:
        learners = [json.loads(content)["learner"] for content in self.contents]
        models = [learner["gradient_booster"]["model"] for learner in learners]
        trees = [pair for model in models for pair in zip(model["trees"], model["tree_info"], strict=True)]
        roots = [((_Tree.of(tree), 0), group) for tree, group in trees]
        singles, scale = write_singles(graph, matrix), 1.0 / len(models)
        sums = write_trees(graph, singles, roots, _read, n_outputs=self.n_scores, scale=scale)
        bases = [self._base_scores(learner["learner_model_param"]["base_score"]) for learner in learners]
        return graph("Add", sums, graph.constant([np.mean(bases, axis=0)], np.float64))

    def _base_scores(self, base_score: str) -> Floats:
        """Return the scores before the first tree; the JSON holds them as predictions."""
        prediction = np.atleast_1d(np.asarray(json.loads(base_score), np.float32))
        if self.task.kind == "binary":
            prediction = np.clip(prediction, MIN_BASE_PROBABILITY, 1 - MIN_BASE_PROBABILITY)
            return (np.log(prediction) - np.log1p(-prediction)).astype(np.float64)
        return (np.log(prediction) if self.log_link else prediction).astype(np.float64)


class XGBoost(BoostedTrees):
    """Gradient boosted trees (Chen and Guestrin, 2016, "XGBoost") on numbers and sets of categories."""

    max_categories: ClassVar[int] = 255
    matrix_arithmetic: ClassVar[Arithmetic] = SINGLE_MATRIX
    target_arithmetic: ClassVar[Arithmetic] = Arithmetic(24, MIN_SPREAD, 1e15, 1e18)
    state_file: ClassVar[str] = STATE_FILE
    default_space: ClassVar[Mapping[str, Any]] = {
        **BoostedTrees.default_space,
        "model.max_depth": {"low": 2, "high": 10, "integer": True},
        "model.min_child_weight": {"low": 0.1, "high": 50.0, "log": True},
    }
    distributions: ClassVar[tuple[str, ...]] = ("xgboost-cpu", "xgboost")
    library_cost: ClassVar[LibraryCost] = LibraryCost(1.9, 215_000_000)
    tree_seconds: ClassVar[tuple[float, float, float]] = (4e-4, 1e-4, 3.4e-8)
    max_depth: Annotated[int, Field(ge=1, le=20)] = Field(6, description="maximum depth of a tree")
    min_child_weight: Annotated[float, Field(ge=0)] = Field(
        1.0, description="minimum weight of a leaf: its number of rows for mse, else the sum of second derivatives"
    )
    loss: Literal["mse", "mae", "poisson", "gamma", "tweedie"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def boost(self, run: BoostingRun) -> FittedXGBoost:
        with needs_extra("xgboost", "model kind 'xgboost'"):
            import xgboost
        data, eval_rows = run.data, run.eval_rows
        before = None if run.start is None else _loaded(run.start)
        callbacks = [_loss_reporter(run.report, squared=data.task.is_regression and self.loss == "mse")]
        if run.early_stopping_rounds:
            callbacks.append(xgboost.callback.EarlyStopping(rounds=run.early_stopping_rounds))
        with library_errors("XGBoost", xgboost.core.XGBoostError):
            booster = xgboost.train(
                self._parameters(data, run.seed),
                _labeled_dmatrix(run.rows, data.categorical),
                num_boost_round=run.n_estimators,
                evals=[(_labeled_dmatrix(eval_rows, data.categorical), "val_loss")] if eval_rows else [],
                xgb_model=before,
                callbacks=callbacks,
                verbose_eval=False,
            )
        n_rounds = booster.best_iteration + 1 if run.early_stopping_rounds else booster.num_boosted_rounds()
        return FittedXGBoost(
            data.task,
            (bytes(booster[:n_rounds].save_raw("json")),),
            data.task.is_regression and self.loss in LOG_LINK,
            data.categorical,
            summary={"n_estimators": n_rounds - (0 if before is None else before.num_boosted_rounds())},
        )

    def _parameters(self, data: EncodedFitData, seed: int) -> dict[str, Any]:
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
            "nthread": 1 if data.rows.matrix.size < SINGLE_THREAD_CELLS else data.threads,
            "verbosity": 0,
        }


def _loaded(content: bytes) -> xgboost.Booster:
    import xgboost

    return xgboost.Booster(model_file=bytearray(content))


def _to_dmatrix(matrix: Floats, categorical: tuple[int, ...], **labels: Floats) -> xgboost.DMatrix:
    import xgboost

    types = ["c" if column in categorical else "q" for column in range(matrix.shape[1])]
    return xgboost.DMatrix(as_singles(matrix), feature_types=types, enable_categorical=True, **labels)


def _labeled_dmatrix(rows: EncodedRows, categorical: tuple[int, ...]) -> xgboost.DMatrix:
    return _to_dmatrix(rows.matrix, categorical, label=rows.target, weight=rows.weights)


def _loss_reporter(
    report: Callable[[Mapping[str, float]], None], *, squared: bool
) -> xgboost.callback.TrainingCallback:
    """Return a callback that reports each round's losses; a root mean squared error is reported `squared`."""
    from xgboost.callback import TrainingCallback

    class LossReporter(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
            last = {name: float(values[-1]) for name, metrics in evals_log.items() for values in metrics.values()}
            report({name: value**2 if squared else value for name, value in last.items()})
            return False

    return LossReporter()


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree of the JSON model, and for its categorical nodes the category codes that go right."""

    nodes: Mapping[str, Any]
    categories: Mapping[int, tuple[float, ...]]

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> _Tree:
        segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
        codes = tree["categories"]
        return cls(tree, {node: tuple(map(float, codes[begin : begin + size])) for node, begin, size in segments})


_Node = tuple[_Tree, int]


def _read(node: _Node) -> float | tuple[TreeSplit, _Node, _Node]:
    tree, index = node
    left, right = tree.nodes["left_children"][index], tree.nodes["right_children"][index]
    # The JSON has just enough digits to identify a float32.
    number = float(np.float32(tree.nodes["split_conditions"][index]))
    if left == -1:
        return number
    feature, missing_left = tree.nodes["split_indices"][index], bool(tree.nodes["default_left"][index])
    if index in tree.categories:
        codes = tree.categories[index]
        return TreeSplit(feature, BRANCH_MEMBER, 0.0, not missing_left, codes), (tree, right), (tree, left)
    return TreeSplit(feature, BRANCH_LT, number, missing_left), (tree, left), (tree, right)
