"""Boosted trees of LightGBM, on raw numbers and sets of categories."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.core.arrays import Floats
from estimator.core.stored_matrix import Matrix, StoredMatrix
from estimator.core.units import Arithmetic
from estimator.errors import needs_extra
from estimator.graph.builder import Graph
from estimator.graph.trees import BRANCH_LEQ, BRANCH_MEMBER, TreeSplit, write_trees
from estimator.models.base import AdditiveContributions
from estimator.models.boosted import LOG_LINK, BoostedTrees, BoostingRun, FittedTrees, library_errors
from estimator.models.cost import LibraryCost
from estimator.models.dataset import EncodedFitData

if TYPE_CHECKING:
    import lightgbm

STATE_FILE = "trees.txt"
# LightGBM prints to this logger, which keeps nothing.
SILENT_LOGGER = "estimator.lightgbm"
logging.getLogger(SILENT_LOGGER).addHandler(logging.NullHandler())
logging.getLogger(SILENT_LOGGER).propagate = False
# On fewer rows, the floors of categories are in proportion to them.
FULL_ROWS = 1000
# LightGBM takes what is below 1e-35 for 0.
MIN_SPREAD = 1e-30
# LightGBM takes what is above 1e300 for that.
MAX_SIZE = 1e290
_OBJECTIVES = {
    "mse": "regression",
    "mae": "regression_l1",
    "huber": "huber",
    "poisson": "poisson",
    "gamma": "gamma",
    "tweedie": "tweedie",
    "mape": "mape",
}


@dataclass(frozen=True)
class FittedBoosting(FittedTrees):
    """Trees in LightGBM's text format."""

    tolerance: ClassVar[float] = 1e-12
    state_file: ClassVar[str] = STATE_FILE

    @cached_property
    def _boosters(self) -> list[lightgbm.Booster]:
        return list(map(_loaded, self.contents))

    def library_scores(self, matrix: Floats) -> list[Floats]:
        return [np.asarray(booster.predict(matrix, raw_score=True)) for booster in self._boosters]

    @property
    def gains(self) -> Floats:
        """How much the splits of each matrix column lowered the loss of the rows that were fitted, in total."""
        total: Floats = np.sum([booster.feature_importance("gain") for booster in self._boosters], axis=0)
        return total

    def contributions(self, matrix: Floats, background: Floats) -> AdditiveContributions | None:
        """Return LightGBM's own TreeSHAP values (Lundberg et al., 2020), the mean over models."""
        if self.log_link or self.n_scores > 1:
            return None
        values = np.mean([booster.predict(matrix, pred_contrib=True) for booster in self._boosters], axis=0)
        # The last column is the base value.
        return AdditiveContributions(values[:, :-1], float(values[0, -1]))

    def write_scores(self, graph: Graph, matrix: str) -> str:
        trees = [tree for booster in self._boosters for tree in booster.dump_model()["tree_info"]]
        roots = [(tree["tree_structure"], index % self.n_scores) for index, tree in enumerate(trees)]
        return write_trees(graph, matrix, roots, _read, n_outputs=self.n_scores, scale=1.0 / len(self._boosters))


