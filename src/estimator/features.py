"""All encoders of a table together: fitted column by column, written as one block of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from estimator.encoders import SHELF, Encoder, Learning
from estimator.errors import ConfigError
from estimator.graph import DOUBLE, STRING, Graph, Output
from estimator.schema import Batch, Column, Schema
from estimator.session import Session
from estimator.task import Floats, Task
from estimator.wording import did_you_mean

# (what the model wants, the column's kind) -> encoder; `wide` is a category beyond the limit.
DEFAULTS = {
    ("scaled", "number"): "standard",
    ("scaled", "integer"): "standard",
    ("scaled", "boolean"): "standard",
    ("scaled", "category"): "onehot",
    ("scaled", "wide"): "target_mean",
    ("scaled", "date"): "calendar_standard",
    ("scaled", "datetime"): "calendar_standard",
    ("raw", "number"): "raw",
    ("raw", "integer"): "raw",
    ("raw", "boolean"): "raw",
    ("raw", "category"): "codes",
    ("raw", "wide"): "target_mean",
    ("raw", "date"): "calendar",
    ("raw", "datetime"): "calendar",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """How encoders are chosen: by what the model wants, with named columns settled by the config."""

    wants: str
    widest: int
    smoothing: float = 20.0
    settled: Mapping[str, str] | None = None

    def of(self, column: Column) -> str:
        """Return the encoder kind of a column.

        Raises
        ------
        ConfigError: the config names an encoder that does not take this kind of column.
        """
        named = (self.settled or {}).get(column.name)
        if named is None:
            wide = column.kind == "category" and len(column.levels) > self.widest
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
        encoders = {}
        for column in schema.features:
            learning = Learning(batch.feed[column.name][:, 0], target, task, column.unseen == "gap", choice.smoothing)
            encoders[column.name] = SHELF.load(kinds[column.name]).fit(learning)
        return cls(schema.features, kinds, encoders)

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
            graph.input(column.name, STRING if column.is_text else DOUBLE)
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


def _tuples(value: Any) -> Any:
    """Lists of JSON back to tuples, so that fitted encoders stay hashable and equal."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
