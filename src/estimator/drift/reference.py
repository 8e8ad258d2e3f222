"""The drift reference: how training rows were distributed, kept small, for later rows to be compared with.

Values are reduced to bins that are read off the training rows, so no row of training has to be stored.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints, nan_to_none
from estimator.core.task import Predictions
from estimator.core.text import format_plain
from estimator.core.units import mean_and_deviation
from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.column import TIME_KINDS
from estimator.drift.clocks import HOUR_EDGES, hours_of_day
from estimator.drift.design_effect import MAX_CELLS, RowOrder, design_effect, rank_features
from estimator.drift.held_out import HeldOutErrors
from estimator.drift.held_out_metric import HeldOutMetric

BinCodes = npt.NDArray[np.uint8]
# Code 0 is a missing value, and a byte holds all others.
MAX_BINS = 250
# Columns of a very wide table have fewer bins each, so that the file stays at a few megabytes.
MAX_TOTAL_BINS, MIN_BINS = 50_000, 20
MAX_ROWS = 100_000
# A category with fewer rows in the half that chooses the bins is pooled with the other rare ones.
MIN_CATEGORY_ROWS = 5
MAX_SINGLETON_FRACTION = 0.01
SAMPLE_ROWS = 2000
SAMPLE_CELLS = 400_000
PREDICTION, LOSS = "prediction", "loss"
FORMAT = 1


@dataclass(frozen=True)
class ColumnReference:
    """How often each bin of a column occurred in training.

    Numbers fall into bins (edge before, edge]; text has one bin per category and a last one for all others. `counts`
    begins with missing values. `scale` is a robust standard deviation in the column's units, 0 for text. In the order
    of training, so many rows as `design_effect` count as one, and so many with a missing value, one in the first bin
    and one in the last as `fault_effects`; `neighbor_correlation` is that of the ranks of two rows in succession.
    """

    name: str
    counts: Ints
    edges: Floats = field(default_factory=lambda: np.empty(0))
    categories: tuple[str, ...] = ()
    is_text: bool = False
    median: float = 0.0
    scale: float = 0.0
    design_effect: float = 1.0
    fault_effects: tuple[float, float, float] = (1.0, 1.0, 1.0)
    neighbor_correlation: float = 0.0

    @property
    def n_rows(self) -> int:
        """Rows that were counted."""
        return int(self.counts.sum())

    @property
    def fractions(self) -> Floats:
        """The fraction of the rows in each bin."""
        return self.counts / max(self.n_rows, 1)

    @cached_property
    def mean_ranks(self) -> Floats:
        """The mean rank of the rows in each bin, from 0 to 1."""
        return np.asarray((np.cumsum(self.counts) - self.counts / 2.0) / max(self.n_rows, 1))

    @cached_property
    def _codes_by_category(self) -> dict[str, int]:
        return {category: index + 1 for index, category in enumerate(self.categories)}

    def codes(self, values: npt.NDArray[Any]) -> BinCodes:
        """Return the bin of each value of shape (rows,): 0 for a missing value, else from 1 on."""
        if self.is_text:
            other = len(self.categories) + 1
            by_category = self._codes_by_category
            return np.array(
                [by_category.get(value, other) if value else 0 for value in values.tolist()], dtype=np.uint8
            )
        numbers = np.asarray(values, dtype=np.float64)
        codes = 1 + np.searchsorted(self.edges, numbers, side="left")
        return np.where(np.isnan(numbers), 0, codes).astype(np.uint8)

    def count(self, codes: BinCodes) -> Ints:
        """Return how often each bin occurs among codes."""
        return np.bincount(codes, minlength=len(self.counts)).astype(np.int64)

    def bin_name(self, code: int) -> str:
        """Return a bin's name for a message."""
        if code == 0:
            return "missing"
        if self.is_text:
            is_known = code <= len(self.categories)
            return repr(self.categories[code - 1]) if is_known else "unknown or rare categories"
        if code > len(self.edges):
            return f"above {format_plain(self.edges[-1])}" if len(self.edges) else "any value"
        return f"at most {format_plain(self.edges[code - 1])}"

    def in_random_order(self) -> ColumnReference:
        """Return it for rows of which any may follow any other: each counts as one."""
        return replace(self, design_effect=1.0, fault_effects=(1.0, 1.0, 1.0), neighbor_correlation=0.0)

    def in_order(self, codes: BinCodes, places: Ints, seed: int) -> ColumnReference:
        """Return it with the design effects of its bins in some rows at `places` of the natural order."""
        missing, first, last = (
            design_effect((codes == code)[:, None], places) for code in (0, 1, len(self.counts) - 1)
        )
        effect = design_effect(rank_features(codes, seed=seed), places)
        correlation = 0.0
        # Rows that are not all of the neighbors say nothing of two in succession.
        if effect > 1.0 and len(places) == np.ptp(places) + 1:
            ranks = self.mean_ranks[codes] - 0.5
            correlation = float((ranks[1:] * ranks[:-1]).mean() / max((ranks**2).mean(), 1e-12))
        return replace(
            self, design_effect=effect, fault_effects=(missing, first, last), neighbor_correlation=correlation
        )

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "counts": self.counts.tolist(), "edges": self.edges.tolist()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ColumnReference:
        """Return what `to_data` described."""
        return cls(
            name=data["name"],
            counts=np.array(data["counts"], dtype=np.int64),
            edges=np.array(data["edges"], dtype=np.float64),
            categories=tuple(data["categories"]),
            is_text=data["is_text"],
            median=data["median"],
            scale=data["scale"],
            design_effect=data.get("design_effect", 1.0),
            fault_effects=tuple(data.get("fault_effects", (1.0, 1.0, 1.0))),
            neighbor_correlation=data.get("neighbor_correlation", 0.0),
        )


