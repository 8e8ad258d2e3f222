"""The state of a monitored model over a time: traffic, predictions, e-values, labels, events and alias changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from estimator.config import Monitoring
from estimator.core.arrays import Floats
from estimator.core.clock import iso_time
from estimator.monitoring.drift_check import DriftCheck
from estimator.monitoring.events import POINT_SECONDS, Event, Point, read_events, read_points
from estimator.monitoring.performance import LivePerformance, live_performance
from estimator.monitoring.records import RecordReader, check_records, drift_reference
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.store.artefact import Artefact
from estimator.store.history import AliasChange

N_TIME_BINS = 40
MAX_ROWS = 50_000
ALARM_KINDS = ("drift", "degradation")


@dataclass(frozen=True, slots=True)
class TimeBin:
    """One of the equal parts of a time: rows, labels, predictions, and the mean loss and coverage of labeled rows.

    `predictions` are their 10 %, 50 % and 90 % quantiles; of classes, the probability of the positive one or the
    fraction of the most frequent one.
    """

    at: float
    n_rows: int
    n_labels: int
    predictions: tuple[float, float, float] | None
    loss: float | None
    coverage: float | None


@dataclass(frozen=True)
class Overview:
    """The state of a version between two times, in seconds since 1970."""

    model: str
    version: str
    since: float
    until: float
    n_rows: int
    performance: LivePerformance | None
    check: DriftCheck | None
    events: Sequence[Event]
    points: Sequence[Point]
    alias_changes: Sequence[AliasChange]
    time_bins: Sequence[TimeBin]
    private_columns: Sequence[str] = ()

    @property
    def alarms(self) -> list[Event]:
        """The alarms about this version."""
        return [event for event in self.events if event.kind in ALARM_KINDS and event.version == self.version]

    @property
    def has_alarm(self) -> bool:
        """Whether there is an alarm, or the check of the rows found drift."""
        return bool(self.alarms) or (self.check is not None and self.check.drifted)

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "model": self.model,
            "version": self.version,
            "since": iso_time(self.since),
            "until": iso_time(self.until),
            "n_rows": self.n_rows,
            "alarm": self.has_alarm,
            "check": None if self.check is None else self.check.to_data(),
            "performance": None if self.performance is None else self.performance.to_data(),
            "events": [{**asdict(event), "at": iso_time(event.at)} for event in self.events],
            "e_values": None if not self.points else dict(self.points[-1].details),
            "alias_changes": [asdict(change) for change in self.alias_changes],
            "private_columns": list(self.private_columns),
        }


def overview(
    artefact: Artefact,
    log: PredictionLog,
    alias_changes: Sequence[AliasChange],
    settings: Monitoring,
    *,
    since: float | None,
    until: float,
    with_check: bool = True,
) -> Overview:
    """Gather the state of a version over a time, from its last 50,000 rows at most; of all rows without `since`.

    `with_check` also runs the drift tests, which need libraries that a server may not have.
    """
    records = log.latest(artefact.name, until=until, limit=MAX_ROWS)
    records = [record for record in records if since is None or record.at >= since]
    if since is None and records:
        since, until = records[0].at, records[-1].at + 1.0
    begin = until if since is None else since
    of_version = [record for record in records if record.version == artefact.version]
    reader = RecordReader(artefact, drift_reference(artefact, settings))
    private_columns = reader.missing_columns(of_version[-1].inputs) if of_version else []
    reader = replace(reader, reference=reader.reference.without(private_columns))
    check = None
    if with_check and of_version:
        check = check_records(reader, of_version, settings.tests, alpha=settings.alpha)
    return Overview(
        model=artefact.name,
        version=artefact.version,
        since=begin,
        until=until,
        n_rows=len(of_version),
        performance=live_performance(reader, of_version) if of_version else None,
        check=check,
        events=read_events(log, artefact.name, since=begin),
        points=read_points(log, artefact.name, since=begin - POINT_SECONDS),
        alias_changes=alias_changes,
        time_bins=time_bins(reader, of_version, begin, until),
        private_columns=private_columns,
    )


def time_bins(reader: RecordReader, records: Sequence[PredictionRecord], since: float, until: float) -> list[TimeBin]:
    """Return the rows of a time in equal parts of it."""
    if not records:
        return []
    width = max(until - since, 1.0) / N_TIME_BINS
    times = np.array([record.at for record in records])
    bins = np.minimum(((times - since) / width).astype(np.int64), N_TIME_BINS - 1)
    labels = reader.labels(records)
    losses, covered, predictions = (
        reader.losses(records, labels),
        reader.covered(records, labels),
        _numbers(reader, records),
    )
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


def e_values_by_column(points: Sequence[Point], limit: int) -> Mapping[str, list[tuple[float, float]]]:
    """Return the log e-values over time of the columns whose largest ones are the highest."""
    largest: dict[str, float] = {}
    for point in points:
        for name, value in point.details["columns"].items():
            largest[name] = max(value, largest.get(name, value))
    names = sorted(largest, key=lambda name: -largest[name])[:limit]
    return {
        name: [(point.at, point.details["columns"][name]) for point in points if name in point.details["columns"]]
        for name in names
    }
