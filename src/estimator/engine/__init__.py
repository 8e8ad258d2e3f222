"""Where independent work runs, such as the fits of folds: on threads of this process, or as tasks of a Ray cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager

from estimator.config import EngineChoice
from estimator.core.registry import Shelf
from estimator.engine.base import Engine
from estimator.engine.local import LOCAL, LocalEngine

KINDS = {"local": "estimator.engine.local:LocalEngine", "ray": "estimator.engine.ray:RayEngine"}
SHELF: Shelf[Engine] = Shelf("engine", KINDS)


def open_engine(choice: EngineChoice) -> AbstractContextManager[Engine]:
    """Context manager: the engine of a config's section `engine`; what it started ends with it.

    Raises
    ------
    ConfigError: the engine cannot be reached.
    MissingExtraError: it needs a package that is not installed.
    """
    return SHELF.load(choice.kind).open(choice)


__all__ = ["KINDS", "LOCAL", "SHELF", "Engine", "LocalEngine", "open_engine"]
