"""All encoders of a table together: fitted column by column, written as one block of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.task import Task
from estimator.core.text import did_you_mean
from estimator.data.schema import Batch, Column, Schema
from estimator.errors import ConfigError
from estimator.features.encoders import SHELF, Encoder, EncoderInput
from estimator.graph.builder import DOUBLE, STRING, Graph, Output
from estimator.graph.session import Session

# (what the model wants, the column's kind) -> encoder; `wide` is a category beyond the limit.
DEFAULTS = {
    ("scaled", "number"): "standard",
    ("scaled", "integer"): "standard",
    ("scaled", "boolean"): "standard",
    ("scaled", "category"): "onehot",
    ("scaled", "wide"): "target_mean",
    ("scaled", "text"): "tfidf",
    ("scaled", "date"): "calendar_standard",
    ("scaled", "datetime"): "calendar_standard",
    ("raw", "number"): "raw",
    ("raw", "integer"): "raw",
    ("raw", "boolean"): "raw",
    ("raw", "category"): "codes",
    ("raw", "wide"): "target_mean",
    ("raw", "text"): "words",
    ("raw", "date"): "calendar",
    ("raw", "datetime"): "calendar",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """How encoders are chosen: by what the model wants, with named columns settled by the config."""

    wants: str
    max_categories: int
    target_smoothing: float = 20.0
    settled: Mapping[str, str] | None = None

    def of(self, column: Column) -> str:
        """Return the encoder kind of a column.

        Raises
        ------
        ConfigError: the config names an encoder that does not take this kind of column.
        """
        named = (self.settled or {}).get(column.name)
        if named is None:
            wide = column.kind == "category" and len(column.categories) > self.max_categories
            return DEFAULTS[self.wants, "wide" if wide else column.kind]
        if column.kind not in SHELF.load(named).accepts:
            fitting = [kind for kind in SHELF.names() if column.kind in SHELF.load(kind).accepts]
            raise ConfigError(
                f"features.columns.{column.name}.encoder: {named!r} does not take a {column.kind}",
                hint=f"encoders that do: {', '.join(fitting)}",
            )
        return named


@dataclass(frozen=True)
class Features:
    """Fitted encoders by column, in schema order; the matrix is grouped by encoder kind."""

    columns: tuple[Column, ...]
    kinds: Mapping[str, str]
    encoders: Mapping[str, Encoder]

    @classmethod
    def fit(cls, schema: Schema, batch: Batch, target: Floats, task: Task, choice: Choice) -> Features:
        """Learn every column's encoding from training rows."""
        unknown = set(choice.settled or {}) - {column.name for column in schema.features}
        if unknown:
            name = sorted(unknown)[0]
            hint = did_you_mean(name, (column.name for column in schema.features))
            why = ": the column is not used, or it parts the rows" if name in schema.by_name else ""
            raise ConfigError(f"features.columns: no feature called {name!r}{why}", hint=hint)
        kinds = {column.name: choice.of(column) for column in schema.features}
        return cls(schema.features, kinds, {})._fitted(batch, target, task, choice.target_smoothing)

    def _fitted(self, batch: Batch, target: Floats, task: Task, target_smoothing: float) -> Features:
        encoders = {}
        for column in self.columns:
            learning = EncoderInput(
                batch.feed[column.name][:, 0], target, task, column.unknown == "missing", target_smoothing
            )
            encoders[column.name] = SHELF.load(self.kinds[column.name]).fit(learning)
        return replace(self, encoders=encoders)

    @cached_property
    def supervised(self) -> Features:
        """The columns whose encoders learn from the target, alone."""
        columns = tuple(column for column in self.columns if SHELF.load(self.kinds[column.name]).uses_target)
        names = {column.name for column in columns}
        kept = {name: kind for name, kind in self.kinds.items() if name in names}
        return Features(columns, kept, {name: self.encoders[name] for name in kept})

    @cached_property
    def groups(self) -> dict[str, dict[str, Encoder]]:
        """Encoder kind -> its columns, in the order of the matrix."""
        found: dict[str, dict[str, Encoder]] = {}
        for name, kind in self.kinds.items():
            found.setdefault(kind, {})[name] = self.encoders[name]
        return found

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix columns."""
        members = [item for group in self.groups.values() for item in group.items()]
        return tuple(name for column, encoder in members for name in encoder.names(column))

    @cached_property
    def membership(self) -> Floats:
        """Which column each matrix column is of, as ones in (width, columns); columns are in schema order."""
        places = {column.name: place for place, column in enumerate(self.columns)}
        widths = [(name, len(encoder.names(name))) for group in self.groups.values() for name, encoder in group.items()]
        return np.eye(len(places))[[places[name] for name, width in widths for _ in range(width)]]

    @cached_property
    def categorical(self) -> tuple[int, ...]:
        """Positions of matrix columns that hold codes, not quantities."""
        coded = {
            name
            for kind, members in self.groups.items()
            if SHELF.load(kind).gives_codes
            for column, encoder in members.items()
            for name in encoder.names(column)
        }
        return tuple(place for place, name in enumerate(self.names) if name in coded)

    def write(self, graph: Graph) -> str:
        """Write inputs and encoders into the graph; return the matrix, a double of shape (rows, width)."""
        for column in self.columns:
            graph.input(column.name, STRING if column.is_string else DOUBLE)
        blocks = [SHELF.load(kind).nodes(graph, members) for kind, members in self.groups.items()]
        return graph("Concat", *blocks, axis=1)

    def matrix(self, batch: Batch) -> Floats:
        """Return the encoded rows, worked out by the very graph that will serve."""
        found: Floats = self._session.run(batch.feed, ["matrix"])[0]
        return found

    @cached_property
    def _session(self) -> Session:
        graph = Graph()
        return Session(graph.finish([Output("matrix", self.write(graph), DOUBLE, rank=2)]))

    def to_data(self) -> list[dict[str, Any]]:
        """Return the fitted encoders as JSON-ready data."""
        return [
            {"column": name, "kind": kind, "fitted": asdict(self.encoders[name])}  # type: ignore[call-overload] # every encoder is a dataclass
            for name, kind in self.kinds.items()
        ]

    @classmethod
    def from_data(cls, schema: Schema, data: list[dict[str, Any]]) -> Features:
        """Return the fitted encoders that `to_data` gave."""
        kinds = {item["column"]: item["kind"] for item in data}
        encoders = {
            item["column"]: SHELF.load(item["kind"])(**{key: _tuples(value) for key, value in item["fitted"].items()})
            for item in data
        }
        return cls(schema.features, kinds, encoders)


PARTS = 5


@dataclass(frozen=True)
class Encoding:
    """Rows with their encoders, and matrices of them in which no row's own truth has a part.

    What learns from the target alone, such as means by level, would tell a row its own truth. So the rows to learn
    from are parted, and each part is encoded by what the others say (cross-fitting).
    """

    features: Features
    batch: Batch
    target: Floats
    task: Task
    target_smoothing: float
    is_settled: bool = False

    @classmethod
    def fit(cls, schema: Schema, batch: Batch, target: Floats, task: Task, choice: Choice) -> Encoding:
        """Learn every column's encoding from rows."""
        return cls(Features.fit(schema, batch, target, task, choice), batch, target, task, choice.target_smoothing)

    @cached_property
    def matrix(self) -> Floats:
        """All rows, as they are encoded to be answered."""
        return self.features.matrix(self.batch)

    def learning(self, which: Mask) -> Floats:
        """Return the rows of a mask as they are learned from."""
        matrix = self.matrix[which]
        if not self._places or self.is_settled:
            return matrix
        inside = np.flatnonzero(which)
        part = np.empty(len(inside), dtype=np.int64)
        part[np.random.default_rng(40).permutation(len(inside))] = np.arange(len(inside)) % PARTS
        for number in np.unique(part):
            here, others = inside[part == number], inside[part != number]
            matrix[np.ix_(part == number, self._places)] = self._by(others if len(others) else here, here)
        return matrix

    def answering(self, learned: Mask, which: Mask) -> Floats:
        """Return the rows of a mask, as they are encoded by those that were learned from."""
        matrix = self.matrix[which]
        if self._places and not self.is_settled:
            matrix[:, self._places] = self._by(np.flatnonzero(learned), np.flatnonzero(which))
        return matrix

    @cached_property
    def _places(self) -> list[int]:
        """Where in the matrix the supervised columns are."""
        own = set(self.features.supervised.names)
        return [place for place, name in enumerate(self.features.names) if name in own]

    def _by(self, learned: Ints, which: Ints) -> Floats:
        rows = self.batch.rows(learned)
        fitted = self.features.supervised._fitted(rows, self.target[learned], self.task, self.target_smoothing)
        return fitted.matrix(self.batch.rows(which))


def _tuples(value: Any) -> Any:
    """Lists of JSON back to tuples, so that fitted encoders stay hashable and equal."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
