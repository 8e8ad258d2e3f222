"""The contract of an encoder: learned once from a column, written into the graph for all its columns at once."""

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
    """What an encoder may learn from: a column's training values and the target, plus the settings.

    `values` has shape (rows,): doubles with NaN for a gap, or strings with "" for a gap. `target` holds
    numbers, or level positions for a classification.
    """

    values: npt.NDArray[Any]
    target: Floats
    task: Task
    unseen_is_gap: bool = False
    target_smoothing: float = 20.0


class Encoder(ABC):
    """A fitted encoding of one column. Kinds are frozen dataclasses of plain values.

    `nodes` is given every column of its kind, so that one block of vector operations serves them all.
    """

    accepts: ClassVar[frozenset[str]]
    gives_codes: ClassVar[bool] = False
    uses_target: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, learning: EncoderInput) -> Self:
        """Learn from training values; never fails on gaps, constants or a single row."""

    @abstractmethod
    def names(self, column: str) -> tuple[str, ...]:
        """Return the names of the matrix columns this column becomes."""

    @classmethod
    @abstractmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        """Write the columns, which are inputs of the graph, and return a double of shape (rows, width)."""
