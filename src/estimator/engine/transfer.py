"""How rows and encoders travel to other processes: numbers as they are, texts by their distinct values."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Ints
from estimator.data.schema import Batch
from estimator.features.formulas import Formulas
from estimator.features.matrix import Features

_Array = npt.NDArray[Any]


def register_transfers() -> None:
    """Say how our values travel: arrays of numbers are read where they lie, in memory that processes share.

    An array of texts would be copied text by text, so its distinct texts travel with the position of each row's.
    Graphs that are loaded stay here, and are loaded again where they are used.
    """
    copyreg.pickle(Batch, _reduced_batch)
    for kind in (Features, Formulas):
        copyreg.pickle(kind, _reduced_without_caches)


def _reduced_batch(batch: Batch) -> tuple[Any, ...]:
    texts = {name: _by_distinct(values) for name, values in batch.feed.items() if values.dtype == object}
    numbers = {name: values for name, values in batch.feed.items() if values.dtype != object}
    return _batch, (tuple(batch.feed), numbers, texts, batch.n_rows)


def _batch(
    names: tuple[str, ...], numbers: Mapping[str, _Array], texts: Mapping[str, tuple[list[str], Ints]], n_rows: int
) -> Batch:
    read = {name: np.array(distinct, dtype=object)[positions] for name, (distinct, positions) in texts.items()}
    return Batch({name: numbers[name] if name in numbers else read[name] for name in names}, n_rows)


def _by_distinct(values: _Array) -> tuple[list[str], Ints]:
    """Return the distinct texts of an array, and an array of the same shape with the position of each among them."""
    flat = values.ravel().tolist()
    distinct = list(dict.fromkeys(flat))
    position = {text: index for index, text in enumerate(distinct)}
    return distinct, np.fromiter(map(position.__getitem__, flat), np.int64, len(flat)).reshape(values.shape)


def _reduced_without_caches(value: Any) -> tuple[Any, ...]:
    return type(value), tuple(getattr(value, item.name) for item in fields(value) if item.init)
