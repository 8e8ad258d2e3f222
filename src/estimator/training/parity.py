"""The proof that a graph answers as the library does: on all training rows and on rows made to be difficult."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.data.schema import Batch, Column, Schema
from estimator.errors import ParityError
from estimator.models import Learned
from estimator.models.conformal import Conformal
from estimator.store.predictor import Predictor

# Wide tables have every column changed in the common edge rows, and these one by one as well.
MOST_COLUMNS = 200
# Words of every sort, and more of them than are read.
MUCH_TEXT = " Ünseen\tWÖRDS, the same:\nИ слова 言葉 😀 x1.5_" * 300


@dataclass(frozen=True, slots=True)
class Certificate:
    """How far graph and library are apart; `largest_relative` is measured against the answers' mean size."""

    training_rows: int
    edge_rows: int
    largest_difference: float
    largest_relative: float
    tolerance: float

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def certify(predictor: Predictor, learned: Learned, conformal: Conformal | None, batch: Batch) -> Certificate:
    """Compare the graph with the library that fitted it.

    Raises
    ------
    ParityError: they are further apart than the model's tolerance; no version may be made.
    """
    edges = predictor.schema.read_rows(list(edge_rows(predictor.schema)))
    differences = [_compare(predictor, learned, conformal, rows) for rows in (batch, edges)]
    size = max(float(np.abs(differences[0][1]).mean()), 1e-300)
    largest = max(float(difference.max(initial=0.0)) for difference, _ in differences)
    # An extreme row may have an extreme answer: its own size counts there.
    relative = max(
        float((difference / np.maximum(np.abs(answers), size)).max(initial=0.0)) for difference, answers in differences
    )
    certificate = Certificate(batch.n_rows, edges.n_rows, largest, relative, learned.tolerance)
    if not relative <= learned.tolerance:
        raise ParityError(
            f"the graph and the library differ by {relative:.2g} relative, more than {learned.tolerance:.0e}; "
            "no version was made",
            hint="this is a fault of estimator: please report it with the config and, if you can, some rows",
        )
    return certificate


def _compare(
    predictor: Predictor, learned: Learned, conformal: Conformal | None, batch: Batch
) -> tuple[Floats, Floats]:
    """Return the differences and what the library says: answers with their bounds, or calibrated probabilities."""
    expected, answers = learned.predict(batch), predictor.predict_batch(batch)
    found = answers.raw
    if conformal is not None and conformal.interval is not None:
        expected = np.stack([expected, *conformal.interval.bounds(expected)])
        found = np.stack([found, answers.low, answers.high])  # type: ignore[list-item] # the graph has them too
    elif conformal is not None and conformal.calibration.changes:
        expected = conformal.calibration.apply(expected)
    both_same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        return np.where(both_same, 0.0, np.abs(found - expected)), expected


def edge_rows(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield rows that are unlike training: all gaps, unseen levels, extremes, numbers as floats and as text."""
    usual = {column.name: _usual(column) for column in schema.features}
    yield usual
    yield {column.name: _gap_or_usual(column) for column in schema.features}
    yield {name: str(value) if _is_number(value) else value for name, value in usual.items()}
    yield {name: float(value) if _is_number(value) else value for name, value in usual.items()}
    for side in (0, 1):
        yield {column.name: _extreme(column, side) for column in schema.features}
    for column in schema.features[:MOST_COLUMNS]:
        if column.nullable:
            yield {**usual, column.name: None}
        if column.kind == "category" and not column.rejects_unknown:
            yield {**usual, column.name: "a level never seen"}
        for side in (0, 1):
            yield {**usual, column.name: _extreme(column, side)}


def _usual(column: Column) -> Any:
    if column.kind == "category":
        return next(iter(column.categories))
    return column.example


def _gap_or_usual(column: Column) -> Any:
    return None if column.nullable else _usual(column)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _extreme(column: Column, side: int) -> Any:
    """Return a value far beyond what training saw, within the limits and of the right kind."""
    if column.kind == "boolean":
        return bool(side)
    if column.kind == "text":
        return MUCH_TEXT if side else "√ ~"
    if column.is_string:
        levels = list(column.categories)
        return levels[-side]
    if column.kind in ("date", "datetime"):
        return "1900-01-01" if side == 0 else "2100-01-01"
    low, high = column.training_range or (0.0, 1.0)
    beyond = (low if side == 0 else high) + (-10.0 if side == 0 else 10.0) * max(high - low, 1.0)
    value = float(math.floor(beyond)) if column.kind == "integer" else beyond
    limits: Mapping[int, float | None] = dict(enumerate(column.range or (None, None)))
    bound = limits[side]
    return value if bound is None else bound
