"""Logged predictions -> what is monitored: bins, predictions, labels, losses, and interval coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.config import Monitoring
from estimator.core.arrays import Floats, Mask
from estimator.core.task import MIN_PROBABILITY, Predictions, Task
from estimator.data.schema import Batch, Column
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.schema import as_array
from estimator.drift import CurrentRows, DriftReference, signed_errors
from estimator.drift.reference import BinCodes, ColumnReference, monitored_values
from estimator.errors import MonitoringError
from estimator.evaluation.scores import recorded_metrics
from estimator.monitoring.degradation import LabeledErrors
from estimator.monitoring.drift_check import DriftCheck, check_drift
from estimator.monitoring.influence import moves_predictions
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

NUMBER_TYPES = {int, float}
# Distinct values of a column whose parsed form is remembered.
MAX_CACHED_VALUES = 20_000


def drift_reference(artefact: Artefact, settings: Monitoring | None = None) -> DriftReference:
    """Return the drift reference of a version, without ignored columns, for rows in the order of the settings.

    Raises
    ------
    MonitoringError: the version comes from a release that stored none.
    """
    profile = artefact.read_json("profile.json") if "profile.json" in artefact.manifest["files"] else {}
    if "reference" not in profile:
        raise MonitoringError(
            f"{artefact.version} has no drift reference: an older release trained it",
            hint="train it again: estimator train --conf CONFIG",
        )
    reference = DriftReference.from_data(profile["reference"])
    if settings is None:
        return reference
    reference = reference.without(settings.ignore)
    if settings.row_order == "random":
        return reference.in_random_order()
    return reference.in_order_of_training() if settings.row_order == "training" else reference


@dataclass(frozen=True)
class RecordReader:
    """Reads the records of a version by its schema."""

    artefact: Artefact
    reference: DriftReference

    @cached_property
    def task(self) -> Task:
        """What the version predicts."""
        return self.artefact.predictor.task

    @cached_property
    def _columns(self) -> dict[str, _ColumnReader]:
        features = self.artefact.schema.features
        return {column.name: _ColumnReader(column, (column.name, *column.aliases)) for column in features}

    def missing_columns(self, inputs: Mapping[str, Any]) -> list[str]:
        """Return the monitored columns that a row was logged without, because they are private."""
        names = {column.name: self._columns[column.name].names for column in self.reference.columns}
        return [column for column, aliases in names.items() if not any(alias in inputs for alias in aliases)]

    def batch(self, records: Sequence[PredictionRecord], *, with_times: bool = False) -> Batch:
        """Return the monitored columns, and those of times if asked for; a value that the schema rejects is missing."""
        columns = (*self.reference.columns, *(self.reference.clocks if with_times else ()))
        feed = {column.name: self._columns[column.name].read(records) for column in columns}
        return Batch(feed, len(records))

    def codes(self, batch: Batch) -> BinCodes:
        """Return the bins of rows, of shape (rows, columns)."""
        codes = [
            column.codes(monitored_values(batch, column.name, is_text=column.is_text))
            for column in self.reference.columns
        ]
        return np.stack(codes, axis=1) if codes else np.empty((batch.n_rows, 0), np.uint8)

    def predictions(self, records: Sequence[PredictionRecord]) -> npt.NDArray[Any]:
        """Return the monitored predictions, of shape (rows,); NaN, or "" for classes, where the log has none."""
        is_text = self.reference.predictions.is_text
        values = [self._prediction(record.response) for record in records]
        return np.array(values, dtype=object if is_text else np.float64)

    def _prediction(self, response: Mapping[str, Any]) -> Any:
        if not self.task.is_regression and len(self.task.classes) == 2:
            return response.get("probabilities", {}).get(self.task.classes[1], np.nan)
        return response["prediction"]

    def labels(self, records: Sequence[PredictionRecord]) -> Floats:
        """Return labels as numbers or class indices; NaN where there is none that the version can read."""
        return np.array([self._label(record.label) for record in records], dtype=np.float64)

    def _label(self, label: Any) -> float:
        if label is None:
            return np.nan
        try:
            return self.artefact.target_reader.read(label)
        except CellError:
            return np.nan

    def raw_predictions(self, responses: Sequence[Mapping[str, Any] | None]) -> Floats:
        """Return logged predictions: numbers (rows,), or probabilities (rows, classes); NaN where there is none."""
        if self.task.is_regression:
            return np.array([np.nan if response is None else response["prediction"] for response in responses])
        probabilities = [(response or {}).get("probabilities", {}) for response in responses]
        return np.array([[float(row.get(name, np.nan)) for name in self.task.classes] for row in probabilities])

    def losses(self, records: Sequence[PredictionRecord], labels: Floats) -> Floats:
        """Return the losses of the logged predictions: absolute errors, or log losses; NaN where there is no label."""
        if self.task.is_regression:
            predicted = np.array([record.response["prediction"] for record in records], dtype=np.float64)
            return np.abs(labels - predicted)
        probabilities = [
            self._probability(record.response, label) for record, label in zip(records, labels.tolist(), strict=True)
        ]
        return np.asarray(-np.log(np.maximum(np.array(probabilities, dtype=np.float64), MIN_PROBABILITY)))

    def labeled_rows(self, records: Sequence[PredictionRecord], labels: Floats) -> LabeledErrors:
        """Return what labels show of the logged predictions."""
        raw = self.raw_predictions([record.response for record in records])
        is_read = np.isfinite(labels) & np.isfinite(raw.reshape(len(records), -1)).all(axis=1)
        errors = np.full(len(records), np.nan)
        errors[is_read] = signed_errors(self.task, raw[is_read], labels[is_read])
        metric = self._metric_losses(raw, labels, is_read)
        return LabeledErrors(self.losses(records, labels), errors, self.covered(records, labels), metric)

    def _metric_losses(self, raw: Floats, labels: Floats, is_read: Mask) -> Floats | None:
        """Return what labels show of the first metric, as `LabeledErrors` has it, where labels and predictions are."""
        metric = self.reference.metric
        if metric is None:
            return None
        if metric.is_ranking:
            codes = self.reference.predictions.codes(raw[:, 1])
            return np.where(is_read[:, None], np.column_stack([labels, codes]), np.nan)
        losses = np.full(len(raw), np.nan)
        with_settings = recorded_metrics(self.artefact.config["evaluation"], self.task)[metric.name]
        of_rows = with_settings.row_losses(labels[is_read], self.task.predictions(raw[is_read]))
        if of_rows is not None:
            losses[is_read] = of_rows
        return losses

    def _probability(self, response: Mapping[str, Any], label: float) -> float:
        """Return the probability of the labeled class."""
        if np.isnan(label):
            return np.nan
        return float(response.get("probabilities", {}).get(self.task.classes[int(label)], np.nan))

    def covered(self, records: Sequence[PredictionRecord], labels: Floats) -> Floats:
        """Return 1 where the interval or set holds the label, 0 where it does not, NaN where there is none."""
        flags = [self._covered(record.response, label) for record, label in zip(records, labels.tolist(), strict=True)]
        return np.array(flags, dtype=np.float64)

    def _covered(self, response: Mapping[str, Any], label: float) -> float:
        if np.isnan(label):
            return np.nan
        if "interval" in response:
            low, high = response["interval"]
            return float(low <= label <= high)
        return float(self.task.classes[int(label)] in response["set"]) if "set" in response else np.nan

    def moves_predictions(self, records: Sequence[PredictionRecord], column: ColumnReference) -> bool:
        """Return whether a column's values in logged rows change predictions; so they do where that cannot be seen."""
        batch = self._whole_batch(records)
        return batch is None or moves_predictions(self.artefact.predictor, batch, column)

    def predict(self, records: Sequence[PredictionRecord]) -> Predictions | None:
        """Return what the version predicts for logged rows now; None when one was logged without a column it needs."""
        batch = self._whole_batch(records)
        return None if batch is None else self.artefact.predictor.predict_batch(batch)

    def _whole_batch(self, records: Sequence[PredictionRecord]) -> Batch | None:
        """Return all columns of rows; None when one was logged without a column that the version needs."""
        columns = self._columns
        if any(
            not any(name in record.inputs for name in column.names) for record in records for column in columns.values()
        ):
            return None
        return Batch({name: column.read(records) for name, column in columns.items()}, len(records))


