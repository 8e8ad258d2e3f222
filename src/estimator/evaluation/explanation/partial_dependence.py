"""Partial dependence: the mean prediction as one column changes and all others stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.data.schema import Batch, Column
from estimator.evaluation.explanation.contributions import affordable_predictions, output_of_class
from estimator.store.predictor import Predictor

MAX_ROWS, MIN_ROWS, MAX_GRID, MAX_CATEGORIES = 200, 50, 15, 8
BUDGET_FRACTION = 0.3
# The grid leaves out this fraction of the rows at either end: there is too little data there.
TAIL_FRACTION = 0.02
BAND_FRACTION = 0.8


@dataclass(frozen=True, slots=True)
class PartialDependence:
    """The mean prediction over a grid of a column's values, and the band that holds most rows' own change around it.

    `grid` holds numbers, or categories as text; `mean`, `low` and `high` are numbers, or probabilities of `class_name`.
    """

    column: str
    grid: Sequence[float | str]
    mean: Floats
    low: Floats
    high: Floats
    class_name: str | None = None


def partial_dependence(
    predictor: Predictor, batch: Batch, columns: Sequence[str], *, class_index: int, seed: int
) -> list[PartialDependence]:
    """Return the partial dependence (Friedman, 2001) on each column, skipping columns with fewer than two values.

    The band holds the middle 80% of rows: their individual curves, centered (Goldstein et al., 2015). A narrow band
    means that the column acts alone, a wide one that its effect depends on other columns. At most 200 rows are used,
    fewer for large graphs. For classes, the probability of the class at `class_index` is used.
    """
    budget = affordable_predictions(predictor, MAX_ROWS * MAX_GRID * len(columns), fraction=BUDGET_FRACTION)
    n_rows = int(np.clip(budget // (MAX_GRID * max(len(columns), 1)), MIN_ROWS, MAX_ROWS))
    picked = np.sort(np.random.default_rng([seed, 81]).permutation(batch.n_rows)[:n_rows])
    rows = batch.rows(picked)
    class_name = predictor.task.classes[class_index] if predictor.task.classes else None
    results = []
    for name in columns:
        grid = _grid(predictor.schema.by_name[name], batch.feed[name][:, 0])
        if len(grid) < 2:
            continue
        curves = np.array([_outputs_at(predictor, rows, name, value, class_index) for value in grid])
        mean = curves.mean(axis=1)
        centered = curves - curves.mean(axis=0)
        spread = centered - centered.mean(axis=1, keepdims=True)
        low, high = np.quantile(spread, [(1 - BAND_FRACTION) / 2, (1 + BAND_FRACTION) / 2], axis=1)
        results.append(PartialDependence(name, grid.tolist(), mean, mean + low, mean + high, class_name))
    return results


def _grid(column: Column, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return values that occur: quantiles of numbers, the most frequent categories, nothing for free text."""
    if column.is_string:
        categories, counts = np.unique(values[values != ""].astype(str), return_counts=True)
        if column.kind == "text":
            return categories[:0]
        return categories[np.sort(np.argsort(-counts, kind="stable")[:MAX_CATEGORIES])].astype(object)
    present = np.sort(values[values == values])
    if len(present) == 0:
        return present
    quantiles = np.linspace(TAIL_FRACTION, 1 - TAIL_FRACTION, MAX_GRID)
    return np.unique(present[np.round(quantiles * (len(present) - 1)).astype(np.int64)])


def _outputs_at(predictor: Predictor, rows: Batch, name: str, value: object, class_index: int) -> Floats:
    """Return the outputs of the rows with one column set to a value."""
    column = np.full((rows.n_rows, 1), value, dtype=rows.feed[name].dtype)
    raw = predictor.predict_batch(Batch({**rows.feed, name: column}, rows.n_rows)).raw
    return output_of_class(raw, np.full(rows.n_rows, class_index))
