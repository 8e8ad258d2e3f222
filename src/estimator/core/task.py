"""The prediction task, regression or classification, and the predictions of a model for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints, Mask

# Smaller probabilities count as this one, so that a log loss stays finite.
MIN_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Task:
    """Regression, or classification into `classes`, in the order of the probability columns.

    The second of two classes is predicted from the probability `threshold` on; None predicts the likeliest class.
    Models with different thresholds have the same task.
    """

    kind: Literal["regression", "binary", "multiclass"]
    classes: tuple[str, ...] = ()
    threshold: float | None = field(default=None, compare=False)

    @property
    def is_regression(self) -> bool:
        """Whether a prediction is a number."""
        return self.kind == "regression"

    @property
    def n_outputs(self) -> int:
        """Columns of a raw prediction: 1 for a number, else one probability per class."""
        return 1 if self.is_regression else len(self.classes)

    def codes(self, labels: npt.NDArray[Any]) -> Floats:
        """Return each label's index in `classes`; NaN for a label that is not a class.

        >>> Task("binary", ("no", "yes")).codes(np.array(["yes", "no", "?"])).tolist()
        [1.0, 0.0, nan]
        """
        index_of = {name: float(index) for index, name in enumerate(self.classes)}
        return np.array([index_of.get(label, np.nan) for label in labels.tolist()])

    def predictions(self, raw: Floats) -> Predictions:
        """Return raw predictions, numbers (rows,) or probabilities (rows, classes), as Predictions.

        >>> Task("binary", ("no", "yes")).predictions(np.array([[0.2, 0.8], [0.9, 0.1]])).values.tolist()
        ['yes', 'no']
        >>> Task("binary", ("no", "yes"), threshold=0.1).predictions(np.array([[0.2, 0.8], [0.9, 0.1]])).values.tolist()
        ['yes', 'yes']
        """
        if self.is_regression:
            return Predictions(raw)
        classes: npt.NDArray[Any] = np.array(self.classes, dtype=object)
        codes = raw.argmax(axis=1) if self.threshold is None else (raw[:, 1] >= self.threshold).astype(np.int64)
        return Predictions(classes[codes], raw, self.classes)

    def losses(self, raw: Floats, target: Floats) -> Floats:
        """Return the loss of each raw prediction: the error (target - prediction) of a number, or the log loss.

        >>> Task("regression").losses(np.array([3.0]), np.array([2.5])).tolist()
        [-0.5]
        """
        if self.is_regression:
            return target - raw
        probability = raw[np.arange(len(target)), target.astype(np.int64)]
        losses: Floats = -np.log(np.maximum(probability, MIN_PROBABILITY))
        return losses


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for some rows.

    `values`, of shape (rows,), holds numbers, or the predicted class as text: the likeliest, or that of the threshold.
    `probabilities`, of shape (rows, classes), sum to 1 in each row and are None for regression. `low` and `high`, of
    shape (rows,), bound the prediction intervals of a regression; `sets`, of shape (rows, classes), marks the
    prediction sets of a classification. Both are None if the model was trained without folds.
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
        """Numbers (rows,), or probabilities (rows, classes)."""
        return self.values if self.probabilities is None else self.probabilities

    @property
    def codes(self) -> Ints:
        """The index of each row's predicted class in `classes`, of shape (rows,)."""
        if len(self.classes) == 2:
            return np.asarray(self.values == self.classes[1], np.int64)
        # A threshold decides between two classes only.
        return np.asarray(self.raw.argmax(axis=1), np.int64)

    @property
    def is_finite(self) -> Mask:
        """Which rows have a prediction without NaN or infinity, in its interval and probabilities too."""
        arrays = (self.raw, self.low, self.high)
        finite = [
            np.isfinite(array).reshape(len(self), prod(array.shape[1:])).all(axis=1)
            for array in arrays
            if array is not None
        ]
        return np.asarray(np.logical_and.reduce(finite))

    def rows(self, which: npt.NDArray[Any]) -> Predictions:
        """Return the predictions selected by a mask or by indices."""
        arrays = (self.probabilities, self.low, self.high, self.sets)
        probabilities, low, high, sets = (None if array is None else array[which] for array in arrays)
        return Predictions(self.values[which], probabilities, self.classes, low, high, sets)

    @property
    def prediction_sets(self) -> list[list[str]]:
        """Each row's set of classes, the most likely first."""
        if self.sets is None or self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        return [
            [self.classes[index] for index in indices if is_member[index]]
            for indices, is_member in zip(order.tolist(), self.sets.tolist(), strict=True)
        ]
