"""The matrix a model learns from: every feature's encoder, fitted to the rows and written as one part of the graph."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Indices, Mask
from estimator.core.stored_matrix import Matrix, StoredMatrix, with_columns
from estimator.core.task import Task
from estimator.core.text import did_you_mean
from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.schema import StoredFeed
from estimator.errors import ConfigError
from estimator.features.encoders import SHELF, Encoder, EncoderInput
from estimator.features.formulas import CompiledFormula, Formulas
from estimator.graph.builder import DOUBLE, STRING, Graph, Output
from estimator.graph.session import Feed, Session

# (what the model wants, the column's kind) -> encoder; `wide` is a category with more than `max_categories`.
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
N_CROSS_FIT_FOLDS = 5


@dataclass(frozen=True, slots=True)
class EncoderRules:
    """Which encoder a column or formula gets: the one that the config names, or the default for what the model wants.

    `formulas` are those of the config, by name.
    """

    wants: str
    max_categories: int
    target_smoothing: float = 20.0
    named: Mapping[str, str] | None = None
    formulas: Mapping[str, str] = field(default_factory=dict)

    def kind_for(self, column: Column) -> str:
        """Return the encoder kind of a column.

        Raises
        ------
        ConfigError: the config names an encoder that does not accept the column's kind.
        """
        kind = (self.named or {}).get(column.name)
        if kind is None:
            is_wide = column.kind == "category" and len(column.categories) > self.max_categories
            return DEFAULTS[self.wants, "wide" if is_wide else column.kind]
        if column.kind not in SHELF.load(kind).accepts:
            suitable = [name for name in SHELF.names() if column.kind in SHELF.load(name).accepts]
            raise ConfigError(
                f"features.columns.{column.name}.encoder: {kind!r} does not accept a {column.kind}",
                hint=f"encoders that do: {', '.join(suitable)}",
            )
        return kind


@dataclass(frozen=True)
class Features:
    """Fitted encoders by column, in schema order; the columns of the matrix are grouped by encoder kind.

    `columns` are those that are encoded: features of the schema, then `formulas`, each as a column of its kind. The
    graph takes the raw columns `inputs`. `medians` are those of the numbers and times that are imputed before they are
    encoded, or used in a formula.
    """

    columns: tuple[Column, ...]
    kinds: Mapping[str, str]
    encoders: Mapping[str, Encoder]
    inputs: tuple[Column, ...]
    formulas: Formulas
    medians: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(cls, schema: Schema, batch: Batch, target: Floats, task: Task, rules: EncoderRules) -> Features:
        """Fit an encoder to every feature.

        Raises
        ------
        ConfigError: `rules` names a column that is not a feature, or an encoder that does not accept it.
        """
        formulas = Formulas.compile(schema, rules.formulas)
        medians = _medians(schema.features, batch)
        values = _formula_values(formulas, medians, batch)
        columns = (*schema.encoded, *(_as_column(formula, values[formula.name]) for formula in formulas))
        features = [column.name for column in columns]
        for name in sorted(set(rules.named or {}) - set(features)):
            reason = ": the column is not used, or it decides the split" if name in schema.by_name else ""
            raise ConfigError(
                f"features.columns: no feature called {name!r}{reason}", hint=did_you_mean(name, features)
            )
        kinds = {column.name: rules.kind_for(column) for column in columns}
        unfitted = cls(columns, kinds, {}, schema.features, formulas, medians)
        return unfitted._fitted(values, batch, target, task, rules.target_smoothing)

    def with_schema(self, schema: Schema) -> Features:
        """Return the same encoders for a schema with the same features, whose ranges and categories may differ."""
        formulas = Formulas.compile(schema, {formula.name: formula.text for formula in self.formulas})
        of_formulas = [column for column in self.columns if column.name not in schema.by_name]
        return replace(self, columns=(*schema.encoded, *of_formulas), inputs=schema.features, formulas=formulas)

    def fitted_again(self, batch: Batch, target: Floats, task: Task, target_smoothing: float) -> Features:
        """Return encoders of the same kinds, fitted to other rows."""
        medians = _medians(self.inputs, batch)
        values = _formula_values(self.formulas, medians, batch)
        return replace(self, encoders={}, medians=medians)._fitted(values, batch, target, task, target_smoothing)

    def _fitted(self, values_of: Feed, batch: Batch, target: Floats, task: Task, target_smoothing: float) -> Features:
        """Return the encoders of the columns and formulas, which have `values_of`, one after another."""
        feed, encoders = ChainMap(dict(values_of), _Imputed(batch.feed, self.medians)), {}  # type: ignore[arg-type] # read only
        for column in self.columns:
            values, unknown_is_missing = feed[column.name][:, 0], column.unknown == "missing"
            training = EncoderInput(values, target, task, unknown_is_missing, target_smoothing)
            encoders[column.name] = SHELF.load(self.kinds[column.name]).fit(training)
        return replace(self, encoders=encoders)

    @cached_property
    def supervised(self) -> Features:
        """The columns whose encoders learn from the target."""
        columns = tuple(column for column in self.columns if SHELF.load(self.kinds[column.name]).uses_target)
        names = {column.name for column in columns}
        formulas = self.formulas.select(names)
        needed = names | set(formulas.columns)
        return replace(
            self,
            columns=columns,
            kinds={name: kind for name, kind in self.kinds.items() if name in names},
            encoders={name: encoder for name, encoder in self.encoders.items() if name in names},
            inputs=tuple(column for column in self.inputs if column.name in needed),
            formulas=formulas,
            medians={name: median for name, median in self.medians.items() if name in needed},
        )

    @cached_property
    def groups(self) -> dict[str, dict[str, Encoder]]:
        """Encoder kind -> its columns with their encoders, in the order of the matrix."""
        groups: dict[str, dict[str, Encoder]] = {}
        for name, kind in self.kinds.items():
            groups.setdefault(kind, {})[name] = self.encoders[name]
        return groups

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix columns."""
        return tuple(name for name, _ in self._origins)

    @cached_property
    def membership(self) -> Floats:
        """The feature that each matrix column belongs to, as ones in (width, features); features in schema order."""
        index_of = {column.name: index for index, column in enumerate(self.columns)}
        return np.eye(len(index_of))[[index_of[column] for _, column in self._origins]]

    @cached_property
    def categorical(self) -> tuple[int, ...]:
        """Indices of the matrix columns that hold codes, not quantities."""
        coded = {name for name, kind in self.kinds.items() if SHELF.load(kind).gives_codes}
        return tuple(index for index, (_, column) in enumerate(self._origins) if column in coded)

    @cached_property
    def _origins(self) -> list[tuple[str, str]]:
        """Each matrix column with the feature it comes from."""
        members = [item for group in self.groups.values() for item in group.items()]
        return [(name, column) for column, encoder in members for name in encoder.names(column)]

    def write(self, graph: Graph) -> str:
        """Write inputs and encoders into the graph; return the matrix, a double of shape (rows, width)."""
        for column in self.inputs:
            graph.input(column.name, STRING if column.is_string else DOUBLE)
        inputs = {column.name: self._write_input(graph, column.name) for column in self.inputs}
        inputs |= self.formulas.write(graph, inputs)
        blocks = [
            SHELF.load(kind).nodes(graph, {inputs[name]: encoder for name, encoder in members.items()})
            for kind, members in self.groups.items()
        ]
        return graph("Concat", *blocks, axis=1)

    def _write_input(self, graph: Graph, name: str) -> str:
        """Write what the encoder of a column takes: the input, or the median where it is missing and imputed."""
        if name not in self.medians:
            return name
        return graph("Where", graph("IsNaN", name), graph.constant(self.medians[name], np.float64), name)

    def matrix(self, batch: Batch) -> Floats:
        """Return the encoded rows, computed by the same graph that will serve."""
        matrix: Floats = self._session.run(batch.feed, ["matrix"])[0]
        return matrix

    def stored_matrix(self, batch: Batch) -> Matrix:
        """Return the encoded rows; those of a batch that is not in memory are encoded when they are read."""
        if not isinstance(batch.feed, StoredFeed):
            return self.matrix(batch)
        return StoredMatrix(batch.feed.encoded(self.matrix, len(self.names)))

    @cached_property
    def _session(self) -> Session:
        graph = Graph()
        return Session(graph.finish([Output("matrix", self.write(graph), DOUBLE, rank=2)]))

    def to_data(self) -> list[dict[str, Any]]:
        """Return the fitted encoders as JSON-ready data."""
        formulas = {formula.name for formula in self.formulas}
        return [
            {
                "column": name,
                "kind": kind,
                "fitted": asdict(self.encoders[name]),  # type: ignore[call-overload] # every encoder is a dataclass
                **({"median": self.medians[name]} if name in self.medians else {}),
                **(self._formula_data(name) if name in formulas else {}),
            }
            for name, kind in self.kinds.items()
        ]

    def _formula_data(self, name: str) -> dict[str, Any]:
        formula = self.formulas[name]
        medians = {column: self.medians[column] for column in formula.columns if column in self.medians}
        return {"formula": formula.text, **({"medians": medians} if medians else {})}

    @classmethod
    def from_data(cls, schema: Schema, data: list[dict[str, Any]]) -> Features:
        """Return the fitted encoders that `to_data` described."""
        kinds = {item["column"]: item["kind"] for item in data}
        encoders = {
            item["column"]: SHELF.load(item["kind"])(**{key: _as_tuple(value) for key, value in item["fitted"].items()})
            for item in data
        }
        medians = {item["column"]: item["median"] for item in data if "median" in item}
        for item in data:
            medians |= item.get("medians", {})
        formulas = Formulas.compile(schema, {item["column"]: item["formula"] for item in data if "formula" in item})
        columns = (*schema.encoded, *(Column(formula.name, formula.kind) for formula in formulas))
        return cls(columns, kinds, encoders, schema.features, formulas, medians)


