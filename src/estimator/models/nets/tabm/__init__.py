"""An ensemble of small nets inside one, on numbers coded by bins; trained by jax, one epoch one compiled loop."""

from estimator.models.nets.tabm.settings import FittedTabM, TabM

__all__ = ["FittedTabM", "TabM"]
