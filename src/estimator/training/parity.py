"""Check that the ONNX graph predicts what the library does, on training rows and on edge-case rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.data.schema import Batch, Column, Schema
from estimator.errors import ParityError
from estimator.models import FittedModel
from estimator.models.conformal import Conformal
from estimator.store.predictor import Predictor

# Of more training rows, as many are drawn: a difference in the code shows in any of them.
MAX_TRAINING_ROWS = 100_000
# Edge cases change all columns at once, and so many of them one by one.
MAX_SINGLE_COLUMNS = 200
SMALLEST, LARGEST = float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).max)
BUG = "this is a bug in estimator: please report it with the config and, if you can, some rows"
# Tokens of every kind, and more of them than the graph reads.
LONG_TEXT = " Ünseen\tWÖRDS, the same:\nИ слова 言葉 😀 x1.5_" * 300


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """The largest difference between graph and library; `largest_relative` is over the mean absolute prediction.

    `training_rows` is how many were compared: all, or of a large table 100,000 drawn at random.
    """

    training_rows: int
    edge_rows: int
    largest_difference: float
    largest_relative: float
    tolerance: float

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return asdict(self)


def check_parity(predictor: Predictor, fitted: FittedModel, conformal: Conformal | None, batch: Batch) -> ParityCheck:
    """Compare the graph with the library that fitted it.

    Raises
    ------
    ParityError: they differ by more than the model's tolerance; no version may be written.
    """
    if batch.n_rows > MAX_TRAINING_ROWS:
        mask = np.zeros(batch.n_rows, dtype=np.bool_)
        mask[np.random.default_rng(70).choice(batch.n_rows, MAX_TRAINING_ROWS, replace=False)] = True
        batch = batch.rows(mask)
    edge_cases = predictor.schema.read_rows(list(edge_rows(predictor.schema)))
    compared = [_compare(predictor, fitted, conformal, rows) for rows in (batch, edge_cases)]
    # What is learned counts, not the offset of a target far from zero.
    with np.errstate(over="ignore"):
        learned = [np.abs(expected - fitted.offset) for _, expected in compared]
        size = min(max(float(learned[0].mean()), SMALLEST), LARGEST)
    largest = max(float(difference.max(initial=0.0)) for difference, _ in compared)
    # An extreme row may have an extreme prediction: there, its own size counts.
    relative = max(
        float((_beyond_rounding(difference, fitted.offset) / np.maximum(of_rows, size)).max(initial=0.0))
        for (difference, _), of_rows in zip(compared, learned, strict=True)
    )
    if not relative <= fitted.tolerance:
        raise ParityError(
            f"the ONNX graph and the library differ by {relative:.2g} relative, more than the tolerance of "
            f"{fitted.tolerance:.0e}; no version was written",
            hint=BUG,
        )
    return ParityCheck(batch.n_rows, edge_cases.n_rows, largest, relative, fitted.tolerance)


def _beyond_rounding(difference: Floats, offset: float) -> Floats:
    """Return the differences less the rounding of adding an offset, of which an ordinary target has none."""
    return np.maximum(difference - 4.0 * np.spacing(abs(offset)), 0.0) if offset else difference


def _compare(
    predictor: Predictor, fitted: FittedModel, conformal: Conformal | None, batch: Batch
) -> tuple[Floats, Floats]:
    """Return the absolute differences, and what the library predicts: with intervals, or calibrated, as the graph."""
    expected, predictions = fitted.predict_all(batch), predictor.predict_batch(batch)
    actual = predictions.raw
    if conformal is not None and conformal.interval is not None:
        expected = np.stack([expected, *conformal.interval.bounds(expected)])
        actual = np.stack([actual, predictions.low, predictions.high])  # type: ignore[list-item] # the graph has them too
    elif conformal is not None and conformal.calibration.changes:
        expected = conformal.calibration.apply(expected)
    if predictor.task.threshold is not None and (predictor.task.predictions(actual).codes != predictions.codes).any():
        raise ParityError(
            "the ONNX graph predicts a class that its probability and threshold do not give; no version was written",
            hint=BUG,
        )
    is_same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(is_same, 0.0, np.abs(actual - expected)), expected


def edge_rows(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield rows unlike training: missing values, unknown categories, extremes, numbers as floats and as text."""
    typical = {column.name: _typical(column) for column in schema.features}
    yield typical
    yield {column.name: _missing_or_typical(column) for column in schema.features}
    texts = {column.name: _as_text(column, typical[column.name]) for column in schema.features}
    yield texts
    yield {name: float(value) if _is_number(value) else value for name, value in typical.items()}
    for side in (0, 1):
        yield {column.name: _extreme(column, side) for column in schema.features}
    for column in schema.features[:MAX_SINGLE_COLUMNS]:
        if column.accepts_missing:
            yield {**typical, column.name: None}
        if column.kind == "category" and not column.rejects_unknown:
            yield {**typical, column.name: "an unknown category"}
        for side in (0, 1):
            yield {**typical, column.name: _extreme(column, side)}


def _typical(column: Column) -> Any:
    if column.kind == "category":
        return next(iter(column.categories))
    return column.example


def _as_text(column: Column, value: Any) -> Any:
    """Return a number as the column writes it."""
    return str(value).replace(".", column.decimal) if _is_number(value) else value


def _missing_or_typical(column: Column) -> Any:
    return None if column.accepts_missing else _typical(column)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _extreme(column: Column, side: int) -> Any:
    """Return a value far beyond the training range, as far as the schema allows; `side` 0 is low, 1 is high."""
    if column.kind == "boolean":
        return bool(side)
    if column.kind == "text":
        return LONG_TEXT if side else "√ ~"
    if column.is_string:
        categories = list(column.categories)
        return categories[-side]
    if column.kind in ("date", "datetime"):
        return "1900-01-01" if side == 0 else "2100-01-01"
    low, high = column.training_range or (0.0, 1.0)
    with np.errstate(over="ignore"):
        distance = 10.0 * np.maximum(np.subtract(high, low), 1.0)
        beyond = float(np.clip(low - distance if side == 0 else high + distance, -LARGEST, LARGEST))
    value = float(math.floor(beyond)) if column.kind == "integer" else beyond
    limits: Mapping[int, float | None] = dict(enumerate(column.range or (None, None)))
    bound = limits[side]
    return value if bound is None else bound