@dataclass(frozen=True)
class DriftReference:
    """The distributions of training rows, and of predictions and losses on held-out rows.

    `sample` holds the bins of some rows, of shape (rows, columns), in the order of `columns`. Losses are absolute
    errors of numbers, log losses of classes; `mean_loss` is their mean, and `loss_by_prediction` the mean in each bin
    of `predictions`, NaN for a bin without rows. `held_out` is None where there were too few held-out rows; `metric` is
    the first one that the config names, None where none is or can be monitored. `clocks` are the hours of the day of
    columns of times, which no test compares.
    """

    columns: tuple[ColumnReference, ...]
    sample: BinCodes
    predictions: ColumnReference
    losses: ColumnReference
    loss_by_prediction: Floats
    mean_loss: float
    held_out: HeldOutErrors | None = None
    metric: HeldOutMetric | None = None
    clocks: tuple[ColumnReference, ...] = ()

    @property
    def n_rows(self) -> int:
        """Training rows that were counted."""
        return max((column.n_rows for column in self.columns), default=0)

    @cached_property
    def by_name(self) -> Mapping[str, ColumnReference]:
        """Each column by its name."""
        return {column.name: column for column in self.columns}

    def without(self, names: Sequence[str]) -> DriftReference:
        """Return the reference without some columns."""
        indices = [index for index, column in enumerate(self.columns) if column.name not in names]
        columns = tuple(self.columns[index] for index in indices)
        clocks = tuple(column for column in self.clocks if column.name not in names)
        return replace(self, columns=columns, sample=self.sample[:, indices], clocks=clocks)

    def in_random_order(self) -> DriftReference:
        """Return the reference for rows of which any may follow any other: each counts as one."""
        columns = tuple(column.in_random_order() for column in self.columns)
        held_out = None if self.held_out is None else replace(self.held_out, design_effect=1.0)
        metric = None if self.metric is None else replace(self.metric, design_effect=1.0)
        predictions = self.predictions.in_random_order()
        return replace(self, columns=columns, predictions=predictions, held_out=held_out, metric=metric)

    def in_order_of_training(self) -> DriftReference:
        """Return the reference for rows that come in the order of training, whatever their neighbors show."""
        columns = tuple(replace(column, neighbor_correlation=0.0) for column in self.columns)
        return replace(self, columns=columns)

    def mean_ranks(self, codes: BinCodes) -> Floats:
        """Return the mean rank of each value's bin, from 0 to 1, of the shape of `codes`."""
        ranks = [column.mean_ranks[codes[:, index]] for index, column in enumerate(self.columns)]
        return np.stack(ranks, axis=1) if ranks else np.empty(codes.shape)

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data; the sample is base64 of its bytes, row after row."""
        means = self.loss_by_prediction.tolist()
        return {
            "format": FORMAT,
            "columns": [column.to_data() for column in self.columns],
            "sample": {"rows": len(self.sample), "codes": base64.b64encode(self.sample.tobytes()).decode()},
            "predictions": self.predictions.to_data(),
            "losses": self.losses.to_data(),
            "loss_by_prediction": [nan_to_none(value) for value in means],
            "mean_loss": self.mean_loss,
            "held_out": None if self.held_out is None else asdict(self.held_out),
            "metric": None if self.metric is None else asdict(self.metric),
            "clocks": [column.to_data() for column in self.clocks],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> DriftReference:
        """Return what `to_data` described."""
        columns = tuple(ColumnReference.from_data(column) for column in data["columns"])
        codes = np.frombuffer(base64.b64decode(data["sample"]["codes"]), dtype=np.uint8)
        means = [np.nan if value is None else value for value in data["loss_by_prediction"]]
        return cls(
            columns=columns,
            sample=codes.reshape(data["sample"]["rows"], len(columns)),
            predictions=ColumnReference.from_data(data["predictions"]),
            losses=ColumnReference.from_data(data["losses"]),
            loss_by_prediction=np.array(means),
            mean_loss=data["mean_loss"],
            held_out=HeldOutErrors(**data["held_out"]) if data.get("held_out") else None,
            metric=HeldOutMetric.from_data(data["metric"]) if data.get("metric") else None,
            clocks=tuple(ColumnReference.from_data(column) for column in data.get("clocks", [])),
        )


@dataclass(frozen=True)
class CurrentRows:
    """Rows to compare with a reference: the bins of their columns, of shape (rows, columns), and of their predictions.

    Of `predictions`, of shape (rows,), 0 stands for none that can be compared.
    """

    codes: BinCodes
    predictions: BinCodes
    batch: Batch

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_invalid(self) -> int:
        """Rows that were left out, as they violate the schema."""
        return 0 if self.batch.is_valid is None else int((~self.batch.is_valid).sum())

    def select(self, indices: Sequence[int]) -> CurrentRows:
        """Return the rows with some columns only, by their position."""
        return CurrentRows(self.codes[:, indices], self.predictions, self.batch)

    def rows(self, indices: Ints) -> CurrentRows:
        """Return some rows; `batch` stays, as its rows that violate the schema count."""
        return CurrentRows(self.codes[indices], self.predictions[indices], self.batch)

    @classmethod
    def of(cls, reference: DriftReference, batch: Batch, predictions: Predictions) -> CurrentRows:
        """Return rows as the bins of a reference."""
        codes = [_codes(column, batch) for column in reference.columns]
        stacked = np.stack(codes, axis=1) if codes else np.empty((batch.n_rows, 0), np.uint8)
        return cls(stacked, reference.predictions.codes(monitored_predictions(predictions)), batch)


def build_reference(
    schema: Schema,
    rows: Batch,
    predictions: Predictions,
    losses: Floats,
    *,
    errors: Floats | None = None,
    order: RowOrder | None = None,
    seed: int,
) -> DriftReference:
    """Return the reference of a version.

    `rows` are those of its table; `predictions`, and `losses` and signed `errors` of shape (rows,), are those of
    held-out rows. `order` is their natural one, None where it is not known or has no meaning.
    """
    generator = np.random.default_rng([seed, 70])
    indices = generator.permutation(rows.n_rows)[:MAX_ROWS]
    features = [column for column in schema.features if column.kind not in TIME_KINDS]
    max_bins = max(MIN_BINS, min(MAX_BINS, MAX_TOTAL_BINS // max(1, len(features))))
    columns = tuple(_column_reference(column, rows.feed[column.name][indices, 0], max_bins) for column in features)
    times = [column.name for column in schema.features if column.kind == "datetime"]
    clocks = [_clock_reference(name, rows.feed[name][indices, 0]) for name in times]
    sampled = rows.rows(indices[:SAMPLE_ROWS])
    codes = [_codes(column, sampled) for column in columns]
    n_sampled = max(1, SAMPLE_CELLS // max(1, len(columns)))
    sample = np.stack(codes, axis=1)[:n_sampled] if codes else np.empty((0, 0), np.uint8)
    predicted, finite_losses = monitored_predictions(predictions), losses[np.isfinite(losses)]
    bin_predictions = _bin_categories if predicted.dtype == object else _bin_numbers
    prediction_column = bin_predictions(PREDICTION, predicted, MAX_BINS)
    held_out = None if errors is None else HeldOutErrors.of(losses, errors, None if order is None else order.predicted)
    if order is not None:
        latest = rows.rows(order.rows[-max(1, MAX_CELLS // max(1, len(columns))) :])
        places = np.arange(latest.n_rows)
        columns = tuple(column.in_order(_codes(column, latest), places, seed) for column in columns)
        if order.is_by_time:
            columns = tuple(replace(column, neighbor_correlation=0.0) for column in columns)
        prediction_column = prediction_column.in_order(prediction_column.codes(predicted), order.predicted, seed)
    return DriftReference(
        columns=columns,
        sample=sample,
        predictions=prediction_column,
        losses=_bin_numbers(LOSS, finite_losses, MAX_BINS),
        loss_by_prediction=mean_by_bin(prediction_column.codes(predicted), losses, prediction_column),
        mean_loss=float(finite_losses.mean()) if len(finite_losses) else 0.0,
        held_out=held_out,
        clocks=tuple(clock for clock in clocks if clock.counts[2:].any()),
    )


def _clock_reference(name: str, seconds: Floats) -> ColumnReference:
    empty = ColumnReference(name, np.zeros(len(HOUR_EDGES) + 2, np.int64), HOUR_EDGES)
    return replace(empty, counts=empty.count(empty.codes(hours_of_day(seconds))))


def _codes(column: ColumnReference, batch: Batch) -> BinCodes:
    return column.codes(monitored_values(batch, column.name, is_text=column.is_text))


def monitored_values(batch: Batch, name: str, *, is_text: bool) -> npt.NDArray[Any]:
    """Return the values of a column that are binned, of shape (rows,); of a text column, the numbers of words."""
    values = batch.feed[name][:, 0]
    return _word_counts(values) if values.dtype == object and not is_text else values


def monitored_predictions(predictions: Predictions) -> npt.NDArray[Any]:
    """Return the predictions that are binned: numbers, the positive class's probability, or the likeliest class."""
    if predictions.probabilities is None:
        return predictions.values
    return predictions.probabilities[:, 1] if len(predictions.classes) == 2 else predictions.values


