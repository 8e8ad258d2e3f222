"""The state of a monitored model over a time: traffic, predictions, e-values, labels, events and alias changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from estimator.config import Monitoring
from estimator.core.clock import iso_time
from estimator.core.text import counted
from estimator.drift.reference import PREDICTION
from estimator.monitoring.diagnosis import Diagnosis, diagnose, evidence
from estimator.monitoring.drift_check import DriftCheck
from estimator.monitoring.events import POINT_SECONDS, Event, Point, read_events, read_points
from estimator.monitoring.histograms import ColumnHistogram, column_histograms
from estimator.monitoring.performance import LivePerformance, live_performance
from estimator.monitoring.records import RecordReader, check_records, drift_reference
from estimator.monitoring.traffic import VersionTraffic, traffic_by_version
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.store.artefact import Artefact
from estimator.store.history import AliasChange

MAX_ROWS = 50_000
ALARM_KINDS = ("drift", "degradation", "silence", "rejected")


@dataclass(frozen=True)
class Overview:
    """The state of a version between two times, in seconds since 1970.

    `n_rows` are those of the version, `n_rows_by_version` those of all versions that were read, and `n_logged` those in
    the log, which are more where not all were read. `span` is the time in which there is anything. `histograms` are
    those of columns that have drifted, `diagnosis` explains the check where it found drift.
    """

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
    traffic: Sequence[VersionTraffic] = ()
    n_rows_by_version: Mapping[str, int] = field(default_factory=dict)
    n_logged: int = 0
    span: tuple[float, float] = (0.0, 0.0)
    histograms: Sequence[ColumnHistogram] = ()
    private_columns: Sequence[str] = ()
    diagnosis: Diagnosis | None = None

    @property
    def alarms(self) -> list[Event]:
        """The alarms about this version."""
        return [event for event in self.events if event.kind in ALARM_KINDS and event.version == self.version]

    @property
    def rows_message(self) -> str:
        """How many rows there are, of which versions, and how many of the log were read."""
        n_read, n_others = sum(self.n_rows_by_version.values()), len(set(self.n_rows_by_version) - {self.version})
        message = counted(self.n_rows, "row")
        if n_others:
            message = f"{self.n_rows:,} of {counted(n_read, 'row')}, the others of {counted(n_others, 'other version')}"
        return f"{message}; read: the last {n_read:,} of {self.n_logged:,} rows" if n_read < self.n_logged else message

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
            "n_rows_by_version": dict(self.n_rows_by_version),
            "n_logged": self.n_logged,
            "alarm": self.has_alarm,
            "check": None if self.check is None else self.check.to_data(),
            "diagnosis": None if self.diagnosis is None else self.diagnosis.to_data(),
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
    is_cut = len(records) == MAX_ROWS and (since is None or records[0].at >= since)
    records = [record for record in records if since is None or record.at >= since]
    n_logged = len(records)
    if is_cut:
        n_logged = sum(log.version_counts(artefact.name, since=since or 0.0, until=until).values())
    if since is None and records:
        since, until = records[0].at, records[-1].at + 1.0
    begin = until if since is None else since
    of_version = [record for record in records if record.version == artefact.version]
    reader = RecordReader(artefact, drift_reference(artefact, settings))
    private_columns = reader.missing_columns(of_version[-1].inputs) if of_version else []
    reader = replace(reader, reference=reader.reference.without(private_columns))
    check = None
    if with_check and of_version:
        check = check_records(reader, of_version, settings, alpha=settings.alpha)
    state = Overview(
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
        n_rows_by_version=Counter(record.version for record in records),
        n_logged=n_logged,
        private_columns=private_columns,
        diagnosis=diagnose(reader, of_version, evidence(reader.reference, check))
        if check is not None and check.drifted
        else None,
    )
    span = _span(state, records)
    names, drifted_since = _drifted_columns(state)
    drifted = [record for record in of_version if drifted_since is None or record.at >= drifted_since]
    return replace(
        state,
        span=span,
        traffic=traffic_by_version(reader, records, settings, *span),
        histograms=column_histograms(reader, drifted, names),
    )


def _span(state: Overview, records: Sequence[PredictionRecord]) -> tuple[float, float]:
    """Return the time in which there are rows, e-values or events; all of the time if there is none."""
    points = [point.at for point in state.points if point.at <= state.until]
    events = [event.at for event in state.events if event.kind != "check"]
    rows = [record.at for record in (*records[:1], *records[-1:])]
    # A point stands for its minute.
    begins = [*rows[:1], *events, *(at + POINT_SECONDS for at in points[:1])]
    if not begins:
        return state.since, state.until
    moves = [change.at for change in state.alias_changes if change.alias == "live"]
    begin = max(min(begins), state.since)
    return begin, max(*rows[1:], *events, *points[-1:], *moves, begin + 1.0)


def _drifted_columns(state: Overview) -> tuple[list[str], float | None]:
    """Return the columns of the last drift alarm and when it began, else those that the check found."""
    last = next((event for event in reversed(state.alarms) if event.kind == "drift"), None)
    if last is not None:
        names = [moved["column"] for moved in last.details["columns"]]
        since = last.details.get("since")
        return names or [PREDICTION], None if since is None else datetime.fromisoformat(since).timestamp()
    if state.check is None or not state.check.drifted:
        return [], None
    results = [result for kind_results in state.check.results.values() for result in kind_results]
    moved = [result for result in results if result.column and result.p_value <= state.check.alpha]
    return list(dict.fromkeys(str(result.column) for result in sorted(moved, key=lambda result: result.p_value))), None


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
