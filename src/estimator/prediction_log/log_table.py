"""Logged predictions as a table: the columns of their versions' schemas, the label, and the log's own columns."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from estimator.data.schema import Column
from estimator.data.schema.cells import CellError, number_text, read_cell
from estimator.data.schema.column import EPOCH, TIME_KINDS
from estimator.prediction_log.records import PredictionRecord
from estimator.store.artefact import Artefact

TIME = pl.Datetime("us", "UTC")
DTYPES: Mapping[str, Any] = {
    "number": pl.Float64,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
    "date": pl.Date,
    "datetime": TIME,
}
PYTHON_TYPES: Mapping[Any, Any] = {pl.Boolean: bool, pl.Int64: int}
# The type of a column that has one of these two types in some versions and the other in the rest.
WIDER: Sequence[tuple[Any, set[Any]]] = ((pl.Float64, {pl.Int64, pl.Float64}), (TIME, {pl.Date, TIME}))
PREFIX = "log_"
# Distinct values of a column whose parsed form is remembered.
MAX_CACHED_VALUES = 20_000


class LogPage(NamedTuple):
    """Some rows of the table, how many of them have a label, and their number by version.

    `unreadable` counts, by column, the values that are not of its type and are missing in the table.
    """

    rows: pl.DataFrame
    n_labels: int
    versions: Counter[str]
    unreadable: Counter[str]


@dataclass(frozen=True)
class LogTable:
    """The table of the predictions of some versions of a model; a version that is not among them is read as the first.

    Inputs and the label have the names and types of the versions' schemas; a column of two types has the wider one, or
    is text. The log's own columns begin with `log_`, or with one more underscore for as long as one of them would have
    the name of an input or label. `for_training`, they are left out, and so are rows without a label.
    """

    versions: Sequence[Artefact]
    for_training: bool = False

    @cached_property
    def private_columns(self) -> list[str]:
        """The inputs that are not in the log, because a version's `serving.private_columns` names them."""
        return list(dict.fromkeys(name for artefact in self.versions for name in _private(artefact)))

    @cached_property
    def formatted_columns(self) -> list[str]:
        """The inputs whose text is read by another thousands or decimal separator than that of plain numbers."""
        columns = [column for artefact in self.versions for column in _logged_columns(artefact)]
        return list(dict.fromkeys(c.name for c in columns if c.thousands or c.decimal != "."))

    @cached_property
    def prefix(self) -> str:
        """What the log's own columns begin with."""
        prefix, names = PREFIX, {*self._inputs, *self._targets}
        while any(f"{prefix}{name}" in names for name in (*self._request, *self._response)):
            prefix += "_"
        return prefix

    @cached_property
    def dtypes(self) -> dict[str, Any]:
        """The columns of the table, in order, and their types."""
        if self.for_training:
            return {**self._inputs, **self._targets}
        request, response = (
            {f"{self.prefix}{name}": dtype for name, dtype in own.items()} for own in (self._request, self._response)
        )
        return {**request, **self._inputs, **self._targets, **response}

    def page(self, records: Sequence[PredictionRecord]) -> LogPage:
        """Return records as rows."""
        unreadable, versions, n_labels, rows = Counter[str](), Counter[str](), 0, []
        for record in records:
            reader = self._readers.get(record.version) or self._readers[self.versions[0].version]
            row = reader.read(record, unreadable)
            has_label = row.get(reader.target) is not None
            if self.for_training and not has_label:
                continue
            own = {} if self.for_training else _own_values(record, is_text=self._response["prediction"] == pl.String)
            rows.append({**row, **{f"{self.prefix}{name}": value for name, value in own.items()}})
            versions[record.version] += 1
            n_labels += has_label
        columns = [pl.Series(name, [row.get(name) for row in rows], dtype) for name, dtype in self.dtypes.items()]
        return LogPage(pl.DataFrame(columns), n_labels, versions, unreadable)

    @cached_property
    def _readers(self) -> dict[str, _RowReader]:
        dtypes = {**self._inputs, **self._targets}
        return {artefact.version: _RowReader(artefact, dtypes) for artefact in self.versions}

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        columns = [column for artefact in self.versions for column in _logged_columns(artefact)]
        return _merged([(column.name, DTYPES.get(column.kind, pl.String)) for column in columns])

    @cached_property
    def _targets(self) -> dict[str, Any]:
        return _merged([(artefact.schema.target.name, _label_dtype(artefact)) for artefact in self.versions])

    @property
    def _request(self) -> dict[str, Any]:
        return {"id": pl.String, "time": TIME, "version": pl.String}

    @cached_property
    def _response(self) -> dict[str, Any]:
        outputs = {name for artefact in self.versions for name in artefact.predictor.outputs}
        tasks = [artefact.predictor.task for artefact in self.versions]
        columns = {"prediction": pl.Float64 if all(task.is_regression for task in tasks) else pl.String}
        columns |= {name: pl.Float64 for name in ("prediction_low", "prediction_high") if name in outputs}
        columns |= {"prediction_set": pl.String} if "prediction_set" in outputs else {}
        columns |= {f"probability_{name}": pl.Float64 for task in tasks for name in task.classes}
        return {**columns, "labeled_at": TIME}


