"""Boosted oblivious trees of CatBoost, on singles and single levels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from estimator.core.arrays import Floats
from estimator.errors import TrainingError, needs_extra
from estimator.graph.builder import Graph
from estimator.graph.trees import BRANCH_EQ, BRANCH_LEQ, Split, as_singles, write_singles, write_trees
from estimator.models.base import Rows, TrainingData
from estimator.models.boosted import LOG_LINK, BoostedTrees, FittedTrees, Growth, explained

if TYPE_CHECKING:
    import catboost

STATE_FILE = "trees.cbm"
# CatBoost counts levels in a byte, and gaps are a level too.
WIDEST = 254
GAP = -1
# A chance that no run will ever meet.
RARE = 1e-12
_OBJECTIVES = {"mse": "RMSE", "mae": "MAE", "poisson": "Poisson", "tweedie": "Tweedie:variance_power=1.5",
               "mape": "MAPE"}  # fmt: skip


@dataclass(frozen=True)
class FittedCatBoost(FittedTrees):
    """Trees as CatBoost's own binary; `width` is the matrix's."""

    tolerance: ClassVar[float] = 1e-12
    state_file: ClassVar[str] = STATE_FILE
    width: int = 0

    @cached_property
    def _models(self) -> list[catboost.CatBoost]:
        return list(map(_loaded, self.contents))

    def library_scores(self, matrix: Floats) -> list[Floats]:
        rows = _pool(matrix, self.codes)
        told = [(model, model.predict(rows, prediction_type="RawFormulaVal")) for model in self._models]
        return [self._of_all_levels(model, np.reshape(scores, (len(matrix), -1))) for model, scores in told]

    def write_scores(self, graph: Graph, matrix: str) -> str:
        written = [_Written.of(model, self.codes, self.width) for model in self._models]
        roots = [
            (root, self._places(model)[score])
            for model, parts in zip(self._models, written, strict=True)
            for root, score in parts.roots()
        ]
        singles, scale = write_singles(graph, matrix), 1.0 / len(written)
        sums = write_trees(graph, singles, roots, _read, n_outputs=self.n_scores, scale=scale)
        biases = [
            self._of_all_levels(model, np.array([parts.biases]))
            for model, parts in zip(self._models, written, strict=True)
        ]
        return graph("Add", sums, graph.constant(np.mean(biases, axis=0), np.float64))

    def _places(self, model: catboost.CatBoost) -> list[int]:
        """Return which of the scores a model gives: none for levels that it has not met."""
        return [int(level) for level in model.classes_] if self.task.kind == "multiclass" else [0]

    def _of_all_levels(self, model: catboost.CatBoost, scores: Floats) -> Floats:
        """Return scores with those of levels that are never answered."""
        found = np.full((len(scores), self.n_scores), -np.inf)
        found[:, self._places(model)] = scores
        return found


class CatBoost(BoostedTrees):
    """Gradient boosted oblivious trees (Prokhorenkova et al., 2018, "CatBoost") on singles and single levels."""

    max_categories: ClassVar[int] = WIDEST
    state_file: ClassVar[str] = STATE_FILE
    usual_space: ClassVar[Mapping[str, Any]] = {
        **BoostedTrees.usual_space,
        "model.max_depth": {"low": 2, "high": 10, "integer": True},
    }
    max_depth: Annotated[int, Field(ge=1, le=12)] = Field(
        6, description="questions of a tree, the same for all its rows"
    )
    loss: Literal["mse", "mae", "poisson", "tweedie", "mape"] = Field(
        "mse", description="regression only; the others use log loss"
    )

    def grow(self, growth: Growth) -> FittedCatBoost:
        with needs_extra("catboost", "model kind 'catboost'"):
            import catboost
        data, watched = growth.data, growth.watched
        _refuse_wide(data)
        if watched is not None and data.task.kind == "multiclass":
            # CatBoost refuses to follow the loss of levels that it does not learn.
            watched = watched.pick(np.isin(watched.target, growth.rows.target))
        before = None if growth.start is None else _loaded(growth.start)
        squared = data.task.is_regression and self.loss == "mse"
        model = catboost.CatBoost(self._parameters(data, growth))
        with explained("CatBoost", catboost.CatBoostError):
            model.fit(
                _labelled(growth.rows, data),
                eval_set=_labelled(watched, data) if watched else None,
                init_model=before,
                callbacks=[_Recorder(growth.tell, squared)],
            )
        return FittedCatBoost(
            data.task, (_saved(model, "cbm"),), data.task.is_regression and self.loss in LOG_LINK, data.codes,
            width=growth.rows.matrix.shape[1],
            summary={"n_estimators": model.tree_count_ - (0 if before is None else before.tree_count_)},
        )  # fmt: skip

    def _parameters(self, data: TrainingData, growth: Growth) -> dict[str, Any]:
        objectives = {"regression": _OBJECTIVES[self.loss], "binary": "Logloss", "multiclass": "MultiClass"}
        stops = {"early_stopping_rounds": growth.early_stopping_rounds} if growth.early_stopping_rounds else {}
        return {
            "loss_function": objectives[data.task.kind],
            **stops,
            "iterations": growth.n_estimators,
            "use_best_model": growth.early_stopping_rounds > 0,
            "learning_rate": self.learning_rate,
            "depth": self.max_depth,
            "l2_leaf_reg": self.reg_lambda,
            **self._sampling(len(growth.rows)),
            "rsm": self.colsample_bytree,
            "one_hot_max_size": WIDEST + 1,
            "random_seed": growth.seed,
            "thread_count": data.threads or -1,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }

    def _sampling(self, n_rows: int) -> dict[str, Any]:
        """Return how rows are drawn; CatBoost ends when a round draws none, so few rows are all taken."""
        is_safe = (1.0 - self.subsample) ** n_rows < RARE
        return {"bootstrap_type": "Bernoulli", "subsample": self.subsample} if is_safe else {"bootstrap_type": "No"}


def _refuse_wide(data: TrainingData) -> None:
    """Beyond these CatBoost asks for statistics of the target by level, which are no trees."""
    n_levels = 1 + int(np.nanmax(data.rows.matrix[:, data.codes], initial=GAP))
    if n_levels > WIDEST:
        raise TrainingError(
            f"model kind 'catboost' takes columns of at most {WIDEST} levels as they are, got one of {n_levels:,}",
            hint=f"set features.max_categories to {WIDEST} or less, or that column's encoder to target_mean",
        )


def _loaded(content: bytes) -> catboost.CatBoost:
    import catboost

    return catboost.CatBoost().load_model(blob=content)


def _saved(model: catboost.CatBoost, form: str, pool: catboost.Pool | None = None) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trees"
        model.save_model(str(path), format=form, pool=pool)
        return path.read_bytes()


def _pool(matrix: Floats, codes: tuple[int, ...], **labels: Any) -> catboost.Pool:
    """Return rows as CatBoost takes them: numbers apart from levels, which are text."""
    from catboost import FeaturesData, Pool

    numbers = np.delete(matrix, codes, axis=1)
    levels = np.nan_to_num(matrix[:, codes], nan=GAP).astype(np.int64)
    texts = np.array([str(level).encode() for level in range(GAP, levels.max(initial=GAP) + 1)], dtype=object)
    parts = FeaturesData(
        num_feature_data=np.ascontiguousarray(as_singles(numbers)) if numbers.shape[1] else None,
        cat_feature_data=texts[levels - GAP] if codes else None,
    )
    return Pool(parts, **labels)


def _labelled(rows: Rows, data: TrainingData) -> catboost.Pool:
    target = rows.target if data.task.is_regression else rows.target.astype(np.int64)
    return _pool(rows.matrix, data.codes, label=target, weight=rows.weights)


class _Recorder:
    """A CatBoost callback that tells each round's losses; a root of mean squares is told squared."""

    def __init__(self, tell: Callable[[Mapping[str, float]], None], squared: bool) -> None:
        self.tell, self.squared = tell, squared

    def after_iteration(self, info: Any) -> bool:
        if "validation" not in info.metrics:
            self.tell({})
            return True
        ((*_, loss),) = info.metrics["validation"].values()
        self.tell({"val_loss": loss**2 if self.squared else loss})
        return True


