"""What a version's rows held, kept small: how often each bin of a column occurred, some rows, answers and losses.

Values are told apart by bins that are read off the rows themselves, so that later rows need no row of training.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.core.task import Predictions, Task
from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.column import TIME_KINDS

Codes = npt.NDArray[np.uint8]
Counts = Ints
# Code 0 is a gap, and a byte holds all others.
MOST_BINS = 250
# Of a very wide table each column keeps fewer, so that the whole stays a file of some megabytes.
ALL_BINS, LEAST_BINS = 50_000, 20
MOST_ROWS = 100_000
# A level that fewer rows of the half that chooses have is one of the others.
RARE = 5
MOST_NEW = 0.01
SAMPLE_ROWS = 2000
SAMPLE_CELLS = 400_000
ANSWER, LOSS = "prediction", "loss"
FORMAT = 1


@dataclass(frozen=True)
class ColumnReference:
    """How often training saw what in a column.

    Numbers fall into bins (edge before, edge], words into one bin per level and a last one for all others; `counts` has
    those of gaps first. `unit` is the usual distance from the median, in the column's units, and 0 for words.
    """

    name: str
    counts: Counts
    edges: Floats = field(default_factory=lambda: np.empty(0))
    levels: tuple[str, ...] = ()
    is_text: bool = False
    median: float = 0.0
    unit: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows were counted."""
        return int(self.counts.sum())

    @cached_property
    def _places(self) -> dict[str, int]:
        return {level: place + 1 for place, level in enumerate(self.levels)}

    def codes(self, values: npt.NDArray[Any]) -> Codes:
        """Return the bin of each value of shape (rows,): 0 for a gap, else from 1 on."""
        if self.is_text:
            other = len(self.levels) + 1
            places = self._places
            found = [places.get(value, other) if value else 0 for value in values.tolist()]
            return np.array(found, dtype=np.uint8)
        numbers = np.asarray(values, dtype=np.float64)
        codes = 1 + np.searchsorted(self.edges, numbers, side="left")
        return np.where(np.isnan(numbers), 0, codes).astype(np.uint8)

    def count(self, codes: Codes) -> Counts:
        """Return how often each bin occurs among codes."""
        return np.bincount(codes, minlength=len(self.counts)).astype(np.int64)

    def bin_name(self, code: int) -> str:
        """Return a bin as people say it."""
        from estimator.core.text import format_plain

        if code == 0:
            return "gaps"
        if self.is_text:
            return repr(self.levels[code - 1]) if code <= len(self.levels) else "levels that were rare or new"
        if code > len(self.edges):
            return f"above {format_plain(self.edges[-1])}" if len(self.edges) else "any value"
        return f"at most {format_plain(self.edges[code - 1])}"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "counts": self.counts.tolist(), "edges": self.edges.tolist()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ColumnReference:
        """Return what `to_data` gave."""
        return cls(
            data["name"], np.array(data["counts"], dtype=np.int64), np.array(data["edges"], dtype=np.float64),
            tuple(data["levels"]), data["is_text"], data["median"], data["unit"],
        )  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What rows of training were, what held-out rows were answered, and how wrong that was.

    `sample` holds the bins of some rows, of shape (rows, columns), in the order of `columns`. `answers` and `losses`
    are of rows that were held out: losses are absolute errors of numbers, log losses of levels. `loss_by_answer` is
    the mean loss of each bin of `answers`, NaN where there was no row.
    """

    columns: tuple[ColumnReference, ...]
    sample: Codes
    answers: ColumnReference
    losses: ColumnReference
    loss_by_answer: Floats
    loss: float

    @property
    def rows(self) -> int:
        """Rows that were counted."""
        return max((column.rows for column in self.columns), default=0)

    @cached_property
    def by_name(self) -> Mapping[str, ColumnReference]:
        """Each column by its name."""
        return {column.name: column for column in self.columns}

    def without(self, names: Sequence[str]) -> Reference:
        """Return the reference without some columns."""
        kept = [place for place, column in enumerate(self.columns) if column.name not in names]
        columns = tuple(self.columns[place] for place in kept)
        return Reference(
            columns, self.sample[:, kept], self.answers, self.losses, self.loss_by_answer, self.loss
        )  # fmt: skip

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data; the sample is base64 of its bytes, row after row."""
        return {
            "format": FORMAT,
            "columns": [column.to_data() for column in self.columns],
            "sample": {"rows": len(self.sample), "codes": base64.b64encode(self.sample.tobytes()).decode()},
            "answers": self.answers.to_data(),
            "losses": self.losses.to_data(),
            "loss_by_answer": [None if np.isnan(value) else value for value in self.loss_by_answer.tolist()],
            "loss": self.loss,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Reference:
        """Return what `to_data` gave."""
        columns = tuple(ColumnReference.from_data(each) for each in data["columns"])
        codes = np.frombuffer(base64.b64decode(data["sample"]["codes"]), dtype=np.uint8)
        means = [np.nan if value is None else value for value in data["loss_by_answer"]]
        return cls(
            columns, codes.reshape(data["sample"]["rows"], len(columns)),
            ColumnReference.from_data(data["answers"]), ColumnReference.from_data(data["losses"]),
            np.array(means), data["loss"],
        )  # fmt: skip


@dataclass(frozen=True)
class Current:
    """Rows seen now: their bins of shape (rows, columns), the bins of their answers, and the rows themselves."""

    codes: Codes
    answers: Codes
    batch: Batch

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, reference: Reference, batch: Batch, answers: Predictions) -> Current:
        """Return rows that have passed the contract, with their answers."""
        codes = [column.codes(values_of(batch, column.name, is_text=column.is_text)) for column in reference.columns]
        stacked = np.stack(codes, axis=1) if codes else np.empty((batch.n_rows, 0), np.uint8)
        return cls(stacked, reference.answers.codes(answer_values(answers)), batch)


