"""Rows of the prediction log -> what is watched: bins, answers, losses, and whether intervals held the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.artefact import Artefact
from estimator.drift import Current, Reference
from estimator.drift.reference import Codes, values_of
from estimator.errors import MonitoringError
from estimator.monitoring.checking import Check, check
from estimator.prediction_log import Logged
from estimator.schema import Batch, Column
from estimator.schema.cells import CellError, read_cell
from estimator.schema.contract import as_array
from estimator.task import SMALLEST, Answers, Floats, Task
from estimator.wording import plain


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
    def _columns(self) -> list[tuple[Column, tuple[str, ...]]]:
        schema = self.artefact.schema
        columns = [schema.by_name[column.name] for column in self.reference.columns]
        return [(column, (column.name, *column.aliases)) for column in columns]

    def missing(self, row: Mapping[str, Any]) -> list[str]:
        """Return the columns that a row was logged without, as they are private."""
        return [column.name for column, names in self._columns if not any(name in row for name in names)]

    def batch(self, rows: Sequence[Logged]) -> Batch:
        """Return the watched columns of rows; what cannot be read any more is a gap."""
        feed = {
            column.name: as_array(column, [_read(column, names, row.inputs) for row in rows])
            for column, names in self._columns
        }
        return Batch(feed, len(rows))

    def codes(self, batch: Batch) -> Codes:
        """Return the bins of rows, of shape (rows, columns)."""
        found = [
            column.codes(values_of(batch, column.name, is_text=column.is_text)) for column in self.reference.columns
        ]
        return np.stack(found, axis=1) if found else np.empty((batch.n_rows, 0), np.uint8)

    def answers(self, rows: Sequence[Logged]) -> npt.NDArray[Any]:
        """Return what is watched of answers, of shape (rows,): NaN, or "" for words, where the log does not tell it."""
        is_text = self.reference.answers.is_text
        found = [self._watched(row.answer) for row in rows]
        return np.array(found, dtype=object if is_text else np.float64)

    def _watched(self, answer: Mapping[str, Any]) -> Any:
        if self.task.is_regression:
            return answer["prediction"]
        if len(self.task.levels) == 2:
            return answer.get("probabilities", {}).get(self.task.levels[1], np.nan)
        return answer["prediction"]

    def truths(self, rows: Sequence[Logged]) -> Floats:
        """Return truths as numbers or places of levels; NaN where there is none that the version can know."""
        return np.array([self._truth(row.truth) for row in rows], dtype=np.float64)

    def _truth(self, truth: Any) -> float:
        if truth is None:
            return np.nan
        if not self.task.is_regression:
            told = truth if isinstance(truth, str) else plain(float(truth))
            return float(self.task.levels.index(told)) if told in self.task.levels else np.nan
        try:
            return float(read_cell(self._target, truth))
        except CellError:
            return np.nan

    @cached_property
    def _target(self) -> Column:
        return replace(self.artefact.schema.target, limits=None, gaps=("", *self.artefact.schema.target.gaps))

    def losses(self, rows: Sequence[Logged], truths: Floats) -> Floats:
        """Return how wrong answers were that were given: absolute errors, or log losses; NaN where nobody can tell."""
        if self.task.is_regression:
            return np.abs(truths - np.array([row.answer["prediction"] for row in rows], dtype=np.float64))
        shares = [
            np.nan if np.isnan(truth) else row.answer.get("probabilities", {}).get(self.task.levels[int(truth)], np.nan)
            for row, truth in zip(rows, truths.tolist(), strict=True)
        ]
        found: Floats = -np.log(np.maximum(np.array(shares, dtype=np.float64), SMALLEST))
        return found

    def held(self, rows: Sequence[Logged], truths: Floats) -> Floats:
        """Return 1 where an answer's interval or set held the truth, 0 where not, NaN where nobody can tell."""
        found = [self._held(row.answer, truth) for row, truth in zip(rows, truths.tolist(), strict=True)]
        return np.array(found, dtype=np.float64)

    def _held(self, answer: Mapping[str, Any], truth: float) -> float:
        if np.isnan(truth):
            return np.nan
        if "interval" in answer:
            low, high = answer["interval"]
            return float(low <= truth <= high)
        return float(self.task.levels[int(truth)] in answer["set"]) if "set" in answer else np.nan

    def answered(self, rows: Sequence[Logged]) -> Answers | None:
        """Return what the version answers to rows now; None when rows were logged without some of its columns."""
        schema = self.artefact.schema
        if any(not any(name in row.inputs for name in (c.name, *c.aliases)) for row in rows for c in schema.features):
            return None
        feed = {
            column.name: as_array(
                column, [_read(column, (column.name, *column.aliases), row.inputs) for row in rows]
            )
            for column in schema.features
        }  # fmt: skip
        return self.artefact.predictor.answer(Batch(feed, len(rows)))


def check_rows(reader: Reader, rows: Sequence[Logged], tests: Sequence[str], *, level: float) -> Check:
    """Check logged rows by some tests."""
    batch, told = reader.batch(rows), reader.answers(rows)
    known = told != "" if told.dtype == object else ~np.isnan(told)
    current = Current(reader.codes(batch), reader.reference.answers.codes(told[known]), batch)
    return check(reader.reference, current, tests, level=level)


def _read(column: Column, names: Sequence[str], row: Mapping[str, Any]) -> float | str:
    value = next((row[name] for name in names if name in row), None)
    try:
        return read_cell(column, value)
    except CellError:
        return "" if column.is_text else np.nan
