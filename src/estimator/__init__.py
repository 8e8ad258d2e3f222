"""The whole life of a table's model: one config file, one command per step.

    table -> init -> config -> train -> version -> evaluate -> serve -> predict
                        ^                  |                      |
                        +---- promote, rollback <----- models ----+

A version is a folder of plain files; its graph answers alike in training, in a file and over HTTP.

>>> import estimator
>>> predictor = estimator.train("examples/penguins/config.yml")   # doctest: +SKIP
>>> predictor.predict({"island": "Biscoe", "bill_length_mm": 46.1})   # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Before anything can import onnxruntime: its wheel reports use unless told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from pathlib import Path

    from estimator.errors import EstimatorError
    from estimator.store.predictor import Predictor

__all__ = ["EstimatorError", "Predictor", "load", "train"]

_HOMES = {"EstimatorError": "estimator.errors", "Predictor": "estimator.store.predictor"}


def train(conf: str | Path, *, overrides: tuple[str, ...] = (), store: str | None = None) -> Predictor:
    """Train what a config describes, keep it as a version, and return what answers.

    `overrides` are texts such as "training.epochs=5".

    Raises
    ------
    EstimatorError: anything the config or the table makes impossible; the message says where and what.
    """
    from pathlib import Path

    from estimator import verbs as life

    order = life.Order(overrides, dict(os.environ), store)
    return life.train(Path(conf), order).artefact.predictor


def load(reference: str | Path, *, store: str | None = None) -> Predictor:
    """Return what answers for a version: its folder, its model's folder, or its name in the store."""
    from estimator import verbs as life

    return life.load(reference, life.open_store(None, life.Order((), dict(os.environ), store))).predictor


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for, so that `import estimator` stays light."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'estimator' has no attribute {name!r}")
