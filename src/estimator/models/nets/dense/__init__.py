"""Dense nets in Keras's vocabulary, trained by jax: one epoch is one compiled scan."""

from estimator.models.nets.dense.settings import Dense, FittedDense

__all__ = ["Dense", "FittedDense"]
