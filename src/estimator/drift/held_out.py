"""How wrong predictions are: losses, signed errors, and those of held-out rows, which live ones are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.task import Predictions, Task
from estimator.core.units import mean_and_deviation
from estimator.drift.design_effect import design_effect

# Losses and errors count as at most this many mean losses, as only bounded means can be tested at any time.
BOUND_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class HeldOutErrors:
    """Losses and signed errors of held-out rows, each bounded by `bound`: means, standard deviations, and the rows.

    In their natural order, so many as `design_effect` count as one.
    """

    bound: float
    mean_loss: float
    loss_deviation: float
    mean_error: float
    error_deviation: float
    n_rows: int
    design_effect: float = 1.0

    @classmethod
    def of(cls, losses: Floats, errors: Floats, places: Ints | None = None) -> HeldOutErrors | None:
        """Return those of rows with losses and errors of shape (rows,); None without two finite ones.

        `places` are those of the rows in their natural order, None where it has no meaning.
        """
        is_finite = np.isfinite(losses) & np.isfinite(errors)
        if is_finite.sum() < 2 or not losses[is_finite].any():
            return None
        bound = BOUND_FACTOR * float(mean_and_deviation(losses[is_finite])[0])
        bounded = np.minimum(losses[is_finite], bound), np.clip(errors[is_finite], -bound, bound)
        (mean_loss, loss_deviation), (mean_error, error_deviation) = (
            (float(mean), float(deviation)) for mean, deviation in map(mean_and_deviation, bounded)
        )
        effect = 1.0 if places is None else design_effect(np.column_stack(bounded), places[is_finite])
        return cls(bound, mean_loss, loss_deviation, mean_error, error_deviation, int(is_finite.sum()), effect)


def absolute_losses(task: Task, predictions: Predictions, actual: Floats) -> Floats:
    """Return the loss of each prediction: the absolute error of a number, the log loss of a class."""
    return np.abs(task.losses(predictions.raw, actual))


def signed_errors(task: Task, raw: Floats, actual: Floats) -> Floats:
    """Return by how much each label is above its prediction: a number, or a class as 1 or 0 less its probability.

    The class is the second of two, or the likeliest of more.

    >>> signed_errors(Task("binary", ("no", "yes")), np.array([[0.25, 0.75]]), np.array([1.0])).tolist()
    [0.25]
    """
    if task.is_regression:
        return actual - raw
    which = np.ones(len(raw), np.int64) if task.kind == "binary" else raw.argmax(axis=1)
    return np.asarray((actual == which) - raw[np.arange(len(raw)), which])
