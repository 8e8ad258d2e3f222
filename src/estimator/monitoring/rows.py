"""Rows of the prediction log -> what is watched: bins, answers, losses, and whether intervals held the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.core.task import MIN_PROBABILITY, Predictions, Task
from estimator.core.text import format_plain
from estimator.data.schema import Batch, Column
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.schema import as_array
from estimator.drift import Current, Reference
from estimator.drift.reference import Codes, values_of
from estimator.errors import MonitoringError
from estimator.monitoring.batch_check import Check, check
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

PLAIN = {int, float}
# Different values of a column that are remembered as they were read.
MOST_KNOWN = 20_000


def reference_of(artefact: Artefact, ignore: Sequence[str] = ()) -> Reference:
    """Return what a version's training saw, without some columns.

    Raises
    ------
    MonitoringError: the version was made by a release that kept none.
    """
    profile = artefact.read_json("profile.json") if "profile.json" in artefact.manifest["files"] else {}
    if "reference" not in profile:
        raise MonitoringError(
            f"{artefact.version} was made by a release that kept nothing to compare rows with",
            hint="train it again: estimator train --conf CONFIG",
        )
    return Reference.from_data(profile["reference"]).without(ignore)


@dataclass(frozen=True)
class Reader:
    """Reads logged rows by the contract of the version that answered them."""

    artefact: Artefact
    reference: Reference

    @cached_property
    def task(self) -> Task:
        """What is answered."""
        return self.artefact.predictor.task

    @cached_property
    def _cells(self) -> dict[str, _Cells]:
        features = self.artefact.schema.features
        return {column.name: _Cells(column, (column.name, *column.aliases)) for column in features}

    def missing(self, row: Mapping[str, Any]) -> list[str]:
        """Return the columns that a row was logged without, as they are private."""
        named = {column.name: self._cells[column.name].names for column in self.reference.columns}
        return [column for column, names in named.items() if not any(name in row for name in names)]

    def batch(self, rows: Sequence[PredictionRecord]) -> Batch:
        """Return the watched columns of rows; what cannot be read any more is a gap."""
        feed = {column.name: self._cells[column.name].read(rows) for column in self.reference.columns}
        return Batch(feed, len(rows))

    def codes(self, batch: Batch) -> Codes:
        """Return the bins of rows, of shape (rows, columns)."""
        found = [
            column.codes(values_of(batch, column.name, is_text=column.is_text)) for column in self.reference.columns
        ]
        return np.stack(found, axis=1) if found else np.empty((batch.n_rows, 0), np.uint8)

    def answers(self, rows: Sequence[PredictionRecord]) -> npt.NDArray[Any]:
        """Return what is watched of answers, of shape (rows,): NaN, or "" for words, where the log does not tell it."""
        is_text = self.reference.answers.is_text
        found = [self._watched(row.response) for row in rows]
        return np.array(found, dtype=object if is_text else np.float64)

    def _watched(self, answer: Mapping[str, Any]) -> Any:
        if self.task.is_regression:
            return answer["prediction"]
        if len(self.task.classes) == 2:
            return answer.get("probabilities", {}).get(self.task.classes[1], np.nan)
        return answer["prediction"]

    def truths(self, rows: Sequence[PredictionRecord]) -> Floats:
        """Return truths as numbers or places of levels; NaN where there is none that the version can know."""
        return np.array([self._truth(row.label) for row in rows], dtype=np.float64)

    def _truth(self, truth: Any) -> float:
        if truth is None:
            return np.nan
        if not self.task.is_regression:
            told = truth if isinstance(truth, str) else format_plain(float(truth))
            return float(self.task.classes.index(told)) if told in self.task.classes else np.nan
        try:
            return float(read_cell(self._target, truth))
        except CellError:
            return np.nan

    @cached_property
    def _target(self) -> Column:
        return replace(self.artefact.schema.target, range=None, nullable=True)

    def losses(self, rows: Sequence[PredictionRecord], truths: Floats) -> Floats:
        """Return how wrong answers were that were given: absolute errors, or log losses; NaN where nobody can tell."""
        if self.task.is_regression:
            return np.abs(truths - np.array([row.response["prediction"] for row in rows], dtype=np.float64))
        shares = [
            np.nan
            if np.isnan(truth)
            else row.response.get("probabilities", {}).get(self.task.classes[int(truth)], np.nan)
            for row, truth in zip(rows, truths.tolist(), strict=True)
        ]
        found: Floats = -np.log(np.maximum(np.array(shares, dtype=np.float64), MIN_PROBABILITY))
        return found

    def held(self, rows: Sequence[PredictionRecord], truths: Floats) -> Floats:
        """Return 1 where an answer's interval or set held the truth, 0 where not, NaN where nobody can tell."""
        found = [self._held(row.response, truth) for row, truth in zip(rows, truths.tolist(), strict=True)]
        return np.array(found, dtype=np.float64)

    def _held(self, answer: Mapping[str, Any], truth: float) -> float:
        if np.isnan(truth):
            return np.nan
        if "interval" in answer:
            low, high = answer["interval"]
            return float(low <= truth <= high)
        return float(self.task.classes[int(truth)] in answer["set"]) if "set" in answer else np.nan

    def answered(self, rows: Sequence[PredictionRecord]) -> Predictions | None:
        """Return what the version answers to rows now; None when rows were logged without some of its columns."""
        cells = self._cells
        if any(not any(name in row.inputs for name in each.names) for row in rows for each in cells.values()):
            return None
        return self.artefact.predictor.predict_batch(
            Batch({name: each.read(rows) for name, each in cells.items()}, len(rows))
        )


def check_rows(reader: Reader, rows: Sequence[PredictionRecord], tests: Sequence[str], *, level: float) -> Check:
    """Check logged rows by some tests."""
    batch, told = reader.batch(rows), reader.answers(rows)
    known = told != "" if told.dtype == object else ~np.isnan(told)
    current = Current(reader.codes(batch), reader.reference.answers.codes(told[known]), batch)
    return check(reader.reference, current, tests, level=level)


@dataclass(frozen=True)
class _Cells:
    """Reads the values of one column by its contract, each different one once."""

    column: Column
    names: tuple[str, ...]
    known: dict[Any, float | str] = field(default_factory=dict)

    def read(self, rows: Sequence[PredictionRecord]) -> npt.NDArray[Any]:
        """Return the column's values of rows, of shape (rows, 1); what cannot be read is a gap."""
        first, *others = self.names
        values = [row.inputs.get(first) for row in rows] if not others else [self._value(row.inputs) for row in rows]
        if self.column.kind == "number" and self.column.range is None and {type(each) for each in values} <= PLAIN:
            return np.array(values, dtype=np.float64).reshape(-1, 1)
        return as_array(self.column, [self._read(value) for value in values])

    def _value(self, row: Mapping[str, Any]) -> Any:
        return next((row[name] for name in self.names if name in row), None)

    def _read(self, value: Any) -> float | str:
        # 1, 1.0 and true are the same key, and not the same value.
        key = type(value), value
        try:
            found = self.known.get(key)
        except TypeError:
            return _gap(self.column)
        if found is None:
            try:
                found = read_cell(self.column, value)
            except CellError:
                found = _gap(self.column)
            if len(self.known) < MOST_KNOWN:
                self.known[key] = found
        return found


def _gap(column: Column) -> float | str:
    return "" if column.is_string else np.nan
