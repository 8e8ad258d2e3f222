"""The contract of a model family: settings that fit, and a fitted model that writes itself into the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from estimator.config import Section, Training
from estimator.graph import Graph
from estimator.task import Floats, Task


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows: `matrix` (rows, width), `target` (rows,) as numbers or level positions, `weights` (rows,)."""

    matrix: Floats
    target: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.target)

    def pick(self, which: npt.NDArray[np.bool_]) -> Rows:
        """Return the rows of a mask."""
        return Rows(self.matrix[which], self.target[which], self.weights[which])


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything a model may look at while it fits.

    `validation` marks rows of `rows` that early stopping may decide on. `held_out` is only looked at to draw
    a curve and decides nothing. `codes` are the matrix columns that hold codes of levels.
    """

    rows: Rows
    validation: npt.NDArray[np.bool_]
    held_out: Rows | None
    task: Task
    codes: tuple[int, ...] = ()

    @property
    def fitting(self) -> Rows:
        """The rows without the validation part."""
        return self.rows.pick(~self.validation)

    @property
    def validating(self) -> Rows:
        """The validation part."""
        return self.rows.pick(self.validation)


@dataclass(frozen=True, slots=True)
class Step:
    """One epoch or round is done: `number` of `total`, with losses by name, in the target's units."""

    number: int
    total: int
    values: Mapping[str, float]


Watch = Callable[[Step], None]


def silent(step: Step) -> None:
    """Watch nothing."""


Curves = tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Fitted(ABC):
    """A fitted model. `curves` has one entry per epoch or round; `tolerance` is what parity allows."""

    tolerance: ClassVar[float]
    task: Task
    curves: Curves = field(default=(), kw_only=True)
    summary: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def predict(self, matrix: Floats) -> Floats:
        """Return numbers (rows,), or probabilities (rows, levels), by the library that fitted it."""

    @abstractmethod
    def nodes(self, graph: Graph, matrix: str) -> str:
        """Write the model; return a double of shape (rows, 1) or (rows, levels)."""

    @abstractmethod
    def state(self) -> Mapping[str, bytes]:
        """Return file name -> content of what a warm start needs; empty when there is none."""


class Model(Section, ABC):
    """The settings of a model family. Kinds are frozen and fit without changing themselves."""

    wants: ClassVar[Literal["scaled", "raw"]]
    widest: ClassVar[int]
    continues: ClassVar[bool]

    @abstractmethod
    def fit(
        self, data: TrainingData, plan: Training, *, watch: Watch = silent, start: Mapping[str, bytes] | None = None
    ) -> Fitted:
        """Fit; with `start`, the state of an earlier version, continue from it.

        Raises
        ------
        TrainingError: the settings do not suit the task, or the start does not fit the settings.
        """


def probabilities(graph: Graph, positive: str) -> str:
    """Write (rows, 1) probabilities of the second level as (rows, 2) of both."""
    one = graph.constant(1.0, np.float64)
    return graph("Concat", graph("Sub", one, positive), positive, axis=1)