@dataclass(frozen=True)
class CrossFittedFeatures:
    """Training rows with their encoders, and matrices of them that do not leak a row's own label.

    An encoder that learns from the target, such as the mean per category, would reveal to a row its own label. So the
    training rows are split into folds, and each fold is encoded by what the other folds say (cross-fitting).
    """

    features: Features
    batch: Batch
    target: Floats
    task: Task
    target_smoothing: float
    # Encoders of an earlier version are used as they are: they did not see these rows.
    is_fixed: bool = False
    # The matrix of rows that are not in memory is written into a file, for several looks at it.
    keeps_matrix: bool = False

    @classmethod
    def fit(cls, schema: Schema, batch: Batch, target: Floats, task: Task, rules: EncoderRules) -> CrossFittedFeatures:
        """Fit an encoder to every feature of the rows."""
        return cls(Features.fit(schema, batch, target, task, rules), batch, target, task, rules.target_smoothing)

    @cached_property
    def matrix(self) -> Matrix:
        """All rows, encoded as for prediction."""
        matrix, feed = self.features.stored_matrix(self.batch), self.batch.feed
        if self.keeps_matrix and isinstance(matrix, StoredMatrix) and isinstance(feed, StoredFeed):
            return StoredMatrix(feed.kept(matrix.cells))
        return matrix

    def for_folds(self) -> CrossFittedFeatures:
        """Return what fits of folds need, which may run elsewhere: the raw columns that are encoded for each fold."""
        if isinstance(self.batch.feed, StoredFeed):
            # Nothing is copied: each fit reads the rows from files.
            return self
        inputs = [] if self.is_fixed else [column.name for column in self.features.supervised.inputs]
        feed = {name: self.batch.feed[name] for name in inputs}
        needed = replace(self, batch=Batch(feed, self.batch.n_rows))
        # A cached property, computed once for all folds.
        vars(needed)["matrix"] = self.matrix
        return needed

    def training_matrix(self, mask: Mask) -> Matrix:
        """Return the rows of a mask, cross-fitted, for a model to learn from."""
        matrix = self.matrix[mask]
        if not self._supervised_columns or self.is_fixed:
            return matrix
        rows = np.flatnonzero(mask)
        fold = np.empty(len(rows), dtype=np.int64)
        fold[np.random.default_rng(40).permutation(len(rows))] = np.arange(len(rows)) % N_CROSS_FIT_FOLDS
        encoded = np.empty((len(rows), len(self._supervised_columns)))
        for number in np.unique(fold):
            inside, outside = rows[fold == number], rows[fold != number]
            encoded[fold == number] = self._encoded_by(outside if len(outside) else inside, inside)
        return with_columns(matrix, dict(zip(self._supervised_columns, encoded.T, strict=True)))

    def validation_matrix(self, learned: Mask, mask: Mask) -> Matrix:
        """Return the rows of a mask, encoded by encoders that are fitted to the rows of `learned` only."""
        matrix = self.matrix[mask]
        if not self._supervised_columns or self.is_fixed:
            return matrix
        encoded = self._encoded_by(np.flatnonzero(learned), np.flatnonzero(mask))
        return with_columns(matrix, dict(zip(self._supervised_columns, encoded.T, strict=True)))

    @cached_property
    def _supervised_columns(self) -> list[int]:
        """Indices of the matrix columns whose encoders learn from the target."""
        names = set(self.features.supervised.names)
        return [index for index, name in enumerate(self.features.names) if name in names]

    def _encoded_by(self, learned: Indices, rows: Indices) -> Floats:
        supervised = self.features.supervised
        batch = self.batch.rows(learned)
        fitted = supervised.fitted_again(batch, self.target[learned], self.task, self.target_smoothing)
        return np.concatenate([fitted.matrix(block) for block in self.batch.rows(rows).blocks()])


