"""What each column adds to an answer: Shapley values by sampling, from a predictor and rows to compare with alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints, Mask
from estimator.data.schema import Batch
from estimator.models import Learned
from estimator.store.predictor import Predictor

# Cells of the table of what is switched that are held at once.
CELLS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each column adds to each row's answer: a row of `values`, and its `base`, sum to its `answers`.

    `values` has shape (rows, columns), `base` and `answers` (rows,), all in `unit`. `errors` are the standard errors of
    `values`, NaN when one row was compared with, None when the values are exact. `levels` names the level whose
    probability, or log odds, is told of each row.
    """

    columns: tuple[str, ...]
    values: Floats
    base: Floats
    answers: Floats
    unit: Literal["number", "probability", "log odds"]
    levels: tuple[str, ...] = ()
    errors: Floats | None = None


def contributions(
    predictor: Predictor, batch: Batch, background: Batch, *, learned: Learned | None = None, pairs: int = 1,
    seed: int = 0,
) -> Contributions:  # fmt: skip
    """Return how each column moves the answers of a few rows away from the mean answer of background rows.

    Exactly, where what was learned is at hand and knows: linear models, and one family of trees by TreeSHAP, which
    compares with the rows it grew on. Else by sampling (Strumbelj and Kononenko, 2014): a background row's values are
    switched to the row's own, column by column, in `pairs` random orders and their reverses. What is told of levels is
    the probability of the second of two, or of the row's likeliest. It costs 2 * pairs * background rows * columns
    answers a row, less where values are equal. The standard error is that of the draw of the background rows, each with
    its orders.
    """
    columns, is_number = tuple(batch.feed), predictor.task.is_regression
    exact = None if learned is None else learned.contributions(batch, background)
    if exact is not None:
        levels = () if is_number else (predictor.task.classes[1],) * batch.n_rows
        sums = exact.base + exact.values.sum(axis=1)
        base = np.full(batch.n_rows, exact.base)
        return Contributions(columns, exact.values, base, sums, "number" if is_number else "log odds", levels)
    raw = predictor.predict_batch(batch).raw
    places = told_levels(raw)
    generator = np.random.default_rng([seed, 80])
    drawn = [
        _sampled(predictor, batch.rows(np.array([row])), background, place, pairs, generator)
        for row, place in enumerate(places.tolist())
    ]
    values = np.array([found.mean(axis=0) for found, _ in drawn]).reshape(-1, len(columns))
    spreads = [found.std(axis=0, ddof=1) if len(found) > 1 else np.full(len(columns), np.nan) for found, _ in drawn]
    return Contributions(
        columns, values, np.array([base for _, base in drawn]), told(raw, places),
        "number" if is_number else "probability",
        () if is_number else tuple(predictor.task.classes[place] for place in places.tolist()),
        np.array(spreads).reshape(values.shape) / np.sqrt(background.n_rows),
    )  # fmt: skip


def told_levels(raw: Floats) -> Ints:
    """Return which level's probability is told of each row: the second of two, else the likeliest; 0 for numbers."""
    if raw.ndim == 1:
        return np.zeros(len(raw), dtype=np.int64)
    return np.ones(len(raw), dtype=np.int64) if raw.shape[1] == 2 else raw.argmax(axis=1)


def told(raw: Floats, places: Ints) -> Floats:
    """Return the numbers, or the probabilities of these levels, of shape (rows,)."""
    return raw if raw.ndim == 1 else raw[np.arange(len(raw)), places]


def differing(values: npt.NDArray[Any], other: npt.NDArray[Any]) -> Mask:
    """Return where two arrays of a column's values differ; two gaps do not."""
    found: Mask = (values != other) & ~((values != values) & (other != other))
    return found


def _sampled(
    predictor: Predictor, row: Batch, background: Batch, place: int, pairs: int, generator: np.random.Generator
) -> tuple[Floats, float]:
    """Return what each column adds, by each background row (background rows, columns), and the mean answer of these."""
    n_columns = len(row.feed)
    differs = np.hstack([differing(values, row.feed[name]) for name, values in background.feed.items()])
    found, starts = np.zeros((background.n_rows, n_columns)), np.zeros(background.n_rows)
    at_once = max(1, CELLS_AT_ONCE // (2 * pairs * (n_columns + 1) * n_columns))
    for part in np.array_split(np.arange(background.n_rows), -(-background.n_rows // at_once)):
        forward = np.argsort(generator.random((len(part) * pairs, n_columns)), axis=1)
        orders = np.concatenate([forward, forward[:, ::-1]])
        origin = np.tile(np.repeat(part, pairs), 2)
        paths = _paths(predictor, row, background, orders, origin, differs[origin], place)
        steps = np.empty(orders.shape)
        np.put_along_axis(steps, orders, np.diff(paths, axis=1), axis=1)
        np.add.at(found, origin, steps / (2 * pairs))
        starts[origin] = paths[:, 0]
    return found, float(starts.mean())


def _paths(
    predictor: Predictor, row: Batch, background: Batch, orders: Ints, origin: Ints, differs: Mask, place: int
) -> Floats:
    """Return the answers on the way from background rows to the row, (orders, columns + 1)."""
    n_orders, n_columns = orders.shape
    ranks = np.argsort(orders, axis=1)
    # Switching a value to an equal one is no step: the answer before it holds.
    is_step = np.column_stack([np.ones(n_orders, dtype=np.bool_), np.take_along_axis(differs, orders, axis=1)])
    order, step = np.nonzero(is_step)
    switched = ranks[order] < step[:, None]
    feed = {
        name: np.where(switched[:, [column]], row.feed[name], values[origin[order]])
        for column, (name, values) in enumerate(background.feed.items())
    }
    raw = predictor.predict_batch(Batch(feed, len(order))).raw
    answers = raw if raw.ndim == 1 else raw[:, place]
    found: Floats = answers[np.cumsum(is_step.ravel()) - 1].reshape(n_orders, n_columns + 1)
    return found