@dataclass(frozen=True, slots=True)
class _Written:
    """The JSON model, the matrix columns of its numbers and of its levels, and the code behind each level's hash."""

    data: Mapping[str, Any]
    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    levels: Mapping[int, int]

    @classmethod
    def of(cls, model: catboost.CatBoost, codes: tuple[int, ...], width: int) -> _Written:
        # A level's hash is only told for the rows at hand, so here is a row of each.
        rows = np.zeros((WIDEST + 1, width))
        rows[:, codes] = np.arange(GAP, WIDEST)[:, None]
        data = json.loads(_saved(model, "json", _pool(rows, codes)))
        hashes = data["features_info"].get("cat_features_hash") or []
        numbers = tuple(place for place in range(width) if place not in codes)
        return cls(data, numbers, codes, {item["hash"]: int(item["value"]) for item in hashes})

    @property
    def biases(self) -> list[float]:
        """One per score."""
        found: list[float] = self.data["scale_and_bias"][1]
        return found

    def roots(self) -> Iterator[tuple[_Node, int]]:
        """Yield every tree once per score."""
        scale, n_scores = self.data["scale_and_bias"][0], len(self.biases)
        for tree in self.data["oblivious_trees"]:
            splits = tuple(self._split(item) for item in tree["splits"] or ())
            leaves = scale * np.reshape(tree["leaf_values"], (-1, n_scores))
            for place in range(n_scores):
                yield _Node(splits, tuple(leaves[:, place].tolist())), place

    def _split(self, item: Mapping[str, Any]) -> tuple[Split, bool]:
        """Return a question, and whether yes leads to the second half of the leaves."""
        if item["split_type"] == "OneHotFeature":
            # Hashes are written as signed numbers here, and as unsigned ones beside their values.
            level = self.levels[item["value"] % 2**32]
            return Split(self.codes[item["cat_feature_index"]], BRANCH_EQ, float(level), level == GAP), True
        place = item["float_feature_index"]
        treatment = self.data["features_info"]["float_features"][place]["nan_value_treatment"]
        return Split(self.numbers[place], BRANCH_LEQ, item["border"], treatment != "AsTrue"), False


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of an oblivious tree: the questions still to be asked, the last one first, and its leaves."""

    splits: tuple[tuple[Split, bool], ...]
    leaves: tuple[float, ...]


def _read(node: _Node) -> float | tuple[Split, _Node, _Node]:
    if len(set(node.leaves)) == 1:
        return node.leaves[0]
    half = len(node.leaves) // 2
    (*rest, (split, yes_is_second)) = node.splits
    first, second = (_Node(tuple(rest), part) for part in (node.leaves[:half], node.leaves[half:]))
    return (split, second, first) if yes_is_second else (split, first, second)
