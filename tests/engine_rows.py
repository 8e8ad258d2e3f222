"""What tests of engines share: rows of every kind that folds encode again, and models trained on them by an engine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from estimator.config import Config, resolve
from estimator.engine import Engine
from estimator.models import SHELF, Progress, silent
from estimator.training.prepare import PreparedData, prepare
from estimator.training.train import TrainedModel, train
from estimator.verbs.context import SHELVES

N_ROWS = 240


def config_with(sections: Mapping[str, Any]) -> Config:
    return resolve({"data": {"path": "t.csv", "target": "price"}, **sections}, SHELVES)


def houses() -> pl.DataFrame:
    """Return numbers, categories, wide ones, texts and dates, which the price depends on."""
    generator = np.random.default_rng(0)
    size, town = generator.normal(size=N_ROWS), generator.integers(0, 60, N_ROWS)
    return pl.DataFrame(
        {
            "size": size,
            "color": generator.choice(["red", "green", "blue"], N_ROWS),
            "town": [f"town {number}" for number in town],
            "remark": [f"a {['good', 'bad', 'fair'][number % 3]} house of {number}" for number in town],
            "built": [f"19{50 + number % 50}-03-01" for number in town],
            "price": 3 * size + town / 10 + generator.normal(size=N_ROWS),
        }
    )


def prepared_houses() -> tuple[PreparedData, Config]:
    """Return the rows with three folds and a formula, and their config."""
    config = config_with({"features": {"formulas": {"large": "size * 2"}}, "validation": {"folds": 3}})
    return prepare(houses(), config), config


def trained_by(
    engine: Engine, rows: tuple[PreparedData, Config], kind: str, *, progress: Progress = silent, **settings: Any
) -> TrainedModel:
    """Return a model of a kind, whose folds an engine fitted."""
    prepared, config = rows
    model = SHELF.load(kind)(**settings)
    return train(prepared, model, config, progress=progress, clock=time.perf_counter, engine=engine)


def patiently(start: Callable[[], Any]) -> Any:
    """Return what a function starts: on a busy machine Ray gives up after half a minute, and it is started again."""
    for n_left in (2, 1, 0):
        try:
            return start()
        # Ray's own has no other class.
        except Exception as error:
            if "timed out during startup" not in str(error) or not n_left:
                raise
    return None


def graph_hash(trained: TrainedModel) -> str:
    return hashlib.sha256(trained.predictor.graph).hexdigest()
