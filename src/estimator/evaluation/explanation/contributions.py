"""What each column contributes to a prediction: Shapley values, exact where the model knows them, else sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.units import mean_and_deviation
from estimator.data.schema import Batch
from estimator.models import FittedModel
from estimator.store.predictor import Predictor

MAX_CELLS_IN_MEMORY = 2_000_000
# A prediction by a large graph of trees takes about 50 ps per byte; counting bytes gives every machine the same result.
BUDGET_BYTES = 100_000_000_000


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each column adds to each row's prediction: `base` plus a row of `values` sums to its prediction.

    `values` has shape (rows, columns), `base` and `predictions` (rows,), all in `unit`. `classes` names, per row, the
    class whose probability or log odds is explained; it is empty for numbers. `standard_errors` has the shape of
    `values`: NaN when there was one background row, None when the values are exact.
    """

    columns: tuple[str, ...]
    values: Floats
    base: Floats
    predictions: Floats
    unit: Literal["number", "probability", "log odds"]
    classes: tuple[str, ...] = ()
    standard_errors: Floats | None = None


def contributions(
    predictor: Predictor,
    batch: Batch,
    background: Batch,
    *,
    fitted: FittedModel | None = None,
    n_pairs: int = 1,
    seed: int = 0,
) -> Contributions:
    """Return how each column moves the predictions of a few rows away from the mean prediction of background rows.

    With `fitted`, linear models and tree ensembles of one kind are explained exactly, the latter by TreeSHAP, whose
    background is the training rows. Otherwise values are sampled (Strumbelj and Kononenko, 2014): the values of a
    background row are replaced by the row's own, column by column, in `n_pairs` random orders and their reverses. For
    classes, the probability of the second of two classes, or of the row's most probable one, is explained.

    A row costs at most 2 * n_pairs * background rows * columns predictions. The standard error is that of drawing the
    background rows, each with its orders.
    """
    exact = None if fitted is None else fitted.contributions(batch, background)
    columns, task = tuple(batch.feed), predictor.task
    if exact is not None:
        return Contributions(
            columns=exact.columns,
            values=exact.values,
            base=np.full(batch.n_rows, exact.base),
            predictions=exact.base + exact.values.sum(axis=1),
            unit="number" if task.is_regression else "log odds",
            classes=() if task.is_regression else (task.classes[1],) * batch.n_rows,
        )
    raw = predictor.predict_batch(batch).raw
    class_indices = _explained_classes(raw)
    generator = np.random.default_rng([seed, 80])
    samples = [
        _sampled(predictor, batch.rows(np.array([row])), background, class_index, n_pairs, generator)
        for row, class_index in enumerate(class_indices.tolist())
    ]
    return Contributions(
        columns=columns,
        values=np.array([added.mean(axis=0) for added, _ in samples]).reshape(-1, len(columns)),
        base=np.array([base for _, base in samples]),
        predictions=output_of_class(raw, class_indices),
        unit="number" if task.is_regression else "probability",
        classes=() if task.is_regression else tuple(task.classes[index] for index in class_indices.tolist()),
        standard_errors=np.array([_standard_error(added) for added, _ in samples]).reshape(-1, len(columns)),
    )


def affordable_predictions(predictor: Predictor, limit: int, *, fraction: float = 1.0) -> int:
    """Return how many predictions, at most `limit`, a step may make that is given a fraction of the budget."""
    return max(min(limit, int(fraction * BUDGET_BYTES) // max(len(predictor.graph), 1)), 1)


def output_of_class(raw: Floats, class_indices: Ints) -> Floats:
    """Return the predicted numbers, or each row's probability of a class, of shape (rows,)."""
    return raw if raw.ndim == 1 else raw[np.arange(len(raw)), class_indices]


def _explained_classes(raw: Floats) -> Ints:
    """Return the class to explain, per row: the second of two, else the most probable; 0 for numbers."""
    if raw.ndim == 1:
        return np.zeros(len(raw), dtype=np.int64)
    return np.ones(len(raw), dtype=np.int64) if raw.shape[1] == 2 else raw.argmax(axis=1)


def _differs(values: npt.NDArray[Any], other: npt.NDArray[Any]) -> Mask:
    """Return where the values of a column differ; two missing values do not."""
    both_missing = (values != values) & (other != other)
    return np.asarray((values != other) & ~both_missing, np.bool_)


def _standard_error(added: Floats) -> Floats:
    """Return the standard error per column of values of shape (background rows, columns)."""
    n_rows, n_columns = added.shape
    return mean_and_deviation(added, ddof=1)[1] / np.sqrt(n_rows) if n_rows > 1 else np.full(n_columns, np.nan)


def _sampled(
    predictor: Predictor, row: Batch, background: Batch, class_index: int, n_pairs: int, generator: np.random.Generator
) -> tuple[Floats, float]:
    """Return what each column adds, of shape (background rows, columns), and the mean prediction of the background."""
    n_columns = len(row.feed)
    differs = np.hstack([_differs(values, row.feed[name]) for name, values in background.feed.items()])
    added, starts = np.zeros((background.n_rows, n_columns)), np.zeros(background.n_rows)
    chunk_size = max(1, MAX_CELLS_IN_MEMORY // (2 * n_pairs * (n_columns + 1) * n_columns))
    for chunk in np.array_split(np.arange(background.n_rows), -(-background.n_rows // chunk_size)):
        forward = np.argsort(generator.random((len(chunk) * n_pairs, n_columns)), axis=1)
        # An order and its reverse together cancel much of the sampling error.
        orders = np.concatenate([forward, forward[:, ::-1]])
        origin = np.tile(np.repeat(chunk, n_pairs), 2)
        paths = _paths(predictor, row, background, orders, origin, differs[origin], class_index)
        steps = np.empty(orders.shape)
        np.put_along_axis(steps, orders, np.diff(paths, axis=1), axis=1)
        np.add.at(added, origin, steps / (2 * n_pairs))
        starts[origin] = paths[:, 0]
    return added, float(starts.mean())


def _paths(
    predictor: Predictor, row: Batch, background: Batch, orders: Ints, origin: Ints, differs: Mask, class_index: int
) -> Floats:
    """Return the predictions on the way from background rows to the row, of shape (orders, columns + 1)."""
    n_orders, n_columns = orders.shape
    ranks = np.argsort(orders, axis=1)
    # Replacing a value by an equal one needs no prediction: the one before it holds.
    is_step = np.column_stack([np.ones(n_orders, dtype=np.bool_), np.take_along_axis(differs, orders, axis=1)])
    order, step = np.nonzero(is_step)
    is_replaced = ranks[order] < step[:, None]
    feed = {
        name: np.where(is_replaced[:, [column]], row.feed[name], values[origin[order]])
        for column, (name, values) in enumerate(background.feed.items())
    }
    raw = predictor.predict_batch(Batch(feed, len(order))).raw
    outputs = raw if raw.ndim == 1 else raw[:, class_index]
    return np.reshape(outputs[np.cumsum(is_step.ravel()) - 1], (n_orders, n_columns + 1))
