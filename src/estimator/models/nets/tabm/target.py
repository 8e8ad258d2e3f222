"""The numbers a net learns for a target's own, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.errors import TrainingError
from estimator.models.dataset import EncodedRows

# A target at least this skewed is learned as its logarithm, if that is less than half as skewed.
SKEWED = 1.0


@dataclass(frozen=True, slots=True)
class TargetUnits:
    """The net learns (target - shift) / scale, or the same of its logarithm.

    The way back from a logarithm is kept between those of the least and the most target of training, and
    multiplied by `factor`, for the exponential of a mean is not the mean of exponentials.
    """

    shift: float = 0.0
    scale: float = 1.0
    is_log: bool = False
    least: float = 0.0
    most: float = 0.0
    factor: float = 1.0

    @classmethod
    def of(cls, rows: EncodedRows, *, log: bool | None) -> Self:
        """Learn from training rows; `log` None decides by how skewed the target is.

        Raises
        ------
        TrainingError: a logarithm is asked for, and not all targets have one.
        """
        known = rows.weights > 0
        target, weights = rows.target[known], rows.weights[known]
        if log and target.min() <= 0:
            raise TrainingError(
                f"model.log_target: the target must be above 0 in every row, its least is {target.min():g}",
                hint="leave it out",
            )
        is_log = _is_skewed(target) if log is None else log
        learned = np.log(target) if is_log else target
        shift = float(np.average(learned, weights=weights))
        scale = float(np.sqrt(np.average((learned - shift) ** 2, weights=weights))) or 1.0
        return cls(shift, scale, is_log, float(learned.min()), float(learned.max()))

    def learned(self, target: Floats) -> Floats:
        """Return what the net learns; a target below all of training counts as the least there."""
        values = np.log(np.maximum(target, np.exp(self.least))) if self.is_log else target
        found: Floats = (values - self.shift) / self.scale
        return found

    def answers(self, output: Any) -> Any:
        """Return the target's units of a net's output: one formula, for an array and for a value of the graph."""
        values = output * self.scale + self.shift
        return np.exp(np.minimum(np.maximum(values, self.least), self.most)) * self.factor if self.is_log else values

    def levelled(self, rows: EncodedRows, answers: Floats) -> Self:
        """Return the units with the factor that makes answers to rows best in squares; cf. Duan (1983), "Smearing"."""
        size, both = np.sum(rows.weights * answers**2), np.sum(rows.weights * answers * rows.target)
        return replace(self, factor=self.factor * float(both / size)) if size > 0 else self


def _is_skewed(target: Floats) -> bool:
    if target.min() <= 0:
        return False
    skewed = _skewness(target)
    return skewed >= SKEWED and abs(_skewness(np.log(target))) < skewed / 2


def _skewness(values: Floats) -> float:
    deviation = float(values.std())
    return float(np.mean((values - values.mean()) ** 3)) / deviation**3 if deviation > 0 else 0.0
