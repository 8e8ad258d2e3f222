"""The contract of a model family: settings that fit, and a fitted model that writes itself into the graph."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from estimator.config import Callback, Section, Training
from estimator.core.arrays import Floats, Mask
from estimator.core.task import Task
from estimator.data.schema import Schema
from estimator.errors import TrainingError
from estimator.features.matrix import Features
from estimator.graph.builder import Graph, Value
from estimator.models.fitted import Additions, Learned, Single, Table


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows: `matrix` (rows, width), `target` (rows,) as numbers or level positions, `weights` (rows,)."""

    matrix: Floats
    target: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.target)

    def pick(self, which: Mask) -> Rows:
        """Return the rows of a mask."""
        return Rows(self.matrix[which], self.target[which], self.weights[which])


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything a model may look at while it fits.

    `validation` marks rows of `rows` that early stopping may decide on; a family may learn from them afterwards.
    `outside` are rows to decide on instead, which are never learned from: a fold's. `held_out` is only looked at to
    draw a curve and decides nothing. `codes` are the matrix columns that hold codes of levels. `threads` is how many
    a family may use, 0 for all.
    """

    rows: Rows
    validation: Mask
    held_out: Rows | None
    task: Task
    codes: tuple[int, ...] = ()
    outside: Rows | None = None
    threads: int = 0

    @property
    def fitting(self) -> Rows:
        """The rows to learn from while others decide."""
        return self.rows if self.outside is not None else self.rows.pick(~self.validation)

    @property
    def validating(self) -> Rows:
        """The rows that decide."""
        return self.outside if self.outside is not None else self.rows.pick(self.validation)

    @property
    def can_stop(self) -> bool:
        """Whether there are rows that early stopping may decide on."""
        return bool(self.validation.any()) if self.outside is None else len(self.outside) > 0


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One epoch, round or fit is done: `number` of `total`, with losses by name, in the target's units."""

    number: int
    total: int
    values: Mapping[str, float]
    what: str = ""


Progress = Callable[[TrainingStep], None]


def silent(step: TrainingStep) -> None:
    """Report nothing."""


Item = TypeVar("Item")
Found = TypeVar("Found")


