"""The contract of an encoder: fitted per column, written into the graph for all its columns at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.graph.builder import Graph


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """What an encoder is fitted to: a column's training values, the target and the settings.

    `values` has shape (rows,): doubles with NaN for a missing value, or strings with "" for one. `target` holds
    numbers, or class codes for a classification.
    """

    values: npt.NDArray[Any]
    target: Floats
    task: Task
    unknown_is_missing: bool = False
    target_smoothing: float = 20.0


class Encoder(ABC):
    """A fitted encoding of one column. Kinds are frozen dataclasses of plain values.

    `nodes` gets all columns of its kind, so that one set of vector operations encodes them all.
    """

    accepts: ClassVar[frozenset[str]]
    gives_codes: ClassVar[bool] = False
    uses_target: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, training: EncoderInput) -> Self:
        """Learn the encoding; never fails on missing values, constants or a single row."""

    @abstractmethod
    def names(self, column: str) -> tuple[str, ...]:
        """Return the names of the matrix columns that the column becomes."""

    @classmethod
    @abstractmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        """Write the encoding of graph inputs, by name, and return a double of shape (rows, width)."""