class Boosting(BoostedTrees):
    """Gradient boosted trees (Ke et al., 2017, "LightGBM") on raw numbers and sets of categories."""

    max_categories: ClassVar[int] = 255
    reads_blocks: ClassVar[bool] = True
    matrix_arithmetic: ClassVar[Arithmetic] = Arithmetic(53, MIN_SPREAD, 1e100, MAX_SIZE)
    state_file: ClassVar[str] = STATE_FILE
    default_space: ClassVar[Mapping[str, Any]] = {
        **BoostedTrees.default_space,
        "model.num_leaves": {"low": 4, "high": 128, "log": True, "integer": True},
        "model.min_child_samples": {"low": 2, "high": 100, "log": True, "integer": True},
        "model.extra_trees": [False, True],
        "model.cat_smooth": {"low": 0.01, "high": 100.0, "log": True},
        "model.max_cat_to_onehot": [4, 16, 64],
    }
    distributions: ClassVar[tuple[str, ...]] = ("lightgbm",)
    library_cost: ClassVar[LibraryCost] = LibraryCost(1.4, 200_000_000)
    tree_seconds: ClassVar[tuple[float, float, float]] = (2e-4, 4e-5, 1.36e-8)
    num_leaves: Annotated[int, Field(ge=2)] = Field(24, description="maximum number of leaves of a tree")
    min_child_samples: Annotated[int, Field(ge=1)] = Field(10, description="minimum number of rows of a leaf")
    reg_alpha: Annotated[float, Field(ge=0)] = Field(0.0, description="l1 penalty of leaf values")
    extra_trees: bool = Field(False, description="draw thresholds at random (Geurts et al., 2006)")
    cat_smooth: Annotated[float, Field(ge=0)] = Field(
        10.0, description="a larger number trusts categories of few rows less when they are ordered"
    )
    cat_l2: Annotated[float, Field(ge=0)] = Field(10.0, description="l2 penalty of leaf values of a set of categories")
    min_data_per_group: Annotated[int, Field(ge=1)] = Field(
        100, description="minimum number of rows of a set of categories"
    )
    max_cat_to_onehot: Annotated[int, Field(ge=1)] = Field(
        4, description="columns of at most this many categories are split one category against the others"
    )
    loss: Literal["mse", "mae", "huber", "poisson", "gamma", "tweedie", "mape"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def boost(self, run: BoostingRun) -> FittedBoosting:
        with needs_extra("train", "model kind 'boosting'"):
            import lightgbm
        # Its errors come as exceptions; it would also print them.
        lightgbm.register_logger(logging.getLogger(SILENT_LOGGER))
        data, parameters = run.data, self._parameters(run.data, run.seed, len(run.rows))
        before = None if run.start is None else _loaded(run.start)
        rows, eval_rows = run.rows, run.eval_rows
        # The trees that training continues from predict rows in memory only.
        library_rows = _in_blocks if before is None else np.asarray
        train = lightgbm.Dataset(
            library_rows(rows.cells),
            rows.target,
            weight=rows.weights,
            categorical_feature=list(data.categorical),
            params=parameters,
            free_raw_data=False,
        )
        callbacks: list[Callable[..., Any]] = [_LossReporter(run.report)]
        if run.early_stopping_rounds:
            callbacks.append(lightgbm.early_stopping(run.early_stopping_rounds, verbose=False))
        with library_errors("LightGBM", lightgbm.basic.LightGBMError):
            booster = lightgbm.train(
                parameters,
                train,
                num_boost_round=run.n_estimators,
                init_model=before,
                callbacks=callbacks,
                valid_sets=None
                if eval_rows is None
                else [train.create_valid(library_rows(eval_rows.cells), eval_rows.target, eval_rows.weights)],
                valid_names=None if eval_rows is None else ["val_loss"],
            )
        # Without early stopping LightGBM names no best round.
        best = booster.best_iteration if run.early_stopping_rounds else 0
        n_rounds = best or booster.current_iteration()
        return FittedBoosting(
            data.task,
            (booster.model_to_string(num_iteration=n_rounds).encode(),),
            data.task.is_regression and self.loss in LOG_LINK,
            data.categorical,
            summary={"n_estimators": n_rounds - (before.current_iteration() if before else 0)},
        )

    def category_floors(self, n_rows: int) -> dict[str, float]:
        """Return the settings of category splits: as they are from 1,000 rows on, and below in proportion to the rows.

        With LightGBM's 100 rows per set of categories it would learn nothing from categories of a small table.

        >>> Boosting().category_floors(300)
        {'min_data_per_group': 30, 'cat_smooth': 3, 'cat_l2': 3}
        """
        fraction = min(1.0, n_rows / FULL_ROWS)
        settings = {"min_data_per_group": self.min_data_per_group, "cat_smooth": self.cat_smooth, "cat_l2": self.cat_l2}
        if fraction == 1.0:
            return settings
        return {name: min(value, max(1, round(value * fraction))) for name, value in settings.items()}

    def _parameters(self, data: EncodedFitData, seed: int, n_fitted: int) -> dict[str, Any]:
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
            # LightGBM fails when a round draws no row.
            "bagging_freq": int(int(self.subsample * n_fitted) > 0),
            "feature_fraction": self.colsample_bytree,
            "lambda_l1": self.reg_alpha,
            "lambda_l2": self.reg_lambda,
            **self.category_floors(len(data.rows)),
            "max_cat_to_onehot": self.max_cat_to_onehot,
            "extra_trees": self.extra_trees,
            "seed": seed,
            # The rows that bins are learned from: the same ones however the matrix is passed.
            "data_random_seed": seed,
            "num_threads": data.threads,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


def _in_blocks(cells: Matrix) -> Any:
    """Return a matrix as LightGBM takes it: one that is not in memory as its `Sequence`."""
    if not isinstance(cells, StoredMatrix):
        return cells
    import lightgbm

    class Blocks(lightgbm.Sequence):
        """Rows that LightGBM reads twice: one by one those that it learns bins from, then all of them in order."""

        def __init__(self, matrix: StoredMatrix) -> None:
            self._matrix, self.batch_size = matrix, matrix.block_rows
            self._first, self._block = 0, np.empty((0, 0))

        def __len__(self) -> int:
            return len(self._matrix)

        def __getitem__(self, index: int | slice | list[int]) -> Any:
            if isinstance(index, slice):
                return self._matrix.block(*index.indices(len(self))[:2])
            if isinstance(index, list):
                return np.stack([self[position] for position in index])
            if not self._first <= index < self._first + len(self._block):
                self._first = index // self.batch_size * self.batch_size
                self._block = self._matrix.block(self._first, min(self._first + self.batch_size, len(self)))
            return self._block[index - self._first]

    return Blocks(cells)


def _loaded(content: bytes) -> lightgbm.Booster:
    import lightgbm

    return lightgbm.Booster(model_str=content.decode())


def _read(node: Mapping[str, Any]) -> float | tuple[TreeSplit, Mapping[str, Any], Mapping[str, Any]]:
    """Read a node of `Booster.dump_model()`: a leaf value, or a split with its yes and no node."""
    if "split_feature" not in node:
        return float(node["leaf_value"])
    feature, threshold = node["split_feature"], node["threshold"]
    if node["decision_type"] == "==":
        split = TreeSplit(feature, BRANCH_MEMBER, members=tuple(float(code) for code in threshold.split("||")))
    else:
        split = TreeSplit(feature, BRANCH_LEQ, float(threshold), missing_is_yes=_missing_goes_left(node))
    return split, node["left_child"], node["right_child"]


def _missing_goes_left(node: Mapping[str, Any]) -> bool:
    """LightGBM sends NaN in the default direction if training had missing values there, else treats it as 0."""
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else float(node["threshold"]) >= 0.0


class _LossReporter:
    """A LightGBM callback that reports each round's losses."""

    order = 10
    before_iteration = False

    def __init__(self, report: Callable[[Mapping[str, float]], None]) -> None:
        self.report = report

    def __call__(self, env: Any) -> None:
        self.report({str(name): float(value) for name, _, value, *_ in env.evaluation_result_list})
