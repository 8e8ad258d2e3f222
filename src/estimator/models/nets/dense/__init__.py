"""Dense nets with Keras's settings, trained by jax: one epoch is one compiled scan."""

from estimator.models.nets.dense.fitted import FittedDense
from estimator.models.nets.dense.settings import Dense

__all__ = ["Dense", "FittedDense"]