def unreadable_labels(artefact: Artefact, records: Sequence[PredictionRecord]) -> list[tuple[PredictionRecord, str]]:
    """Return the records whose label is no number or class of a version's target, each with the reason."""
    unreadable = []
    for record in records:
        try:
            if record.label is not None:
                artefact.target_reader.read(record.label)
        except CellError as error:
            unreadable.append((record, str(error)))
    return unreadable


def unreadable_note(unreadable: Sequence[tuple[PredictionRecord, str]]) -> str:
    """Return how many labels are set aside, and why the first of them is."""
    record, reason = unreadable[0]
    count = "1 label is" if len(unreadable) == 1 else f"{len(unreadable):,} labels are"
    return f"{count} set aside, as no value of the target: prediction {record.id}: {reason}"


def is_present(predictions: npt.NDArray[Any]) -> Mask:
    """Return where monitored predictions are neither NaN nor empty."""
    return np.asarray(predictions != "" if predictions.dtype == object else ~np.isnan(predictions))


def check_records(
    reader: RecordReader, records: Sequence[PredictionRecord], settings: Monitoring, *, alpha: float
) -> DriftCheck:
    """Check logged rows for drift, by the tests and the smallest effect of the settings."""
    batch, codes = (
        reader.batch(records, with_times=True),
        reader.reference.predictions.codes(reader.predictions(records)),
    )
    return check_drift(
        reader.reference,
        CurrentRows(reader.codes(batch), codes, batch),
        settings.tests,
        alpha=alpha,
        min_effect=settings.min_effect,
        moves_predictions=partial(reader.moves_predictions, records),
    )


@dataclass(frozen=True)
class _ColumnReader:
    """Reads the values of one column by its schema, each distinct value once."""

    column: Column
    names: tuple[str, ...]
    cache: dict[Any, float | str] = field(default_factory=dict)

    def read(self, records: Sequence[PredictionRecord]) -> npt.NDArray[Any]:
        """Return the column's values, of shape (rows, 1); a value that cannot be read is missing."""
        first, *aliases = self.names
        if aliases:
            values = [self._value(record.inputs) for record in records]
        else:
            values = [record.inputs.get(first) for record in records]
        is_plain = self.column.kind == "number" and self.column.range is None
        if is_plain and {type(value) for value in values} <= NUMBER_TYPES:
            return np.array(values, dtype=np.float64).reshape(-1, 1)
        return as_array(self.column, [self._parsed(value) for value in values])

    def _value(self, inputs: Mapping[str, Any]) -> Any:
        return next((inputs[name] for name in self.names if name in inputs), None)

    def _parsed(self, value: Any) -> float | str:
        # 1, 1.0 and true are equal keys, and different values.
        key = type(value), value
        try:
            cached = self.cache.get(key)
        except TypeError:
            return _missing(self.column)
        if cached is not None:
            return cached
        try:
            parsed = read_cell(self.column, value)
        except CellError:
            parsed = _missing(self.column)
        if len(self.cache) < MAX_CACHED_VALUES:
            self.cache[key] = parsed
        return parsed


def _missing(column: Column) -> float | str:
    return "" if column.is_string else np.nan
