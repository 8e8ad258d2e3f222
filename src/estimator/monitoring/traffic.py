"""The traffic of a model over time: rows, labels, predictions, losses and coverage of each version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimator.config import Monitoring
from estimator.core.arrays import Floats
from estimator.core.text import counted
from estimator.errors import EstimatorError
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import store_of

N_TIME_BINS = 40
# So many of the latest versions are shown one by one.
MAX_VERSIONS = 5


@dataclass(frozen=True, slots=True)
class TimeBin:
    """One of the equal parts of a time: rows, labels, predictions, and the mean loss and coverage of labeled rows.

    `predictions` are their 10 %, 50 % and 90 % quantiles; of classes, the probability of the positive one or the
    fraction of the most frequent one. What cannot be read by the schema of the version is None.
    """

    at: float
    n_rows: int
    n_labels: int
    predictions: tuple[float, float, float] | None
    loss: float | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class VersionTraffic:
    """The rows of a version over time; several earlier versions may have one together."""

    name: str
    bins: Sequence[TimeBin]


def traffic_by_version(
    reader: RecordReader, records: Sequence[PredictionRecord], settings: Monitoring, since: float, until: float
) -> list[VersionTraffic]:
    """Return the traffic of the monitored version, whose reader is given, then that of the others, latest first."""
    by_version: dict[str, list[PredictionRecord]] = {reader.artefact.version: []}
    for record in reversed(records):
        by_version.setdefault(record.version, []).append(record)
    versions = [version for version, rows in by_version.items() if rows]
    traffic = []
    for version in versions[:MAX_VERSIONS]:
        own = reader if version == reader.artefact.version else _reader_of(reader.artefact, version, settings)
        traffic.append(VersionTraffic(version, time_bins(own, by_version[version], since, until)))
    if pooled := versions[MAX_VERSIONS:]:
        rows = [record for version in pooled for record in by_version[version]]
        traffic.append(VersionTraffic(counted(len(pooled), "earlier version"), time_bins(None, rows, since, until)))
    return traffic


def _reader_of(artefact: Artefact, version: str, settings: Monitoring) -> RecordReader | None:
    """Return the reader of another version of a model, None if it is not there or predicts something else."""
    try:
        other = open_artefact(store_of(artefact.folder).folder(artefact.folder.parent.name, version))
        if other.manifest["task"] != artefact.manifest["task"]:
            return None
        return RecordReader(other, drift_reference(other, settings))
    except EstimatorError:
        return None


def time_bins(
    reader: RecordReader | None, records: Sequence[PredictionRecord], since: float, until: float
) -> list[TimeBin]:
    """Return the rows of a time in equal parts of it; without a reader, only their number."""
    width = max(until - since, 1.0) / N_TIME_BINS
    times = np.array([record.at for record in records])
    bins = np.minimum(((times - since) / width).astype(np.int64), N_TIME_BINS - 1)
    unknown = np.full(len(records), np.nan)
    labels, losses, covered, predictions = unknown, unknown, unknown, unknown
    if reader is not None:
        labels = reader.labels(records)
        losses, covered = reader.losses(records, labels), reader.covered(records, labels)
        predictions = _numbers(reader, records)
    return [
        TimeBin(
            at=since + index * width,
            n_rows=int((bins == index).sum()),
            n_labels=int((~np.isnan(labels[bins == index])).sum()),
            predictions=_quantiles(predictions[bins == index]),
            loss=_mean(losses[bins == index]),
            coverage=_mean(covered[bins == index]),
        )
        for index in range(N_TIME_BINS)
    ]


def _numbers(reader: RecordReader, records: Sequence[PredictionRecord]) -> Floats:
    """Return predictions as numbers; of classes, 1 for the most frequent class of training."""
    predictions = reader.predictions(records)
    if predictions.dtype != object:
        return predictions
    column = reader.reference.predictions
    most_frequent = column.categories[int(column.counts[1:-1].argmax())] if column.categories else ""
    return np.array([float(name == most_frequent) for name in predictions.tolist()])


def _quantiles(values: Floats) -> tuple[float, float, float] | None:
    finite = values[~np.isnan(values)]
    if not len(finite):
        return None
    low, median, high = np.quantile(finite, [0.1, 0.5, 0.9]).tolist()
    return low, median, high


def _mean(values: Floats) -> float | None:
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if len(finite) else None
