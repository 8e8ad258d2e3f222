"""Why rows have drifted: which columns moved, whether it looks like a data fault, and what it does to predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Indices, Ints
from estimator.core.text import format_plain, join_names
from estimator.drift import CurrentRows, DriftReference
from estimator.drift.clocks import counts_by_hour
from estimator.drift.frequency import largest_change
from estimator.drift.kolmogorov_smirnov import largest_distance
from estimator.drift.reference import BinCodes, ColumnReference, monitored_values
from estimator.monitoring.clock_faults import clock_counts, clock_faults
from estimator.monitoring.data_faults import CurrentColumn, data_faults
from estimator.monitoring.drift_check import MIN_P_VALUE, DriftCheck
from estimator.monitoring.records import RecordReader
from estimator.prediction_log import PredictionRecord

MAX_COLUMNS, MAX_EXAMPLES = 8, 5
MIN_EFFECT = 0.05
# A column that lost more values than this fraction of the rows has moved by that, whatever the others are.
MIN_LOST_FRACTION = 0.2
# From this log10 e-value on a column comes before those that merely moved further.
CLEAR_LOG_E_VALUE = 1.0
QUARTILES = (0.25, 0.5, 0.75)
NOT_CONCEPT_DRIFT = (
    "estimated from the predictions alone; it cannot show a change in how the target depends on the columns"
)


@dataclass(frozen=True, slots=True)
class MovedColumn:
    """How far a column moved, from 0 to 1: the largest distance of numbers, or half the change of all fractions.

    `log_e_value` is to base 10. `data_fault` describes a likely fault of the data, None where none shows.
    """

    column: str
    effect: float
    message: str
    log_e_value: float
    data_fault: str | None = None


@dataclass(frozen=True, slots=True)
class GrownSlice:
    """A slice that has become a larger fraction of the rows: a category, missing values, or a quarter of numbers."""

    message: str
    reference: float
    current: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What moved among `n_rows` rows: columns, most moved first, predictions, grown slices, and example rows.

    `expected_loss` is estimated from the predictions; `reference_loss` is that of held-out rows. Where no predictions
    are compared, `predictions` and both losses are None.
    """

    n_rows: int
    columns: Sequence[MovedColumn]
    predictions: MovedColumn | None
    grown_slices: Sequence[GrownSlice]
    examples: Sequence[Mapping[str, Any]]
    expected_loss: float | None
    reference_loss: float | None

    @property
    def data_faults(self) -> list[str]:
        """Likely faults of the data."""
        return [moved.data_fault for moved in self.columns if moved.data_fault is not None]

    @property
    def message(self) -> str:
        """The diagnosis in a sentence."""
        if not self.columns and self.predictions is None:
            return "rows drifted as a whole, more than any single column"
        if not self.columns and self.predictions is not None:
            return f"predictions drifted, more than any single column: {self.predictions.message}"
        cause = f"likely a data fault: {self.data_faults[0]}" if self.data_faults else "likely a real change"
        return f"drift in {join_names((moved.column for moved in self.columns), limit=4)}; {cause}"

    @property
    def example_names(self) -> list[str]:
        """The ids of example rows, or their numbers in a table."""
        return [str(example["id"]) if "id" in example else f"row {example['row']:,}" for example in self.examples]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "n_rows": self.n_rows,
            "columns": [asdict(moved) for moved in self.columns],
            "predictions": None if self.predictions is None else asdict(self.predictions),
            "grown_slices": [asdict(grown) for grown in self.grown_slices],
            "examples": list(self.examples),
            "data_faults": self.data_faults,
            "expected": None
            if self.expected_loss is None
            else {"loss": self.expected_loss, "reference_loss": self.reference_loss, "warning": NOT_CONCEPT_DRIFT},
        }


def diagnose(reader: RecordReader, records: Sequence[PredictionRecord], e_values: Mapping[str, float]) -> Diagnosis:
    """Explain the drift of logged rows; `e_values` are those of each column and of the predictions, by name."""
    reference, batch = reader.reference, reader.batch(records, with_times=True)
    predictions = reference.predictions.codes(reader.predictions(records))

    def example(index: int) -> dict[str, Any]:
        record = records[index]
        return {"id": record.id, "inputs": dict(record.inputs), "prediction": record.response.get("prediction")}

    return diagnose_rows(reference, CurrentRows(reader.codes(batch), predictions, batch), e_values, example)


