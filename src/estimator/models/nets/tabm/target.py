"""The transform of a numeric target that a net is fitted to, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.errors import TrainingError
from estimator.models.dataset import EncodedRows

# A target at least this skewed is fitted as its logarithm, if that is less than half as skewed.
MIN_SKEWNESS = 1.0


@dataclass(frozen=True, slots=True)
class TargetTransform:
    """The net is fitted to (target - shift) / scale, or to the same of the target's logarithm.

    The inverse of a logarithm is clipped to the training range, from `low` to `high` in logarithms, and multiplied by
    `factor`, because the exponential of a mean is less than the mean of exponentials.
    """

    shift: float = 0.0
    scale: float = 1.0
    is_log: bool = False
    low: float = 0.0
    high: float = 0.0
    factor: float = 1.0

    @classmethod
    def of(cls, rows: EncodedRows, *, log: bool | None) -> Self:
        """Fit to training rows; with `log` None, a skewed target gets a logarithm.

        Raises
        ------
        TrainingError: `log` is true and some target is not above 0.
        """
        has_weight = rows.weights > 0
        target, weights = rows.target[has_weight], rows.weights[has_weight]
        if log and target.min() <= 0:
            raise TrainingError(
                f"model.log_target: expected a target above 0 in every row, got a minimum of {target.min():g}",
                hint="leave out model.log_target",
            )
        is_log = _is_skewed(target) if log is None else log
        values = np.log(target) if is_log else target
        shift = float(np.average(values, weights=weights))
        scale = float(np.sqrt(np.average((values - shift) ** 2, weights=weights))) or 1.0
        return cls(shift, scale, is_log, float(values.min()), float(values.max()))

    def apply(self, target: Floats) -> Floats:
        """Return what the net is fitted to; before a logarithm, a target is clipped to the training minimum."""
        values: Floats = np.log(np.maximum(target, np.exp(self.low))) if self.is_log else target
        return (values - self.shift) / self.scale

    def invert(self, output: Any) -> Any:
        """Return a net's output in the target's units; the output is an array or a `Value` of the graph."""
        values = output * self.scale + self.shift
        return np.exp(np.minimum(np.maximum(values, self.low), self.high)) * self.factor if self.is_log else values

    def with_factor(self, rows: EncodedRows, predictions: Floats) -> Self:
        """Return the transform whose factor minimizes the squared error on rows; cf. Duan (1983), "Smearing"."""
        size = np.sum(rows.weights * predictions**2)
        both = np.sum(rows.weights * predictions * rows.target)
        return replace(self, factor=self.factor * float(both / size)) if size > 0 else self


def _is_skewed(target: Floats) -> bool:
    if target.min() <= 0:
        return False
    skewed = _skewness(target)
    return skewed >= MIN_SKEWNESS and abs(_skewness(np.log(target))) < skewed / 2


def _skewness(values: Floats) -> float:
    deviation = float(values.std())
    return float(np.mean((values - values.mean()) ** 3)) / deviation**3 if deviation > 0 else 0.0