def mean_by_bin(codes: BinCodes, values: Floats, column: ColumnReference) -> Floats:
    """Return the mean of the finite values in each bin of a column, NaN for a bin without any."""
    is_finite = np.isfinite(values)
    counts = np.bincount(codes[is_finite], minlength=len(column.counts))
    sums = np.bincount(codes[is_finite], values[is_finite], minlength=len(column.counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _word_counts(values: npt.NDArray[Any]) -> Floats:
    return np.array([float(len(text.split())) if text else np.nan for text in values.tolist()])


def _column_reference(column: Column, values: npt.NDArray[Any], max_bins: int) -> ColumnReference:
    if column.kind == "category":
        return _bin_categories(column.name, values, max_bins)
    numbers = _word_counts(values) if column.kind == "text" else np.asarray(values, dtype=np.float64)
    return _bin_numbers(column.name, numbers, max_bins)


def _bin_numbers(name: str, values: npt.NDArray[Any], max_bins: int) -> ColumnReference:
    present = np.sort(values[~np.isnan(values)])
    distinct = np.unique(present)
    if len(distinct) < max_bins:
        edges = distinct
    else:
        # Edges are values of rows: a new row falls between two neighbors with equal probability, in any distribution.
        ranks = np.arange(1, max_bins - 1) * (len(present) + 1) // (max_bins - 1)
        edges = np.unique(present[ranks - 1])
    median = float(np.median(present)) if len(present) else 0.0
    with np.errstate(over="ignore"):
        spread = float(np.quantile(present, 0.75) - np.quantile(present, 0.25)) / 1.349 if len(present) else 0.0
    scale = spread or (float(mean_and_deviation(present)[1]) if len(present) else 0.0)
    empty = ColumnReference(name, np.zeros(len(edges) + 2, np.int64), edges, median=median, scale=scale)
    return ColumnReference(name, empty.count(empty.codes(values)), edges, median=median, scale=scale)


def _bin_categories(name: str, values: npt.NDArray[Any], max_bins: int) -> ColumnReference:
    """Count categories; where some are rare, half of the rows choose the bins and the other half is counted.

    If the same rows did both, categories that are frequent at random would seem to fade later.
    """
    categories, counts = np.unique(values[values != ""].astype(str), return_counts=True)
    counted = values
    # The fraction of singletons estimates that of unknown categories in rows to come (Good, 1953).
    if len(categories) >= max_bins - 1 or (counts == 1).sum() > MAX_SINGLETON_FRACTION * len(values):
        categories, counts = np.unique(values[::2][values[::2] != ""].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")[: max_bins - 2]
        categories = np.sort(categories[order[counts[order] >= MIN_CATEGORY_ROWS]])
        counted = values[1::2]
    names = tuple(categories.tolist())
    empty = ColumnReference(name, np.zeros(len(names) + 2, np.int64), categories=names, is_text=True)
    return ColumnReference(name, empty.count(empty.codes(counted)), categories=names, is_text=True)
