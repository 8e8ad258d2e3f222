"""Live performance: how many labels have arrived and how late, how wrong predictions were, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.clock import SECONDS_PER_DAY
from estimator.core.task import Predictions
from estimator.core.units import mean_and_deviation
from estimator.drift.held_out_metric import METRICS_OF_LOSSES, is_ranking
from estimator.evaluation.explanation.slices import column_slices
from estimator.evaluation.explanation.weak_slices import WeakSlice, find_weak_slices
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.scores import Z_95, Score, recorded_metrics
from estimator.monitoring.diagnosis import NOT_CONCEPT_DRIFT, expected_loss
from estimator.monitoring.records import RecordReader, is_present, unreadable_labels, unreadable_note
from estimator.prediction_log import PredictionRecord

# With a smaller fraction of labels, those that are there may not be typical.
MIN_LABELED_FRACTION = 0.9
MIN_LABELS_FOR_SLICES = 30
NO_HELD_OUT_ERRORS = (
    "no alarm can say that predictions become worse: the version keeps no errors of held-out rows, as there were fewer "
    "than two, all of them were 0, or an older release trained it"
)
NO_HELD_OUT_METRIC = "the version keeps too few held-out rows for it, or an older release trained it"
NO_MEAN = "it is no mean over rows or pairs of them, and bets on it would keep no budget of false alarms"
DELAY_QUANTILES = {"median": 0.5, "90 %": 0.9}


@dataclass(frozen=True, slots=True)
class LivePerformance:
    """How good the predictions of a time were, by the labels that have arrived for them.

    `n_labels` counts the labels that are values of the target; the `n_unreadable` others are set aside.
    `reference_loss` is that of held-out rows, `expected_loss` an estimate from the predictions alone. `coverage` is the
    fraction of labels in their intervals or sets, which should be `target_coverage`. `label_delays` are in days.
    """

    n_rows: int
    n_labels: int
    n_unreadable: int
    label_delays: Mapping[str, float]
    loss: Score | None
    reference_loss: float
    coverage: Score | None
    target_coverage: float
    metrics: Mapping[str, float]
    weak_slices: Sequence[WeakSlice]
    expected_loss: float
    warnings: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        # JSON has no NaN, which the target is for a version without intervals or sets.
        target = None if math.isnan(self.target_coverage) else self.target_coverage
        return {**asdict(self), "target_coverage": target}


def live_performance(reader: RecordReader, records: Sequence[PredictionRecord]) -> LivePerformance:
    """Score the predictions of logged rows by the labels that have arrived."""
    all_labels = reader.labels(records)
    indices = np.flatnonzero(~np.isnan(all_labels))
    unreadable = unreadable_labels(reader.artefact, records)
    labels, labeled = all_labels[indices], [records[index] for index in indices.tolist()]
    losses = reader.losses(labeled, labels)
    predictions = reader.predictions(records)
    column = reader.reference.predictions
    counts = column.count(column.codes(predictions[is_present(predictions)]))
    delays_seconds = [(record.labeled_at or record.at) - record.at for record in labeled]
    calibration = reader.artefact.manifest.get("coverage") or {}
    return LivePerformance(
        n_rows=len(records),
        n_labels=len(labeled),
        n_unreadable=len(unreadable),
        label_delays=_delay_quantiles(np.array(delays_seconds) / SECONDS_PER_DAY),
        loss=_mean_with_interval(losses),
        reference_loss=reader.reference.mean_loss,
        coverage=_mean_with_interval(reader.covered(labeled, labels)),
        target_coverage=calibration.get("target", float("nan")),
        metrics=_metrics(reader, labeled, labels),
        weak_slices=_weak_slices(reader, labeled, losses, labels),
        expected_loss=expected_loss(reader.reference, counts),
        warnings=(
            *([unreadable_note(unreadable)] if unreadable else []),
            *_warnings(records, ~np.isnan(all_labels), delays_seconds),
            *_no_alarm(reader, labeled, labels),
        ),
    )


def _no_alarm(reader: RecordReader, records: Sequence[PredictionRecord], labels: Floats) -> list[str]:
    """Return what of the labels no alarm watches: all, or the first metric that the config names."""
    reference, named = reader.reference, reader.artefact.config["evaluation"]["metrics"]
    if reference.held_out is None:
        return [NO_HELD_OUT_ERRORS]
    if not named or reference.metric is not None or (name := SHELF.canonical(named[0])) in METRICS_OF_LOSSES:
        return []
    metric, (predictions, is_complete) = SHELF.load(name)(), _predictions(reader, records)
    follows = is_ranking(metric, reader.task.classes) or metric.row_losses(labels[is_complete], predictions) is not None
    reason = NO_HELD_OUT_METRIC if follows else NO_MEAN
    return [f"no alarm can say that {name} becomes worse: {reason}; losses and coverage are watched all the same"]


def _mean_with_interval(values: Floats) -> Score | None:
    """Return the mean of the finite values with its 95 % confidence interval."""
    finite = values[~np.isnan(values)]
    if len(finite) < 2:
        return None
    mean, deviation = (float(value) for value in mean_and_deviation(finite, ddof=1))
    margin = Z_95 * deviation / np.sqrt(len(finite))
    return Score(mean, float(mean - margin), float(mean + margin))


def _delay_quantiles(days: Floats) -> dict[str, float]:
    return {name: float(np.quantile(days, quantile)) for name, quantile in DELAY_QUANTILES.items()} if len(days) else {}


def _warnings(records: Sequence[PredictionRecord], is_labeled: Mask, delays_seconds: Sequence[float]) -> list[str]:
    """Return why the scores may mislead: labels that are still to come, or may never come."""
    if not delays_seconds:
        return [f"no label has arrived: the expected loss is {NOT_CONCEPT_DRIFT}"]
    late = float(np.quantile(delays_seconds, 0.9))
    last = max(record.at for record in records)
    is_due = np.array([last - record.at >= late for record in records])
    labeled_fraction = float(is_labeled.mean())
    warnings = []
    if labeled_fraction < MIN_LABELED_FRACTION and not is_due.all():
        warnings.append(
            f"{labeled_fraction:.0%} of the rows have a label: early labels may not be typical of those still to come"
        )
    labeled_due = float(is_labeled[is_due].mean()) if is_due.any() else 1.0
    if labeled_due < MIN_LABELED_FRACTION:
        warnings.append(
            f"only {labeled_due:.0%} of the rows that are old enough have a label: they may not be a random sample"
        )
    return warnings


def _predictions(reader: RecordReader, records: Sequence[PredictionRecord]) -> tuple[Predictions, Mask]:
    """Return the logged predictions of the rows whose response is complete, and which rows these are."""
    if reader.task.is_regression:
        values = np.array([float(record.response["prediction"]) for record in records])
        return Predictions(values), np.ones(len(records), dtype=bool)
    is_complete = np.array(["probabilities" in record.response for record in records], dtype=bool)
    classes = reader.task.classes
    probabilities = [
        [record.response["probabilities"].get(name, 0.0) for name in classes]
        for record in records
        if "probabilities" in record.response
    ]
    return reader.task.predictions(np.array(probabilities).reshape(-1, len(classes))), is_complete


def _metrics(reader: RecordReader, records: Sequence[PredictionRecord], labels: Floats) -> dict[str, float]:
    if len(records) < 2:
        return {}
    predictions, is_complete = _predictions(reader, records)
    metrics = recorded_metrics(reader.artefact.config["evaluation"], reader.task)
    weights = np.ones((1, int(is_complete.sum())))
    scores = {
        name: float(metric.scores(labels[is_complete], predictions, weights)[0]) for name, metric in metrics.items()
    }
    return {name: score for name, score in scores.items() if np.isfinite(score)}


def _weak_slices(
    reader: RecordReader, records: Sequence[PredictionRecord], losses: Floats, labels: Floats
) -> Sequence[WeakSlice]:
    """Return the slices in which predictions are worse than elsewhere."""
    is_finite = np.isfinite(losses)
    if is_finite.sum() < MIN_LABELS_FOR_SLICES:
        return ()
    records = [record for record, finite in zip(records, is_finite.tolist(), strict=True) if finite]
    predictions, _ = _predictions(reader, records)
    batch, schema = reader.batch(records), reader.artefact.schema
    slices = [
        part
        for column in reader.reference.columns
        for part in column_slices(schema.by_name[column.name], batch.feed[column.name][:, 0])
    ]
    metric = next(iter(recorded_metrics(reader.artefact.config["evaluation"], reader.task).values()))
    return find_weak_slices(slices, [], losses[is_finite], labels[is_finite], predictions, metric).slices
