"""The contract of a metric: one score per weighting of the rows, so that a bootstrap is one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from estimator.core.arrays import Floats
from estimator.core.task import Predictions


class Metric(ABC):
    """A score of answers against truth. `tasks` are the task kinds it suits."""

    tasks: ClassVar[frozenset[str]]
    higher_is_better: ClassVar[bool]

    @abstractmethod
    def scores(self, truth: Floats, answers: Predictions, weights: Floats) -> Floats:
        """Return one score per row of `weights`, which has shape (weightings, rows).

        `truth` has shape (rows,): numbers, or positions of levels. A score that is not defined for a
        weighting (one level only, no variance) is NaN.
        """


def weighted_mean(terms: Floats, weights: Floats) -> Floats:
    """Return the mean of row terms (rows,) for each weighting (weightings, rows)."""
    found: Floats = weights @ terms / weights.sum(axis=1)
    return found
