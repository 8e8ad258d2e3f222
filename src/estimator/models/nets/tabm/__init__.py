"""TabM: an ensemble of small nets in one, on numbers encoded by bins, trained by jax."""

from estimator.models.nets.tabm.settings import FittedTabM, TabM

__all__ = ["FittedTabM", "TabM"]