@dataclass(frozen=True, slots=True)
class _Imputed(Mapping[str, npt.NDArray[Any]]):
    """Columns with their medians in place of missing values, each computed when it is asked for."""

    feed: Feed
    medians: Mapping[str, float]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        values = self.feed[name]
        return np.where(np.isnan(values), self.medians[name], values) if name in self.medians else values

    def __iter__(self) -> Iterator[str]:
        return iter(self.feed)

    def __len__(self) -> int:
        return len(self.feed)


def _medians(columns: Sequence[Column], batch: Batch) -> dict[str, float]:
    """Return the medians of the columns that are imputed."""
    return {
        column.name: _median(batch.feed[column.name]) for column in columns if column.imputes and not column.is_string
    }


def _formula_values(formulas: Formulas, medians: Mapping[str, float], batch: Batch) -> dict[str, npt.NDArray[Any]]:
    """Return the values of formulas, of shape (rows, 1), for rows whose missing values are imputed."""
    if not len(formulas):
        return {}
    parts = [formulas.values(_Imputed(block.feed, medians)) for block in batch.blocks()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _as_column(formula: CompiledFormula, values: npt.NDArray[Any]) -> Column:
    """Return a formula as a column of its kind, with the categories of its values."""
    categories = Counter(map(str, values[values != ""].tolist())) if formula.kind == "category" else {}
    return Column(formula.name, formula.kind, categories=categories)


def _median(values: Floats) -> float:
    """Return the median of the values that are not missing, which is one of them; 0 where all are missing."""
    present = values[~np.isnan(values)]
    return float(np.quantile(present, 0.5, method="inverted_cdf")) if len(present) else 0.0


def _as_tuple(value: Any) -> Any:
    """Turn the lists of JSON back into tuples, so that fitted encoders are hashable and equal."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
