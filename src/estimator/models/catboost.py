"""Boosted oblivious trees of CatBoost, on single-precision numbers and one-hot categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.config import Training
from estimator.core.arrays import Floats
from estimator.core.files import scratch_folder
from estimator.core.units import Arithmetic
from estimator.errors import TrainingError, needs_extra
from estimator.graph.builder import Graph
from estimator.graph.trees import BRANCH_EQ, BRANCH_LEQ, TreeSplit, as_singles, write_singles, write_trees
from estimator.models.boosted import LOG_LINK, SINGLE_MATRIX, BoostedTrees, BoostingRun, FittedTrees, library_errors
from estimator.models.constant import Constant
from estimator.models.cost import LibraryCost
from estimator.models.dataset import EncodedFitData, EncodedRows
from estimator.models.matrix import FittedMatrixModel
from estimator.models.progress import Progress, silent

if TYPE_CHECKING:
    import catboost

STATE_FILE = "trees.cbm"
# CatBoost counts categories in a byte, and a missing value is a category too.
MAX_CATEGORIES = 254
MISSING = -1
# A probability that no run will ever meet.
NEGLIGIBLE_PROBABILITY = 1e-12
_OBJECTIVES = {
    "mse": "RMSE",
    "mae": "MAE",
    "poisson": "Poisson",
    "tweedie": "Tweedie:variance_power=1.5",
    "mape": "MAPE",
}


@dataclass(frozen=True)
class FittedCatBoost(FittedTrees):
    """Trees in CatBoost's binary format; `width` is that of the matrix."""

    tolerance: ClassVar[float] = 1e-12
    state_file: ClassVar[str] = STATE_FILE
    width: int = 0

    @cached_property
    def _models(self) -> list[catboost.CatBoost]:
        return list(map(_loaded, self.contents))

    def library_scores(self, matrix: Floats) -> list[Floats]:
        rows = _pool(matrix, self.categorical)
        scores = [model.predict(rows, prediction_type="RawFormulaVal") for model in self._models]
        return [
            self._all_classes(model, np.reshape(model_scores, (len(matrix), -1)))
            for model, model_scores in zip(self._models, scores, strict=True)
        ]

    def write_scores(self, graph: Graph, matrix: str) -> str:
        described = [_ModelDescription.of(model, self.categorical, self.width) for model in self._models]
        roots = [
            (root, self._score_columns(model)[score])
            for model, description in zip(self._models, described, strict=True)
            for root, score in description.roots()
        ]
        singles, scale = write_singles(graph, matrix), 1.0 / len(described)
        sums = write_trees(graph, singles, roots, _read, n_outputs=self.n_scores, scale=scale)
        biases = [
            self._all_classes(model, np.array([description.biases]))
            for model, description in zip(self._models, described, strict=True)
        ]
        return graph("Add", sums, graph.constant(np.mean(biases, axis=0), np.float64))

    def _score_columns(self, model: catboost.CatBoost) -> list[int]:
        """Return which classes a model has scores for: not for those that its rows did not hold."""
        return [int(code) for code in model.classes_] if self.task.kind == "multiclass" else [0]

    def _all_classes(self, model: catboost.CatBoost, scores: Floats) -> Floats:
        """Return scores of all classes: -inf for those without one, so that they are never predicted."""
        completed = np.full((len(scores), self.n_scores), -np.inf)
        completed[:, self._score_columns(model)] = scores
        return completed


