"""The whole life of a table's model: one config file, one command per step.

    table -> init -> config -> train -> version -> evaluate -> serve -> predict
                        ^                  |                      |
                        +---- promote, rollback <----- models ----+

A version is a folder of plain files; its graph predicts the same in training, for a file and over HTTP.

>>> import estimator
>>> predictor = estimator.train("config.yml")   # doctest: +SKIP
>>> predictor.predict({"rooms": 4, "city": "Oslo", "built": None})   # doctest: +SKIP
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Set before onnxruntime is imported: its wheel reports usage unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from estimator.errors import EstimatorError
    from estimator.monitoring.checked_table import CheckedTable
    from estimator.store.predictor import Predictor

__all__ = ["CheckedTable", "EstimatorError", "Predictor", "compare_tables", "load", "train"]

_MODULES = {
    "CheckedTable": "estimator.monitoring.checked_table",
    "EstimatorError": "estimator.errors",
    "Predictor": "estimator.store.predictor",
}


def train(
    conf: str | Path | Mapping[str, Any],
    *,
    data: Any = None,
    overrides: tuple[str, ...] = (),
    store: str | Path | None = None,
) -> Predictor:
    """Train what a config describes, save it as a version, and return its predictor.

    The config is a file, an https:// address or a dictionary. `data` are rows to train on in place of those it names:
    a polars or pandas frame, or a list of dictionaries; the version keeps their hash, not the rows. `overrides` are
    texts such as "training.epochs=5"; `store` is the folder of all versions. What was skipped or guessed in reading is
    logged as a warning.

    >>> estimator.train({"data": {"target": "price"}, "model": {"kind": "boosting"}}, data=frame)   # doctest: +SKIP

    Raises
    ------
    EstimatorError: the config or the table makes it impossible; the message says where and why.
    """
    from estimator import verbs

    notes = verbs.Notes(logging.getLogger(__name__).warning)
    context = verbs.Context(overrides, dict(os.environ), None if store is None else str(store), notes)
    predictor: Predictor = verbs.train.train(conf, context, data=data).artefact.predictor
    return predictor


def load(reference: str | Path, *, store: str | Path | None = None) -> Predictor:
    """Return the predictor of a version: its folder, its model's folder, or its name in the store.

    Raises
    ------
    EstimatorError: there is no such version, or it is damaged.
    """
    from estimator.verbs.context import Context

    return Context((), dict(os.environ), None if store is None else str(store)).version(reference).predictor


def compare_tables(
    current: Any, reference: Any, *, target: str | None = None, overrides: tuple[str, ...] = ()
) -> CheckedTable:
    """Return whether the rows of a table have drifted from those of another, and how; no model is needed.

    Each is a polars or pandas frame, a list of dictionaries, or the path or address of a table. `target` is a column to
    leave out. `overrides` are texts such as "monitoring.alpha=0.001" or "data.encoding=utf-16".

    >>> import polars as pl
    >>> old = pl.DataFrame({"city": ["Oslo", "Rome"] * 100, "size": [float(row % 90) for row in range(200)]})
    >>> checked = estimator.compare_tables(old.with_columns(pl.col("size") * 1000), old)   # doctest: +SKIP
    >>> checked.drifted, checked.diagnosis.data_faults   # doctest: +SKIP
    (True, ['size may be in another unit: values are 1000 times those of the reference'])

    Raises
    ------
    EstimatorError: a table cannot be read, has no row, or nothing in it can be compared.
    """
    from estimator import verbs

    notes = verbs.Notes(logging.getLogger(__name__).warning)
    context = verbs.Context(overrides, dict(os.environ), None, notes)
    checked: CheckedTable = verbs.check_table.compare_tables(current, reference, context, target=target)
    return checked


def __getattr__(name: str) -> Any:
    """Import a public name on first access, so that `import estimator` stays light."""
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'estimator' has no attribute {name!r}")