def diagnose_rows(
    reference: DriftReference,
    current: CurrentRows,
    e_values: Mapping[str, float],
    example: Callable[[int], dict[str, Any]],
    *,
    faults: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Explain the drift of rows.

    `example` returns what to show of the row of an index; `faults` are those of columns that reading the rows found.
    """
    counts = counts_by_column(reference, current)
    current_columns = [
        CurrentColumn(column, monitored_values(current.batch, column.name, is_text=column.is_text))
        for column in reference.columns
    ]
    faults = {**data_faults(current_columns), **(faults or {})}
    moved = [
        moved_column(column, counts[column.name], e_values.get(column.name, 0.0), faults.get(column.name))
        for column in reference.columns
    ]
    # What cannot be random comes first, then what moved far.
    moved.sort(key=lambda column: (column.log_e_value < CLEAR_LOG_E_VALUE, -column.effect))
    shown = [
        column for column in moved if column.effect >= MIN_EFFECT and (column.log_e_value >= 0 or column.data_fault)
    ]
    if shown and shown[0].log_e_value >= CLEAR_LOG_E_VALUE:
        # Few rows always differ in a column in which neighbors are alike.
        names = {column.name for column in reference.columns if column.design_effect > 1.0}
        shown = [column for column in shown if column.log_e_value >= CLEAR_LOG_E_VALUE or column.column not in names]
    clocks = _moved_clocks(reference, counts)
    shown = [*clocks, *shown][:MAX_COLUMNS]
    grown = [
        grown_slice(reference.by_name[column.column], counts[column.column])
        for column in shown
        if column.column in reference.by_name
    ]
    predictions = reference.predictions
    prediction_counts = predictions.count(current.predictions[current.predictions > 0])
    return Diagnosis(
        n_rows=len(current),
        columns=shown,
        predictions=moved_column(predictions, prediction_counts, e_values.get(predictions.name, 0.0))
        if predictions.n_rows
        else None,
        grown_slices=sorted(grown, key=lambda item: item.reference - item.current),
        examples=[example(index) for index in _unlikely_rows(reference, current.codes)],
        expected_loss=expected_loss(reference, prediction_counts) if predictions.n_rows else None,
        reference_loss=reference.mean_loss if predictions.n_rows else None,
    )


def counts_by_column(reference: DriftReference, current: CurrentRows) -> dict[str, Ints]:
    """Return how often each bin of each column occurs, and the hours of columns of times, by name."""
    counts = {column.name: column.count(current.codes[:, index]) for index, column in enumerate(reference.columns)}
    return {**counts, **clock_counts(reference, current)}


def _moved_clocks(reference: DriftReference, counts: Mapping[str, Ints]) -> list[MovedColumn]:
    """Return the columns of times with a likely fault; they have no evidence of their own."""
    faults, moved = clock_faults(reference, counts), []
    for column in reference.clocks:
        if column.name in faults:
            now = counts[column.name]
            before, after = (int(counts_by_hour(part).argmax()) for part in (column.counts, now))
            message = f"most frequent hour of the day: {before} in the reference, {after} now"
            moved.append(replace(moved_column(column, now, 0.0, faults[column.name]), message=message))
    return moved


def evidence(reference: DriftReference, check: DriftCheck) -> dict[str, float]:
    """Return the e-value of each column of a check, and of the predictions, by name.

    That of a p-value is half its inverse root (Vovk and Wang, 2021), of several of one column by Bonferroni's rule.
    Columns whose change does not count have none.
    """
    p_values: dict[str, list[float]] = {}
    for kind, results in check.results.items():
        for result in results:
            name = reference.predictions.name if kind == "prediction_drift" else result.column
            if name is not None and name not in (*check.small, *check.without_effect):
                p_values.setdefault(name, []).append(result.p_value)
    return {
        name: 0.5 / math.sqrt(min(1.0, max(min(values) * len(values), MIN_P_VALUE)))
        for name, values in p_values.items()
    }


def log_e_value(e_value: float) -> float:
    """Return the logarithm of an e-value to base 10, rounded, at least -6.

    >>> log_e_value(1000.0), log_e_value(0.0)
    (3.0, -6.0)
    """
    return round(float(np.log10(max(e_value, 1e-6))), 3)


def grown_slice(column: ColumnReference, counts: Ints) -> GrownSlice:
    """Return the slice of a column whose fraction of the rows has grown most."""
    if column.is_text:
        groups, names = np.arange(len(counts)), [column.bin_name(code) for code in range(len(counts))]
    else:
        cumulative = np.cumsum(column.counts[1:]) / max(column.counts[1:].sum(), 1)
        middles = cumulative - column.counts[1:] / 2 / max(column.n_rows, 1)
        groups = np.append(0, 1 + np.searchsorted(QUARTILES, middles))
        names = ["missing", *(_quarter_name(column, np.flatnonzero(groups == quarter)) for quarter in range(1, 5))]
    before, now = (np.bincount(groups, sample, len(names)) / max(sample.sum(), 1) for sample in (column.counts, counts))
    index = int((now - before).argmax())
    return GrownSlice(f"{column.name}: {names[index]}", float(before[index]), float(now[index]))


def _quarter_name(column: ColumnReference, codes: Indices) -> str:
    """Return the bins of a quarter as one range."""
    if not len(codes):
        return ""
    low = f"above {format_plain(column.edges[codes[0] - 2])}" if codes[0] > 1 else ""
    high = f"at most {format_plain(column.edges[codes[-1] - 1])}" if codes[-1] <= len(column.edges) else ""
    return " and ".join(bound for bound in (low, high) if bound)


def moved_column(column: ColumnReference, counts: Ints, e_value: float, fault: str | None = None) -> MovedColumn:
    """Return how far a column has moved, by the counts of its bins now; `e_value` is its evidence."""
    before, now = column.fractions, counts / max(counts.sum(), 1)
    if column.is_text or now[0] - before[0] > MIN_LOST_FRACTION:
        effect, message = float(np.abs(now - before).sum() / 2), largest_change(column, counts)
    else:
        effect, message = largest_distance(column, counts)
    return MovedColumn(column.name, effect, message, log_e_value(e_value), fault)


def _unlikely_rows(reference: DriftReference, codes: BinCodes) -> list[int]:
    """Return the rows that are least likely under the reference, columns taken as independent."""
    surprise = np.zeros(len(codes))
    for index, column in enumerate(reference.columns):
        fractions = (column.counts + 0.5) / (column.n_rows + 0.5 * len(column.counts))
        surprise -= np.log(fractions[codes[:, index]] / fractions.max())
    return np.argsort(-surprise, kind="stable")[:MAX_EXAMPLES].tolist() if reference.columns else []


def expected_loss(reference: DriftReference, prediction_counts: Ints) -> float:
    """Return the loss to expect if similar predictions are as wrong as they were on held-out rows.

    It is the mean loss of each bin of predictions, weighted by how often the bin occurs now. It cannot see a change in
    how the target depends on the columns (concept drift).
    """
    is_known = ~np.isnan(reference.loss_by_prediction)
    weights = np.where(is_known, prediction_counts, 0).astype(np.float64)
    if not weights.sum():
        return reference.mean_loss
    return float((_smoothed_losses(reference) * weights).sum() / weights.sum())


def _smoothed_losses(reference: DriftReference) -> Floats:
    """Return the mean loss of the decile of each bin, as a bin alone has too few rows."""
    counts = reference.predictions.counts.astype(np.float64)
    means = np.nan_to_num(reference.loss_by_prediction)
    if reference.predictions.is_text:
        groups = np.arange(len(counts))
    else:
        groups = np.minimum((np.cumsum(counts) / max(counts.sum(), 1) * 10).astype(np.int64), 9)
    sums = np.bincount(groups, means * counts, minlength=groups.max() + 1)
    sizes = np.bincount(groups, counts, minlength=groups.max() + 1)
    return np.asarray((sums / np.maximum(sizes, 1))[groups])