def side_by_side(
    items: Sequence[Item], work: Callable[[Item], Found], *, at_once: int = 0, progress: Progress = silent
) -> list[Found]:
    """Do some work for every item, so many at once, 0 for one a processor; the callback sees how many are done."""
    from threadpoolctl import threadpool_limits

    done, lock = [0], Lock()

    def run(item: Item) -> Found:
        found = work(item)
        with lock:
            done[0] += 1
            progress(TrainingStep(done[0], len(items), {}, "fits over folds"))
        return found

    pool = ThreadPoolExecutor(at_once or os.cpu_count())
    try:
        with threadpool_limits(1, user_api="blas"):
            return list(pool.map(run, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


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

    def contributions(self, matrix: Floats, background: Floats) -> Additions | None:
        """Return exactly what each matrix column adds to each row's number, or log odds of the second of two levels.

        None where only sampling can tell. `background` are the rows a family may compare with.
        """
        return None

    @classmethod
    def mean_of(cls, fitted: Sequence[Fitted]) -> Fitted:
        """Return one fitted model whose answers are the mean of several of this family."""
        return fitted[0] if len(fitted) == 1 else Mean(fitted[0].task, tuple(fitted))


@dataclass(frozen=True)
class Mean(Fitted):
    """Several fitted models of one family that answer together."""

    members: tuple[Fitted, ...] = ()

    @property
    def tolerance(self) -> float:  # type: ignore[override] # that of its members
        return self.members[0].tolerance

    def predict(self, matrix: Floats) -> Floats:
        found: Floats = np.mean([member.predict(matrix) for member in self.members], axis=0)
        return found

    def nodes(self, graph: Graph, matrix: str) -> str:
        total = Value(graph, self.members[0].nodes(graph, matrix))
        for member in self.members[1:]:
            total = total + Value(graph, member.nodes(graph, matrix))
        return (total / float(len(self.members))).name

    def contributions(self, matrix: Floats, background: Floats) -> Additions | None:
        # The mean of probabilities is not that of log odds.
        parts = [member.contributions(matrix, background) for member in self.members if self.task.is_regression]
        return Additions.weighed([(part, 1.0 / len(parts)) for part in parts])

    def state(self) -> Mapping[str, bytes]:
        states = [member.state() for member in self.members]
        return {f"{place}/{name}": content for place, state in enumerate(states) for name, content in state.items()}


@dataclass(frozen=True, slots=True)
class Start:
    """What an earlier version hands to the next: its schema, fitted encoders and model state."""

    version: str
    schema: Schema
    features: Features
    state: Mapping[str, bytes]

    def taken_up(self, schema: Schema) -> Features:
        """Return the encoders for a table with the same columns.

        Raises
        ------
        TrainingError: it has others.
        """
        before = {column.name: column.kind for column in self.schema.features}
        now = {column.name: column.kind for column in schema.features}
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if not changed:
            return replace(self.features, columns=schema.features)
        told = ", ".join(f"{name} ({before.get(name, 'absent')} -> {now.get(name, 'absent')})" for name in changed[:5])
        raise TrainingError(
            f"the version {self.version} has other columns than this table: {told}",
            hint="train without --from, or bring the columns back",
        )


class Model(Section, ABC):
    """The settings of a kind of model. Kinds are frozen and learn without changing themselves.

    `usual_space` is what a search tries when the config names none, as it would stand in `tuning.space`.
    """

    continues: ClassVar[bool]
    usual_space: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def learn(
        self, table: Table, plan: Training, *, progress: Progress = silent, start: Start | None = None
    ) -> Learned:
        """Learn from a table; with `start`, go on from an earlier version.

        Raises
        ------
        TrainingError: the settings do not suit the task, or the start does not fit the table.
        """


class MatrixModel(Model):
    """A family that learns from one matrix: `wants` says how columns are encoded for it.

    Categories with more than `max_categories` levels become target means. `stopping` are the callbacks that end a fit in
    folds when the config has none.
    """

    wants: ClassVar[Literal["scaled", "raw"]]
    max_categories: ClassVar[int]
    stopping: ClassVar[tuple[Callback, ...]] = ()

    @abstractmethod
    def fit(
        self,
        data: TrainingData,
        plan: Training,
        *,
        progress: Progress = silent,
        start: Mapping[str, bytes] | None = None,
    ) -> Fitted:
        """Fit; with `start`, the state of an earlier version, continue from it.

        Raises
        ------
        TrainingError: the settings do not suit the task, or the start does not fit the settings.
        """

    def learn(
        self, table: Table, plan: Training, *, progress: Progress = silent, start: Start | None = None
    ) -> Learned:
        if start is not None and not self.continues:
            raise TrainingError(f"this kind of model cannot continue from {start.version}", hint="train without --from")
        encoding = table.encoding(self, None if start is None else start.taken_up(table.schema))
        everything = np.ones(len(table.rows), dtype=np.bool_)
        rows = Rows(encoding.learning(everything), table.rows.target, table.rows.weights)
        held_out = table.held_out
        watched = None
        if held_out is not None:
            watched = Rows(encoding.features.matrix(held_out.batch), held_out.target, held_out.weights)
        codes, threads = encoding.features.categorical, table.threads
        data = TrainingData(rows, table.validation, watched, table.task, codes, threads=threads)
        state = None if start is None else start.state
        return Single(table.task, encoding.features, self.fit(data, plan, progress=progress, start=state))


def probabilities(graph: Graph, positive: str) -> str:
    """Write (rows, 1) probabilities of the second level as (rows, 2) of both."""
    one = graph.constant(1.0, np.float64)
    return graph("Concat", graph("Sub", one, positive), positive, axis=1)