class CatBoost(BoostedTrees):
    """Gradient boosted oblivious trees (Prokhorenkova et al., 2018, "CatBoost") on one-hot categories."""

    max_categories: ClassVar[int] = MAX_CATEGORIES
    matrix_arithmetic: ClassVar[Arithmetic] = SINGLE_MATRIX
    state_file: ClassVar[str] = STATE_FILE
    default_space: ClassVar[Mapping[str, Any]] = {
        **BoostedTrees.default_space,
        "model.max_depth": {"low": 2, "high": 10, "integer": True},
    }
    distributions: ClassVar[tuple[str, ...]] = ("catboost",)
    library_cost: ClassVar[LibraryCost] = LibraryCost(0.6, 270_000_000)
    tree_seconds: ClassVar[tuple[float, float, float]] = (3e-4, 1.6e-4, 2e-8)
    max_depth: Annotated[int, Field(ge=1, le=12)] = Field(6, description="depth of a tree, the same for all its leaves")
    loss: Literal["mse", "mae", "poisson", "tweedie", "mape"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def fit_matrix(
        self,
        data: EncodedFitData,
        training: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> FittedMatrixModel:
        if start is None and _has_nothing_to_learn(data):
            return Constant().fit_matrix(data, training)
        return super().fit_matrix(data, training, progress=progress, start=start)

    def boost(self, run: BoostingRun) -> FittedCatBoost:
        with needs_extra("catboost", "model kind 'catboost'"):
            import catboost
        data, eval_rows = run.data, run.eval_rows
        _check_n_categories(data)
        if eval_rows is not None and data.task.kind == "multiclass":
            # CatBoost rejects evaluation rows of classes that it does not fit.
            eval_rows = eval_rows.take(np.isin(eval_rows.target, run.rows.target)) or None
            run = replace(run, early_stopping_rounds=run.early_stopping_rounds if eval_rows else 0)
        before = None if run.start is None else _loaded(run.start)
        squared = data.task.is_regression and self.loss == "mse"
        model = catboost.CatBoost(self._parameters(data, run))
        with library_errors("CatBoost", catboost.CatBoostError):
            model.fit(
                _labeled_pool(run.rows, data),
                eval_set=_labeled_pool(eval_rows, data) if eval_rows else None,
                init_model=before,
                callbacks=[_LossReporter(run.report, squared)],
            )
        return FittedCatBoost(
            data.task,
            (_saved(model, "cbm"),),
            data.task.is_regression and self.loss in LOG_LINK,
            data.categorical,
            width=run.rows.width,
            summary={"n_estimators": model.tree_count_ - (0 if before is None else before.tree_count_)},
        )

    def _parameters(self, data: EncodedFitData, run: BoostingRun) -> dict[str, Any]:
        objectives = {"regression": _OBJECTIVES[self.loss], "binary": "Logloss", "multiclass": "MultiClass"}
        stops = {"early_stopping_rounds": run.early_stopping_rounds} if run.early_stopping_rounds else {}
        return {
            "loss_function": objectives[data.task.kind],
            **stops,
            "iterations": run.n_estimators,
            "use_best_model": run.early_stopping_rounds > 0,
            "learning_rate": self.learning_rate,
            "depth": self.max_depth,
            "l2_leaf_reg": self.reg_lambda,
            **self._sampling(len(run.rows)),
            "rsm": self.colsample_bytree,
            "one_hot_max_size": MAX_CATEGORIES + 1,
            "random_seed": run.seed,
            "thread_count": data.threads or -1,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }

    def _sampling(self, n_rows: int) -> dict[str, Any]:
        """Return how rows are sampled. CatBoost fails when a round samples none, so few rows are all used."""
        is_safe = (1.0 - self.subsample) ** n_rows < NEGLIGIBLE_PROBABILITY
        return {"bootstrap_type": "Bernoulli", "subsample": self.subsample} if is_safe else {"bootstrap_type": "No"}


def _has_nothing_to_learn(data: EncodedFitData) -> bool:
    """Return whether the target or every column has one value, which CatBoost rejects; other libraries do not."""
    rows = data.fit_rows if data.has_validation else data.rows
    if len(np.unique(rows.target.astype(np.float32))) == 1:
        return True
    numbers = np.delete(rows.matrix, data.categorical, axis=1)
    # CatBoost rejects a column that has no value, unlike one that is all missing.
    singles = as_singles(rows.matrix)
    return not any(len(np.unique(column)) > 1 for column in singles.T) and not np.isnan(numbers).any()


def _check_n_categories(data: EncodedFitData) -> None:
    """Beyond the limit CatBoost replaces categories by target statistics, which the graph cannot write."""
    n_categories = 1 + int(np.nanmax(data.rows.matrix[:, data.categorical], initial=MISSING))
    if n_categories > MAX_CATEGORIES:
        raise TrainingError(
            f"model kind 'catboost': expected at most {MAX_CATEGORIES} categories in a column, got {n_categories:,}",
            hint=f"set features.max_categories to {MAX_CATEGORIES} or less, or that column's encoder to target_mean",
        )


def _loaded(content: bytes) -> catboost.CatBoost:
    import catboost

    return catboost.CatBoost().load_model(blob=content)


def _saved(model: catboost.CatBoost, form: str, pool: catboost.Pool | None = None) -> bytes:
    with scratch_folder() as folder:
        path = folder / "trees"
        model.save_model(str(path), format=form, pool=pool)
        return path.read_bytes()


def _pool(matrix: Floats, categorical: tuple[int, ...], **labels: Any) -> catboost.Pool:
    """Return rows as CatBoost takes them: numbers and categories apart, and categories as text."""
    from catboost import FeaturesData, Pool

    numbers = np.delete(matrix, categorical, axis=1)
    codes = np.nan_to_num(matrix[:, categorical], nan=MISSING).astype(np.int64)
    texts = np.array([str(code).encode() for code in range(MISSING, codes.max(initial=MISSING) + 1)], dtype=object)
    features = FeaturesData(
        num_feature_data=np.ascontiguousarray(as_singles(numbers)) if numbers.shape[1] else None,
        cat_feature_data=texts[codes - MISSING] if categorical else None,
    )
    return Pool(features, **labels)


def _labeled_pool(rows: EncodedRows, data: EncodedFitData) -> catboost.Pool:
    target = rows.target if data.task.is_regression else rows.target.astype(np.int64)
    return _pool(rows.matrix, data.categorical, label=target, weight=rows.weights)


class _LossReporter:
    """A CatBoost callback that reports each round's losses; a root mean squared error is reported `squared`."""

    def __init__(self, report: Callable[[Mapping[str, float]], None], squared: bool) -> None:
        self.report, self.squared = report, squared

    def after_iteration(self, info: Any) -> bool:
        if "validation" not in info.metrics:
            self.report({})
            return True
        ((*_, loss),) = info.metrics["validation"].values()
        self.report({"val_loss": loss**2 if self.squared else loss})
        return True


@dataclass(frozen=True, slots=True)
class _ModelDescription:
    """CatBoost's JSON model, the matrix columns of its numbers and categories, and the code of each hash."""

    data: Mapping[str, Any]
    numeric: tuple[int, ...]
    categorical: tuple[int, ...]
    code_by_hash: Mapping[int, int]

    @classmethod
    def of(cls, model: catboost.CatBoost, categorical: tuple[int, ...], width: int) -> _ModelDescription:
        # CatBoost writes the hashes of the rows at hand only, so here is a row of each category.
        rows = np.zeros((MAX_CATEGORIES + 1, width))
        rows[:, categorical] = np.arange(MISSING, MAX_CATEGORIES)[:, None]
        data = json.loads(_saved(model, "json", _pool(rows, categorical)))
        hashes = data["features_info"].get("cat_features_hash") or []
        numeric = tuple(column for column in range(width) if column not in categorical)
        return cls(data, numeric, categorical, {item["hash"]: int(item["value"]) for item in hashes})

    @property
    def biases(self) -> list[float]:
        """One per score."""
        return list(self.data["scale_and_bias"][1])

    def roots(self) -> Iterator[tuple[_Node, int]]:
        """Yield every tree once per score."""
        scale, n_scores = self.data["scale_and_bias"][0], len(self.biases)
        for tree in self.data["oblivious_trees"]:
            splits = tuple(self._split(item) for item in tree["splits"] or ())
            # A tree whose leaves are all 0 comes as whole numbers.
            leaves = scale * np.reshape(np.asarray(tree["leaf_values"], np.float64), (-1, n_scores))
            for score in range(n_scores):
                yield _Node(splits, tuple(leaves[:, score].tolist())), score

    def _split(self, item: Mapping[str, Any]) -> tuple[TreeSplit, bool]:
        """Return a split, and whether yes leads to the second half of the leaves."""
        if item["split_type"] == "OneHotFeature":
            # A hash is a signed number here, and an unsigned one in the list of hashes.
            code = self.code_by_hash[item["value"] % 2**32]
            return TreeSplit(self.categorical[item["cat_feature_index"]], BRANCH_EQ, float(code), code == MISSING), True
        index = item["float_feature_index"]
        treatment = self.data["features_info"]["float_features"][index]["nan_value_treatment"]
        return TreeSplit(self.numeric[index], BRANCH_LEQ, item["border"], treatment != "AsTrue"), False


@dataclass(frozen=True, slots=True)
class _Node:
    """A subtree of an oblivious tree: its splits, of which the last is its root, and its leaves."""

    splits: tuple[tuple[TreeSplit, bool], ...]
    leaves: tuple[float, ...]


def _read(node: _Node) -> float | tuple[TreeSplit, _Node, _Node]:
    if len(set(node.leaves)) == 1:
        return node.leaves[0]
    half = len(node.leaves) // 2
    (*rest, (split, yes_is_second)) = node.splits
    first, second = (_Node(tuple(rest), leaves) for leaves in (node.leaves[:half], node.leaves[half:]))
    return (split, second, first) if yes_is_second else (split, first, second)