def refer(schema: Schema, rows: Batch, answers: Predictions, losses: Floats, *, seed: int) -> Reference:
    """Return what later rows are compared with.

    `rows` are those of the version's table; `answers` and `losses`, of shape (rows,), those of rows that were held out.
    """
    generator = np.random.default_rng([seed, 70])
    picked = generator.permutation(rows.n_rows)[:MOST_ROWS]
    watched = [column for column in schema.features if column.kind not in TIME_KINDS]
    most = max(LEAST_BINS, min(MOST_BINS, ALL_BINS // max(1, len(watched))))
    columns = tuple(_column(column, rows.feed[column.name][picked, 0], most) for column in watched)
    sampled = rows.rows(picked[:SAMPLE_ROWS])
    codes = [column.codes(values_of(sampled, column.name, is_text=column.is_text)) for column in columns]
    n_sampled = max(1, SAMPLE_CELLS // max(1, len(columns)))
    sample = np.stack(codes, axis=1)[:n_sampled] if codes else np.empty((0, 0), np.uint8)
    told, solid = answer_values(answers), losses[np.isfinite(losses)]
    of_answers = _of_levels(ANSWER, told, MOST_BINS) if told.dtype == object else _of_numbers(ANSWER, told, MOST_BINS)
    by_bin = mean_by_bin(of_answers.codes(told), losses, of_answers)
    mean = float(solid.mean()) if len(solid) else 0.0
    return Reference(columns, sample, of_answers, _of_numbers(LOSS, solid, MOST_BINS), by_bin, mean)


def values_of(batch: Batch, name: str, *, is_text: bool) -> npt.NDArray[Any]:
    """Return the values by which a column's bins are told, of shape (rows,): of free words their number."""
    values = batch.feed[name][:, 0]
    return _n_words(values) if values.dtype == object and not is_text else values


def answer_values(answers: Predictions) -> npt.NDArray[Any]:
    """Return what is watched of answers: numbers, the second of two levels' probability, or the likeliest level."""
    if answers.probabilities is None:
        return answers.values
    return answers.probabilities[:, 1] if len(answers.classes) == 2 else answers.values


def losses_of(task: Task, answers: Predictions, truth: Floats) -> Floats:
    """Return how wrong each answer is: the absolute error of a number, the log loss of a level."""
    return np.abs(task.losses(answers.raw, truth))


def mean_by_bin(codes: Codes, values: Floats, column: ColumnReference) -> Floats:
    """Return the mean of values in each bin of a column, NaN where there is none."""
    solid = np.isfinite(values)
    counts = np.bincount(codes[solid], minlength=len(column.counts))
    sums = np.bincount(codes[solid], values[solid], minlength=len(column.counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _n_words(values: npt.NDArray[Any]) -> Floats:
    return np.array([float(len(text.split())) if text else np.nan for text in values.tolist()])


def _column(column: Column, values: npt.NDArray[Any], most: int) -> ColumnReference:
    if column.kind == "category":
        return _of_levels(column.name, values, most)
    numbers = _n_words(values) if column.kind == "text" else np.asarray(values, dtype=np.float64)
    return _of_numbers(column.name, numbers, most)


def _of_numbers(name: str, values: Floats, most: int) -> ColumnReference:
    solid = np.sort(values[~np.isnan(values)])
    distinct = np.unique(solid)
    if len(distinct) < most:
        edges = distinct
    else:
        # Values of the rows themselves: between two neighbours lies 1 of rows + 1 parts, whatever their distribution.
        places = np.arange(1, most - 1) * (len(solid) + 1) // (most - 1)
        edges = np.unique(solid[places - 1])
    median = float(np.median(solid)) if len(solid) else 0.0
    spread = float(np.quantile(solid, 0.75) - np.quantile(solid, 0.25)) / 1.349 if len(solid) else 0.0
    unit = spread or (float(solid.std()) if len(solid) else 0.0)
    empty = ColumnReference(name, np.zeros(len(edges) + 2, np.int64), edges, median=median, unit=unit)
    return ColumnReference(name, empty.count(empty.codes(values)), edges, median=median, unit=unit)


def _of_levels(name: str, values: npt.NDArray[Any], most: int) -> ColumnReference:
    """Count levels; where some are rare, half of the rows choose the bins and the others are counted in them.

    Levels that look frequent by chance would seem to fade later if the same rows did both.
    """
    levels, counts = np.unique(values[values != ""].astype(str), return_counts=True)
    counted = values
    # Of all rows still to come, about the share of levels seen once has levels never seen (Good, 1953).
    if len(levels) >= most - 1 or (counts == 1).sum() > MOST_NEW * len(values):
        levels, counts = np.unique(values[::2][values[::2] != ""].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")[: most - 2]
        levels = np.sort(levels[order[counts[order] >= RARE]])
        counted = values[1::2]
    known = tuple(levels.tolist())
    empty = ColumnReference(name, np.zeros(len(known) + 2, np.int64), levels=known, is_text=True)
    return ColumnReference(name, empty.count(empty.codes(counted)), levels=known, is_text=True)
