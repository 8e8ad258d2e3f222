"""What is to be answered: a number, or one of two or more levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Mask

# Probabilities below it count as this much, so that a log loss stays finite.
MIN_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Task:
    """Regression, or classification over `levels` (in the order of the probability columns)."""

    kind: Literal["regression", "binary", "multiclass"]
    classes: tuple[str, ...] = ()

    @property
    def is_regression(self) -> bool:
        """Whether the answer is a number."""
        return self.kind == "regression"

    @property
    def n_outputs(self) -> int:
        """Columns of an answer: 1 for a number, else one probability per level."""
        return 1 if self.is_regression else len(self.classes)

    def codes(self, labels: npt.NDArray[Any]) -> Floats:
        """Return each label's position among the levels; NaN for a label that is none of them."""
        positions = {level: float(position) for position, level in enumerate(self.classes)}
        return np.array([positions.get(label, np.nan) for label in labels.tolist()])

    def predictions(self, raw: Floats) -> Predictions:
        """Return what a model says: numbers (rows,), or the likeliest level of probabilities (rows, levels)."""
        if self.is_regression:
            return Predictions(raw)
        levels: npt.NDArray[Any] = np.array(self.classes, dtype=object)
        return Predictions(levels[raw.argmax(axis=1)], raw, self.classes)

    def losses(self, raw: Floats, truth: Floats) -> Floats:
        """Return what is wrong with each raw answer: truth - answer of numbers, the log loss of probabilities."""
        if self.is_regression:
            return truth - raw
        found: Floats = -np.log(np.maximum(raw[np.arange(len(truth)), truth.astype(np.int64)], MIN_PROBABILITY))
        return found


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says for some rows.

    `values` has shape (rows,) and holds numbers, or the likeliest level as text; `probabilities` has shape
    (rows, levels), rows summing to 1, and is None for regression. `low` and `high`, of shape (rows,), are the ends of
    intervals of numbers; `sets`, of shape (rows, levels), marks the levels that may be the truth; both are None where
    there were no folds to learn them from.
    """

    values: npt.NDArray[Any]
    probabilities: Floats | None = None
    classes: tuple[str, ...] = ()
    low: Floats | None = None
    high: Floats | None = None
    sets: Mask | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def raw(self) -> Floats:
        """Numbers (rows,), or probabilities (rows, levels)."""
        return self.values if self.probabilities is None else self.probabilities

    def rows(self, which: npt.NDArray[Any]) -> Predictions:
        """Return the answers picked by a mask or by positions."""
        parts = (self.probabilities, self.low, self.high, self.sets)
        shares, low, high, sets = (None if part is None else part[which] for part in parts)
        return Predictions(self.values[which], shares, self.classes, low, high, sets)

    @property
    def prediction_sets(self) -> list[list[str]]:
        """Each row's set of levels, the likeliest first."""
        if self.sets is None or self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        return [
            [self.classes[place] for place in places if row[place]]
            for places, row in zip(order.tolist(), self.sets.tolist(), strict=True)
        ]
