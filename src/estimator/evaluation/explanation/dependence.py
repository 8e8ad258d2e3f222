"""How answers change with one column while all others stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.data.schema import Batch, Column
from estimator.evaluation.explanation.budget import affordable
from estimator.evaluation.explanation.contributions import told
from estimator.store.predictor import Predictor

MOST_ROWS, FEWEST_ROWS, MOST_PLACES, MOST_LEVELS = 200, 50, 15, 8
SHARE = 0.3
# Beyond these shares of the rows there is too little to learn from.
EDGE = 0.02
BAND = 0.8


@dataclass(frozen=True, slots=True)
class Dependence:
    """The mean answer at some values of a column, and the band that holds most rows' own change around it.

    `places` are numbers, or levels as text; `values`, `low` and `high` are numbers, or probabilities of `level`.
    """

    column: str
    places: Sequence[float | str]
    values: Floats
    low: Floats
    high: Floats
    level: str | None = None


def dependence(
    predictor: Predictor, batch: Batch, columns: Sequence[str], *, level: int, seed: int
) -> list[Dependence]:
    """Return the partial dependence (Friedman, 2001) on each column.

    The band holds the middle 80 % of rows: their own answers, moved to the common mean (Goldstein et al., 2015). A
    narrow band says that the column acts alone, a wide one that its part hangs on others. Predictions are those of 200 rows
    at most, of fewer for large graphs; of levels, the probability of the one at position `level` is told.
    """
    answers = affordable(predictor, MOST_ROWS * MOST_PLACES * len(columns), share=SHARE)
    n_rows = int(np.clip(answers // (MOST_PLACES * max(len(columns), 1)), FEWEST_ROWS, MOST_ROWS))
    generator = np.random.default_rng([seed, 81])
    picked = np.sort(generator.permutation(batch.n_rows)[:n_rows])
    rows, named = batch.rows(picked), predictor.task.classes[level] if predictor.task.classes else None
    found = []
    for name in columns:
        places = _places(predictor.schema.by_name[name], batch.feed[name][:, 0])
        if len(places) < 2:
            continue
        curves = np.array([_moved(predictor, rows, name, place, level) for place in places])
        mean = curves.mean(axis=1)
        own = curves - curves.mean(axis=0)
        low, high = np.quantile(own - own.mean(axis=1, keepdims=True), [(1 - BAND) / 2, (1 + BAND) / 2], axis=1)
        found.append(Dependence(name, places.tolist(), mean, mean + low, mean + high, named))
    return found


def _places(column: Column, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return values that rows have: quantiles of numbers, the commonest levels; none of free text."""
    if column.is_string:
        levels, counts = np.unique(values[values != ""].astype(str), return_counts=True)
        if column.kind == "text":
            return levels[:0]
        return levels[np.sort(np.argsort(-counts, kind="stable")[:MOST_LEVELS])].astype(object)
    known = np.sort(values[values == values])
    if len(known) == 0:
        return known
    shares = np.linspace(EDGE, 1 - EDGE, MOST_PLACES)
    return np.unique(known[np.round(shares * (len(known) - 1)).astype(np.int64)])


def _moved(predictor: Predictor, rows: Batch, name: str, place: object, level: int) -> Floats:
    column = np.full((rows.n_rows, 1), place, dtype=rows.feed[name].dtype)
    raw = predictor.predict_batch(Batch({**rows.feed, name: column}, rows.n_rows)).raw
    return told(raw, np.full(rows.n_rows, level))
