"""What is to be answered: a number, or one of two or more levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """Regression, or classification over `levels` (in the order of the probability columns)."""

    kind: Literal["regression", "binary", "multiclass"]
    levels: tuple[str, ...] = ()

    @property
    def is_regression(self) -> bool:
        """Whether the answer is a number."""
        return self.kind == "regression"

    @property
    def n_outputs(self) -> int:
        """Columns of an answer: 1 for a number, else one probability per level."""
        return 1 if self.is_regression else len(self.levels)

    def codes(self, labels: npt.NDArray[Any]) -> Floats:
        """Return each label's position among the levels; NaN for a label that is none of them."""
        positions = {level: float(position) for position, level in enumerate(self.levels)}
        return np.array([positions.get(label, np.nan) for label in labels.tolist()])

    def answers(self, raw: Floats) -> Answers:
        """Return what a model says: numbers (rows,), or the likeliest level of probabilities (rows, levels)."""
        if self.is_regression:
            return Answers(raw)
        levels: npt.NDArray[Any] = np.array(self.levels, dtype=object)
        return Answers(levels[raw.argmax(axis=1)], raw, self.levels)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says for some rows.

    `values` has shape (rows,) and holds numbers, or the likeliest level as text; `probabilities` has shape
    (rows, levels), rows summing to 1, and is None for regression.
    """

    values: npt.NDArray[Any]
    probabilities: Floats | None = None
    levels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, which: npt.NDArray[Any]) -> Answers:
        """Return the answers picked by a mask or by positions."""
        probabilities = None if self.probabilities is None else self.probabilities[which]
        return Answers(self.values[which], probabilities, self.levels)