@dataclass(frozen=True)
class _RowReader:
    """Reads the inputs and labels of one version by its schema, each distinct value of a column once."""

    artefact: Artefact
    dtypes: Mapping[str, Any]
    caches: dict[str, dict[Any, Any]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def target(self) -> str:
        """The column of the label."""
        return self.artefact.schema.target.name

    @cached_property
    def _columns(self) -> list[tuple[Column, tuple[str, ...]]]:
        """The columns, and the names that rows may give them."""
        return [(column, (column.name, *column.aliases)) for column in _logged_columns(self.artefact)]

    def read(self, record: PredictionRecord, unreadable: Counter[str]) -> dict[str, Any]:
        """Return a record's inputs and label by column; count the values that are not of their column's type."""
        row: dict[str, Any] = {}
        for column, names in self._columns:
            value = next((record.inputs[name] for name in names if name in record.inputs), None)
            try:
                row[column.name] = self._cell(column, value)
            except CellError:
                unreadable[column.name] += 1
        if record.label is not None:
            try:
                label = self.artefact.target_reader.label(record.label)
                row[self.target] = _typed(label, self.artefact.schema.target.kind, self.dtypes[self.target])
            except CellError:
                unreadable[self.target] += 1
        return row

    def _cell(self, column: Column, value: Any) -> Any:
        if isinstance(value, list | dict):
            raise CellError(f"expected {column.expectation}")
        # 1, 1.0 and true are equal keys, and different values.
        cache, key = self.caches[column.name], (type(value), value)
        if key in cache:
            return cache[key]
        cell = _typed(read_cell(column, value), column.kind, self.dtypes[column.name])
        if len(cache) < MAX_CACHED_VALUES:
            cache[key] = cell
        return cell


def _typed(cell: float | str, kind: str, dtype: Any) -> Any:
    """Return a cell as a value of a column; None where it is missing."""
    if isinstance(cell, str):
        return cell or None
    if math.isnan(cell):
        return None
    if kind in TIME_KINDS:
        moment = EPOCH + timedelta(seconds=cell)
        return moment.isoformat() if dtype == pl.String else moment.date() if dtype == pl.Date else moment
    if dtype == pl.String:
        return json.dumps(bool(cell)) if kind == "boolean" else number_text(cell)
    return PYTHON_TYPES.get(dtype, float)(cell)


def _private(artefact: Artefact) -> list[str]:
    private = artefact.config["serving"]["private_columns"]
    return [column.name for column in artefact.schema.columns if column.name in private]


def _logged_columns(artefact: Artefact) -> list[Column]:
    """Return the features and the identifiers, without what a row had to fulfill when it was predicted."""
    private = _private(artefact)
    return [
        replace(column, kind=column.kind if column.is_feature else "text", nullable=True, range=None, unknown="other")
        for column in artefact.schema.columns
        if (column.is_feature or column.kind == "identifier") and column.name not in private
    ]


def _label_dtype(artefact: Artefact) -> Any:
    if not artefact.predictor.task.is_regression:
        return pl.String
    return pl.Int64 if artefact.schema.target.kind == "integer" else pl.Float64


def _merged(typed: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the type of each column: where there are two, the wider one, or else text."""
    dtypes: dict[str, Any] = {}
    for name, dtype in typed:
        both = {dtypes.get(name, dtype), dtype}
        dtypes[name] = dtype if len(both) == 1 else next((wide for wide, of in WIDER if both == of), pl.String)
    return dtypes


def _own_values(record: PredictionRecord, *, is_text: bool) -> dict[str, Any]:
    response = record.response
    prediction, interval = response["prediction"], response.get("interval") or (None, None)
    is_number = isinstance(prediction, int | float)
    if is_text:
        prediction = number_text(prediction) if is_number else prediction
    probabilities = response.get("probabilities") or {}
    return {
        "id": record.id,
        "time": EPOCH + timedelta(seconds=record.at),
        "version": record.version,
        "prediction": prediction if is_text or is_number else None,
        "prediction_low": interval[0],
        "prediction_high": interval[1],
        "prediction_set": json.dumps(response["set"], ensure_ascii=False) if "set" in response else None,
        **{f"probability_{name}": value for name, value in probabilities.items()},
        "labeled_at": None if record.labeled_at is None else EPOCH + timedelta(seconds=record.labeled_at),
    }
