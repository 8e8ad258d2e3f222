"""Formulas that are checked against a schema: their values for rows, and their nodes in a graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.config.formula import FormulaError, evaluation_order, parse_formula
from estimator.core.text import closest
from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.column import Kind
from estimator.errors import ConfigError
from estimator.features.formulas.nodes import FormulaWriter
from estimator.features.formulas.types import Names, Term, typed
from estimator.graph.builder import DOUBLE, STRING, Graph, Output
from estimator.graph.session import Feed, Session

# So many rows of a table show whether a formula makes sense.
NOTED_ROWS = 1000


@dataclass(frozen=True, slots=True)
class CompiledFormula:
    """A formula whose kind is known; `columns` are the raw columns that it depends on, also by other formulas."""

    name: str
    text: str
    term: Term
    columns: tuple[str, ...]
    uses: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What its values are: a number, boolean, category, date or datetime."""
        return self.term.kind


@dataclass(frozen=True)
class Formulas:
    """Formulas of a schema, each after those that it uses.

    All of them are one part of a graph, and one session computes their values.

    >>> schema = Schema((Column("price", "number"), Column("area", "number", nullable=True)), Column("y", "number"))
    >>> formulas = Formulas.compile(schema, {"per_m2": "price / area", "is_dear": "per_m2 > 10"})
    >>> [(formula.name, formula.kind, formula.columns) for formula in formulas]
    [('per_m2', 'number', ('price', 'area')), ('is_dear', 'boolean', ('price', 'area'))]
    >>> batch = schema.read_rows([{"price": 100, "area": 8}, {"price": 100, "area": 0}])
    >>> {name: values.tolist() for name, values in formulas.values(batch.feed).items()}
    {'per_m2': [[12.5], [nan]], 'is_dear': [[1.0], [nan]]}
    """

    schema: Schema
    items: tuple[CompiledFormula, ...] = ()

    @classmethod
    def compile(cls, schema: Schema, texts: Mapping[str, str]) -> Formulas:
        """Return the formulas of a schema; each may use the columns that are features, and other formulas.

        Raises
        ------
        ConfigError: names the formula, and shows the place in it.
        """
        compiled, kinds = dict[str, CompiledFormula](), dict[str, Kind]()
        names = Names(schema, kinds)
        for name in _ordered(texts):
            compiled[name] = _compiled(name, texts[name], names, compiled)
            kinds[name] = compiled[name].kind
        return cls(schema, tuple(compiled.values()))

    def to_data(self) -> dict[str, dict[str, Any]]:
        """Return JSON-ready data."""
        return {
            item.name: {"formula": item.text, "kind": item.kind, "columns": list(item.columns)} for item in self.items
        }

    def __iter__(self) -> Iterator[CompiledFormula]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> CompiledFormula:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, CompiledFormula]:
        return {formula.name: formula for formula in self.items}

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that the formulas depend on, in the order of the schema."""
        used = {column for formula in self.items for column in formula.columns}
        return tuple(column.name for column in self.schema.columns if column.name in used)

    def notes(self, batch: Batch) -> list[str]:
        """Return what may be a mistake: categories that the table does not have, and results that never vary."""
        return [*self._unknown_categories(), *self._constant_results(batch)]

    def _unknown_categories(self) -> Iterator[str]:
        for formula in self.items:
            for name, category in dict.fromkeys(_compared(formula.term)):
                column = self.schema.by_name.get(name)
                if column is not None and column.kind == "category" and category not in column.categories:
                    guess = closest(category, column.categories)
                    question = f"; did you mean {guess!r}?" if guess else ""
                    message = f"{name} has no category {category!r} in the table{question}"
                    yield f"features.formulas.{formula.name}: {message}"

    def _constant_results(self, batch: Batch) -> Iterator[str]:
        rows = batch.rows(np.unique(np.linspace(0, batch.n_rows - 1, NOTED_ROWS).astype(np.int64)))
        for name, values in self.values(rows.feed).items():
            where = f"features.formulas.{name}: the result"
            if (values == values[0]).all() or (values != values).all():
                is_missing = values[0, 0] == "" or values[0, 0] != values[0, 0]
                yield f"{where} is {'missing' if is_missing else 'the same'} in every one of {rows.n_rows:,} rows"

    def select(self, names: Collection[str]) -> Formulas:
        """Return the formulas of some names, with those that they use."""
        needed = set(names)
        for formula in reversed(self.items):
            needed |= set(formula.uses) if formula.name in needed else set()
        return Formulas(self.schema, tuple(formula for formula in self.items if formula.name in needed))

    def values(self, feed: Feed) -> dict[str, npt.NDArray[Any]]:
        """Return the values of every formula for the raw columns of checked rows, by the nodes that will serve.

        Those of `feed`, such as `Batch.feed`, have shape (rows, 1), and so have the results. These are doubles with NaN
        for a missing value; of a category, strings with "" for one.
        """
        if not self.items:
            return {}
        columns = self._session.run(feed, [f"formula_{index}" for index in range(len(self.items))])
        return {
            formula.name: values.astype(object) if formula.term.is_string else values
            for formula, values in zip(self.items, columns, strict=True)
        }

    def json_rows(self, batch: Batch) -> list[dict[str, Any]]:
        """Return the values of every formula for each of some rows as JSON has them: null for a missing value."""
        results = Schema(tuple(Column(item.name, item.kind) for item in self.items), self.schema.target)
        values = Batch(self.values(batch.feed), batch.n_rows)
        return [results.to_json_row(values, index) for index in range(batch.n_rows)]

    @cached_property
    def _session(self) -> Session:
        graph = Graph()
        inputs = {name: name for name in self.columns}
        for name in inputs:
            graph.input(name, STRING if self.schema.by_name[name].is_string else DOUBLE)
        written = self.write(graph, inputs)
        return Session(
            graph.finish(
                [
                    Output(f"formula_{index}", written[item.name], STRING if item.term.is_string else DOUBLE, rank=2)
                    for index, item in enumerate(self.items)
                ]
            )
        )

    def write(self, graph: Graph, inputs: Mapping[str, str]) -> dict[str, str]:
        """Write every formula and return its value, of shape (rows, 1); `inputs` are the values of raw columns."""
        writer = FormulaWriter(graph, inputs, self.schema.by_name)
        for formula in self.items:
            writer.values[formula.name] = writer.write(formula.term)
        return {formula.name: writer.values[formula.name] for formula in self.items}


def _ordered(texts: Mapping[str, str]) -> list[str]:
    for name, text in texts.items():
        try:
            parse_formula(text)
        except FormulaError as error:
            raise ConfigError(f"features.formulas.{name}: {error.message}", hint=error.hint) from None
    try:
        return evaluation_order(texts)
    except FormulaError as error:
        raise ConfigError(f"features.formulas: {error.message}", hint=error.hint) from None


def _compiled(name: str, text: str, names: Names, others: Mapping[str, CompiledFormula]) -> CompiledFormula:
    schema = names.schema
    if schema.resolve(name) is not None:
        raise ConfigError(f"features.formulas.{name}: the table has a column of this name", hint="choose another name")
    try:
        term = typed(parse_formula(text), text, names)
    except FormulaError as error:
        raise ConfigError(f"features.formulas.{name}: {error.message}", hint=error.hint) from None
    used = tuple(dict.fromkeys(_named(term)))
    columns = {column for item in used for column in (others[item].columns if item in others else (item,))}
    return CompiledFormula(
        name,
        text,
        term,
        tuple(column.name for column in schema.columns if column.name in columns),
        tuple(item for item in used if item in others),
    )


def _compared(term: Term) -> Iterator[tuple[str, str]]:
    """Yield (column, category) of each category that a term compares a column with."""
    if term.operation in ("compare", "in"):
        columns = [str(item.value) for item in term.arguments if item.operation == "column"]
        categories = [str(item.value) for item in term.arguments if item.is_constant and item.is_string]
        yield from product(columns, categories)
    for argument in term.arguments:
        yield from _compared(argument)


def _named(term: Term) -> Iterator[str]:
    """Yield the columns and formulas that a term names."""
    if term.operation == "column":
        yield str(term.value)
    for argument in term.arguments:
        yield from _named(argument)
