"""Actual against predicted classes: the confusion matrix, and the recall and precision of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, nan_to_none
from estimator.core.task import Predictions
from estimator.core.text import format_number
from estimator.evaluation.scores import Score, wilson

# With more classes, a table names only the class that each is most often taken for.
MAX_MATRIX_CLASSES = 6


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its rows, how many rows were predicted as it, its recall with Wilson's interval, and its precision."""

    name: str
    rows: int
    predicted: int
    recall: Score
    precision: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of rows by actual class (down) and predicted class (across), of shape (classes, classes)."""

    classes: Sequence[str]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, actual: Floats, predictions: Predictions) -> Confusion | None:
        """Count predictions against actual class indices; None for a regression."""
        if predictions.probabilities is None:
            return None
        counts = np.zeros((len(predictions.classes), len(predictions.classes)), np.int64)
        np.add.at(counts, (actual.astype(np.int64), predictions.codes), 1)
        return cls(predictions.classes, counts)

    @property
    def by_class(self) -> list[ClassScore]:
        """The recall and precision of each class; NaN for one without rows, or that is never predicted."""
        actual, predicted = self.counts.sum(axis=1).tolist(), self.counts.sum(axis=0).tolist()
        hits = np.diag(self.counts).tolist()
        return [
            ClassScore(name, n, n_predicted, wilson(hit, n), hit / n_predicted if n_predicted else float("nan"))
            for name, n, n_predicted, hit in zip(self.classes, actual, predicted, hits, strict=True)
        ]

    @property
    def table(self) -> list[tuple[str, ...]]:
        """The classes as rows of a table with a header."""
        is_small = len(self.classes) <= MAX_MATRIX_CLASSES
        across = [f"predicted {name}" for name in self.classes] if is_small else ["most often taken for"]
        rows = [("actual class", "rows", "recall", "precision", *across)]
        for index, item in enumerate(self.by_class):
            cells = [f"{count:,}" for count in self.counts[index].tolist()] if is_small else [self._taken_for(index)]
            precision = "never predicted" if np.isnan(item.precision) else format_number(item.precision)
            rows.append((item.name, f"{item.rows:,}", str(item.recall), precision, *cells))
        return rows

    def _taken_for(self, index: int) -> str:
        others = self.counts[index].copy()
        others[index] = 0
        most = int(others.argmax())
        return f"{self.classes[most]} ({others[most]:,})" if others[most] else ""

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        scores = {
            item.name: {
                "rows": item.rows,
                "predicted": item.predicted,
                "recall": item.recall.to_data(),
                "precision": nan_to_none(item.precision),
            }
            for item in self.by_class
        }
        return {"classes": list(self.classes), "counts": self.counts.tolist(), "by_class": scores}
