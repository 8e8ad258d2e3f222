"""Explain a predictor: feature importance, partial dependence, contributions, weak slices and fairness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.data.schema import Batch
from estimator.evaluation.explanation.contributions import (
    Contributions,
    affordable_predictions,
    contributions,
    output_of_class,
)
from estimator.evaluation.explanation.fairness import Fairness, GroupScore, fairness
from estimator.evaluation.explanation.importance import FeatureImportance, feature_importance
from estimator.evaluation.explanation.partial_dependence import PartialDependence, partial_dependence
from estimator.evaluation.explanation.slices import Slice, column_slices, slice_pairs
from estimator.evaluation.explanation.weak_slices import WeakSlice, WeakSlices, find_weak_slices
from estimator.evaluation.metrics import Metric
from estimator.models import Dataset, FittedModel
from estimator.store.predictor import Predictor

MAX_DEPENDENCE_COLUMNS = 6
# Slices by two columns are searched among so many of the most important columns.
MAX_PAIRED_COLUMNS = 8
# Of more rows, as many are drawn to look for weak slices: each slice has a mask of all rows.
MAX_SLICED_ROWS = 200_000
N_EXAMPLES, MAX_BACKGROUND_ROWS, MIN_BACKGROUND_ROWS = 3, 100, 10
# The budget of contributions, which decides how many background rows an example is compared with.
MAX_PREDICTIONS, BUDGET_FRACTION = 12_000, 0.3


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a report says beyond scores; `examples` are the held-out rows that `contributions` explain."""

    importance: Sequence[FeatureImportance]
    partial_dependence: Sequence[PartialDependence]
    examples: Sequence[Mapping[str, Any]]
    contributions: Contributions | None
    weak_slices: WeakSlices
    fairness: Sequence[Fairness]

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data, with null for what is undefined."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """Rows with raw predictions by models that were not trained on them; `groups` slices the rows, by column."""

    rows: Dataset
    raw: Floats
    groups: Mapping[str, Sequence[Slice]]


@dataclass(frozen=True, slots=True)
class ExplanationSettings:
    """How much to compute: shuffles per column (0 skips what needs them), bootstrap samples, confidence, seed."""

    importance_repeats: int
    bootstrap_samples: int
    confidence: float
    seed: int


def explain(
    predictor: Predictor,
    fitted: FittedModel,
    held_out: Dataset,
    out_of_sample: OutOfSample,
    metric: tuple[str, Metric],
    settings: ExplanationSettings,
) -> Explanation:
    """Explain a predictor by rows it was not trained on.

    Without shuffles, only weak slices and fairness are computed.
    """
    seed = settings.seed
    importance = feature_importance(
        predictor, held_out, metric[1], repeats=settings.importance_repeats, confidence=settings.confidence, seed=seed
    )
    names = [item.column for item in importance]
    raw = predictor.predict_batch(held_out.batch).raw
    class_index = _explained_class(raw)
    picked = _spread(output_of_class(raw, np.full(len(raw), class_index))) if importance else np.empty(0, np.int64)
    examples = held_out.batch.rows(picked)
    shown = names[:MAX_DEPENDENCE_COLUMNS]
    return Explanation(
        importance=importance,
        partial_dependence=partial_dependence(predictor, held_out.batch, shown, class_index=class_index, seed=seed),
        examples=[predictor.schema.to_json_row(examples, index) for index in range(len(picked))],
        contributions=_contributions(predictor, fitted, examples, held_out.batch, seed) if importance else None,
        weak_slices=_weak_slices(predictor, out_of_sample, names, metric[1], seed),
        fairness=_fairness(predictor, out_of_sample, metric, settings),
    )


def _explained_class(raw: Floats) -> int:
    """Return the second class of a binary target, else the one with the highest mean probability; 0 for numbers."""
    if raw.ndim == 1:
        return 0
    return 1 if raw.shape[1] == 2 else int(raw.mean(axis=0).argmax())


def _spread(outputs: Floats) -> Ints:
    """Return the rows with the lowest, the median and the highest output."""
    order = np.argsort(outputs, kind="stable")
    return order[np.unique(np.round(np.linspace(0, len(order) - 1, N_EXAMPLES)).astype(np.int64))]


def _contributions(predictor: Predictor, fitted: FittedModel, rows: Batch, others: Batch, seed: int) -> Contributions:
    budget = affordable_predictions(predictor, MAX_PREDICTIONS, fraction=BUDGET_FRACTION) // N_EXAMPLES
    n_rows = int(np.clip(budget // (2 * len(others.feed)), MIN_BACKGROUND_ROWS, MAX_BACKGROUND_ROWS))
    drawn = np.sort(np.random.default_rng([seed, 82]).permutation(others.n_rows)[:n_rows])
    return contributions(predictor, rows, others.rows(drawn), fitted=fitted, seed=seed)


def _weak_slices(
    predictor: Predictor, out_of_sample: OutOfSample, ranked: Sequence[str], metric: Metric, seed: int
) -> WeakSlices:
    rows, raw = out_of_sample.rows, out_of_sample.raw
    if len(rows) > MAX_SLICED_ROWS:
        picked = np.sort(np.random.default_rng([seed, 83]).choice(len(rows), MAX_SLICED_ROWS, replace=False))
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[picked] = True
        rows, raw = rows.take(mask), raw[mask]
    by_column = {
        column.name: column_slices(column, rows.batch.feed[column.name][:, 0]) for column in predictor.schema.features
    }
    singles = [item for slices in by_column.values() for item in slices]
    pairs = slice_pairs({name: by_column[name] for name in ranked[:MAX_PAIRED_COLUMNS]})
    losses = np.abs(predictor.task.losses(raw, rows.target))
    return find_weak_slices(singles, pairs, losses, rows.target, predictor.task.predictions(raw), metric)


def _fairness(
    predictor: Predictor, out_of_sample: OutOfSample, metric: tuple[str, Metric], settings: ExplanationSettings
) -> list[Fairness]:
    predictions = predictor.task.predictions(out_of_sample.raw)
    results = [
        fairness(
            column,
            groups,
            predictor.task,
            out_of_sample.rows.target,
            predictions,
            metric,
            bootstrap_samples=settings.bootstrap_samples,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        for column, groups in out_of_sample.groups.items()
    ]
    return [result for result in results if result is not None]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


__all__ = [
    "Contributions",
    "Explanation",
    "ExplanationSettings",
    "Fairness",
    "FeatureImportance",
    "GroupScore",
    "OutOfSample",
    "PartialDependence",
    "Slice",
    "WeakSlice",
    "WeakSlices",
    "column_slices",
    "contributions",
    "explain",
]
