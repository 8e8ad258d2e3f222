"""The follower of a prediction log: rows and labels as they arrive -> sequential tests -> events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from estimator.config import Monitoring
from estimator.config.monitoring import duration_seconds
from estimator.core.arrays import Floats, Ints
from estimator.core.clock import iso_time
from estimator.core.text import join_names
from estimator.monitoring.budget import FalseAlarmBudget
from estimator.monitoring.diagnosis import CLEAR_LOG_E_VALUE, diagnose, log_e_value
from estimator.monitoring.drift_check import MAX_NAMES
from estimator.monitoring.events import (
    POINT_SECONDS,
    Event,
    EventKind,
    Point,
    read_events,
    read_state,
    replace_details,
    store_event,
    store_points,
    store_state,
)
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.monitoring.sequential import VersionMonitor
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log import START, Cursor
from estimator.store.artefact import Artefact

# Several processes write the log, each a moment after it has responded: rows younger than this are left for later.
LAG_SECONDS = 2.0
BATCH_ROWS, LABELS_PER_LOOK = 500, 10
# A state of another format is not continued.
STATE_FORMAT = 5
# An explanation is made again of so many rows since the alarm began.
EXPLAINED_AGAIN_ROWS = (100, 1000)
# A column's own evidence, to base 10, for another change than that of the last alarm.
ANOTHER_LOG_E_VALUE = 2.0
# Where a log that was never monitored is taken up.
CATCH_UP_SECONDS = 30 * 86_400.0
# Columns whose e-values are stored for the page, largest first.
MAX_POINT_COLUMNS = 20
# Rows that a diagnosis reads.
MAX_DIAGNOSED_ROWS, MIN_DIAGNOSED_ROWS = 1000, 10
# Drift began when the e-value last rose above this fraction of the threshold.
ONSET_FRACTION, MIN_ONSET_E_VALUE = 1 / 500, 2.0
NEXT_STEPS = {
    "warn": "inspect the rows; drift need not hurt, and only labels can show whether it does",
    "ask_for_labels": "label some of these rows (POST /v1/labels): only labels can show whether the drift hurts",
    "retrain": "retraining starts once 100 rows since then have labels (monitoring.on_drift: retrain)",
}
NEXT_STEPS_AFTER_DEGRADATION = {
    "warn": "estimator retrain with the --log of this monitor, or with --input",
    "retrain": "retraining starts once 100 rows since then have labels (monitoring.on_degradation: retrain)",
}


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """A drift alarm whose explanation is made again when more rows are there.

    `since` is the time of its first row, in seconds since 1970; `n_rows` are those since then; `e_values` are those of
    its columns when it was raised.
    """

    event: Event
    since: float
    n_rows: int
    e_values: dict[str, float]


@dataclass
class LogFollower:
    """Follows the predictions of a model's live version, and the labels that arrive for them.

    `holder` names this process in the log; `open_version` opens a version by its name; `live_version` returns the name
    of the live one.
    """

    log: PredictionLog
    model: str
    settings: Monitoring
    open_version: Callable[[str], Artefact]
    live_version: Callable[[], str]
    holder: str = "monitor"
    _reader: RecordReader | None = None
    _monitor: VersionMonitor | None = None
    _rows_read: Cursor = START
    _labels_read: Cursor = START
    _onset: float | None = None
    _open_alarm: OpenAlarm | None = None
    _now: float = 0.0
    _private_columns: list[str] = field(default_factory=list)

    def restore(self) -> None:
        """Continue where an earlier process has stopped."""
        state = read_state(self.log, self.model)
        if state is None or state.get("format") != STATE_FORMAT or state["version"] != self.live_version():
            return
        self._start(state["version"], state["private_columns"])
        assert self._monitor is not None
        self._monitor.restore(state["monitor"])
        assert self._reader is not None
        self._reader = replace(self._reader, reference=self._monitor.reference)
        self._rows_read, self._labels_read = tuple(state["rows_read"]), tuple(state["labels_read"])
        self._onset = state["onset"]
        self._open_alarm = None if state["open_alarm"] is None else msgspec.convert(state["open_alarm"], OpenAlarm)

    def store(self) -> None:
        """Store the state for the next process."""
        if self._monitor is None or self._reader is None:
            return
        state = {
            "format": STATE_FORMAT,
            "version": self._reader.artefact.version,
            "private_columns": self._private_columns,
            "monitor": self._monitor.to_data(),
            "rows_read": self._rows_read,
            "labels_read": self._labels_read,
            "onset": self._onset,
            "open_alarm": None if self._open_alarm is None else asdict(self._open_alarm),
        }
        store_state(self.log, self.model, self.holder, state)

    def step(self, now: float) -> list[Event]:
        """Read what has arrived until now, in seconds since 1970; return the new events.

        Raises
        ------
        SourceError: the log cannot be used.
        """
        self._now, live = now, self.live_version()
        if self._reader is None or self._reader.artefact.version != live:
            self._switch_to(live)
        if self._rows_read == START:
            self._rows_read = self._labels_read = (now - CATCH_UP_SECONDS, "")
        events, until = [], now - LAG_SECONDS
        while records := self.log.after(self.model, self._rows_read, until=until, limit=BATCH_ROWS):
            self._rows_read = (records[-1].at, records[-1].id)
            events += self._update_rows([record for record in records if record.version == live])
        while records := self.log.labeled_after(self.model, self._labels_read, until=until, limit=BATCH_ROWS):
            self._labels_read = (records[-1].labeled_at or 0.0, records[-1].id)
            events += self._update_labels([record for record in records if record.version == live])
        return events

    @property
    def reader(self) -> RecordReader | None:
        """The reader of the live version's records."""
        return self._reader

    def _switch_to(self, version: str) -> None:
        """Monitor another version, from its first prediction on."""
        artefact = self.open_version(version)
        self._reader = RecordReader(artefact, drift_reference(artefact, self.settings))
        self._monitor, self._onset, self._open_alarm = None, None, None
        self._private_columns = []

    def _start(self, version: str, private_columns: Sequence[str]) -> None:
        if self._reader is None or self._reader.artefact.version != version:
            self._switch_to(version)
        assert self._reader is not None
        self._private_columns = list(private_columns)
        reference = self._reader.reference.without(private_columns)
        self._reader = replace(self._reader, reference=reference)
        seed = int(hashlib.sha256(version.encode()).hexdigest()[:8], 16)
        calibration = self._reader.artefact.manifest.get("coverage") or {}
        self._monitor = VersionMonitor(reference, self._threshold, calibration.get("target"), seed=seed)

    def _update_rows(self, records: Sequence[PredictionRecord]) -> list[Event]:
        if not records or self._reader is None:
            return []
        if self._monitor is None:
            self._start(records[0].version, self._reader.missing_columns(records[0].inputs))
        reader, monitor = self._reader, self._monitor
        assert monitor is not None
        if self.settings.mode == "schedule":
            monitor.n_rows += len(records)
            self._store_point(records[-1].at, 1.0)
            return []
        codes = reader.codes(reader.batch(records))
        e_values = monitor.update(codes, reader.predictions(records), self._periods([record.at for record in records]))
        # The reference counts every row as one once they are seen to come in random order.
        self._reader = reader = replace(reader, reference=monitor.reference)
        self._update_onset(records, e_values)
        self._store_point(records[-1].at, float(e_values[-1]))
        self._explain_again(records)
        alarms = np.flatnonzero(e_values >= self._threshold)
        if not len(alarms):
            return []
        event, diagnosed = self._drift_event(records[alarms[0]], records[-1].at, float(e_values[alarms[0]]))
        alarm = OpenAlarm(event, diagnosed[0].at, event.details["n_rows"], monitor.e_values_by_column())
        monitor.restart_rows()
        self._onset = None
        if (reason := self._no_alarm(event, diagnosed)) is not None:
            return self._shown_only(event, reason)
        if events := self._unless_repeated(event):
            self._open_alarm = alarm
        return events

    def _no_alarm(self, event: Event, diagnosed: Sequence[PredictionRecord]) -> str | None:
        """Return why rows that differ are no alarm: what moved is small, or moves no prediction; None if they are one.

        A likely fault of the data is an alarm all the same.
        """
        reader, floor = self._reader, self.settings.min_effect
        assert reader is not None
        moved = [shown for shown in event.details["columns"] if shown["effect"] >= floor]
        predictions = event.details["predictions"]
        is_clear = predictions["effect"] >= floor and predictions["log_e_value"] >= CLEAR_LOG_E_VALUE
        if is_clear or any(shown["data_fault"] for shown in moved):
            return None
        if not moved:
            names = [shown["column"] for shown in event.details["columns"]] or ["rows"]
            return f"changed less than monitoring.min_effect: {join_names(names, limit=MAX_NAMES)}"
        names = [shown["column"] for shown in moved if shown["log_e_value"] >= CLEAR_LOG_E_VALUE]
        names = names or [shown["column"] for shown in moved]
        if any(reader.moves_predictions(diagnosed, reader.reference.by_name[name]) for name in names):
            return None
        return f"changed without moving a prediction: {join_names(names, limit=MAX_NAMES)}"

    def _shown_only(self, event: Event, reason: str) -> list[Event]:
        """Store rows that differ, but are no alarm, as a check, once in `monitoring.repeat_after`."""
        repeat = int(event.at // duration_seconds(self.settings.repeat_after))
        details = {**event.details, "message": f"no drift; {reason}", "drifted": False}
        seen = replace(event, id=f"{self.model}:{event.version}:check:{reason}:{repeat}", kind="check", details=details)
        return [seen] if store_event(self.log, seen) else []

    def _drift_event(
        self, record: PredictionRecord, until: float, e_value: float
    ) -> tuple[Event, Sequence[PredictionRecord]]:
        """Return the event of an alarm, and the rows that explain it."""
        reader, monitor = self._reader, self._monitor
        assert reader is not None
        assert monitor is not None
        latest = self.log.latest(self.model, until=until + 1e-6, limit=MAX_DIAGNOSED_ROWS)
        of_version = [row for row in latest if row.version == record.version]
        since_onset = [row for row in of_version if self._onset is None or row.at >= self._onset]
        is_enough = len(since_onset) >= MIN_DIAGNOSED_ROWS
        diagnosed = since_onset if is_enough else of_version[-MIN_DIAGNOSED_ROWS:]
        diagnosis = diagnose(reader, diagnosed, monitor.e_values_by_column())
        details = {
            **diagnosis.to_data(),
            "message": diagnosis.message,
            "log_e_value": log_e_value(e_value),
            "log_threshold": log_e_value(self._threshold),
            "since": iso_time(diagnosed[0].at),
            "after_rows": monitor.n_rows,
            "next": NEXT_STEPS[self.settings.on_drift],
        }
        return self._event("drift", record, details), diagnosed

    def _explain_again(self, records: Sequence[PredictionRecord]) -> None:
        """Explain the last alarm by more rows, as few may resemble each other by chance."""
        alarm, reader = self._open_alarm, self._reader
        if alarm is None or reader is None or self._monitor is None:
            return
        before, after = alarm.n_rows, alarm.n_rows + len(records)
        self._open_alarm = replace(alarm, n_rows=after)
        passed = [n_rows for n_rows in EXPLAINED_AGAIN_ROWS if before < n_rows <= after]
        if not passed:
            return
        # Later rows of the same read may already show another change.
        last = records[passed[-1] - before - 1]
        latest = self.log.latest(self.model, until=last.at + 1e-6, limit=MAX_DIAGNOSED_ROWS)
        diagnosed = [row for row in latest if row.version == alarm.event.version and row.at >= alarm.since]
        later = self._monitor.e_values_by_column()
        e_values = {name: max(e_value, later.get(name, 0.0)) for name, e_value in alarm.e_values.items()}
        diagnosis = diagnose(reader, diagnosed, e_values)
        details = {**alarm.event.details, **diagnosis.to_data(), "message": diagnosis.message}
        self._open_alarm = replace(alarm, event=replace(alarm.event, details=details), n_rows=after)
        replace_details(self.log, self._open_alarm.event)

    def _update_labels(self, records: Sequence[PredictionRecord]) -> list[Event]:
        if not records or self._reader is None or self._monitor is None:
            return []
        events = []
        # Evidence is read every few labels, so that an alarm's figures are those of its labels.
        for start in range(0, len(records), LABELS_PER_LOOK):
            events += self._look_at_labels(self._reader, self._monitor, records[start : start + LABELS_PER_LOOK])
        return events

    def _look_at_labels(
        self, reader: RecordReader, monitor: VersionMonitor, records: Sequence[PredictionRecord]
    ) -> list[Event]:
        rows = reader.labeled_rows(records, reader.labels(records))
        e_values = monitor.update_labels(rows, self._periods([record.labeled_at or record.at for record in records]))
        if not (e_values >= self._threshold).any():
            return []
        latest = records[-1]
        until = latest.labeled_at or latest.at, latest.id
        since = self.log.start_of_labels(self.model, latest.version, last=monitor.degradation.n_labels, until=until)
        details = {
            "message": monitor.degradation.message(reader.task),
            "since": None if since is None else iso_time(since),
            "log_e_value": log_e_value(float(e_values.max())),
            "log_threshold": log_e_value(self._threshold),
            "loss": monitor.mean_loss,
            "reference_loss": reader.reference.mean_loss,
            "n_labels": monitor.n_labels,
            "next": NEXT_STEPS_AFTER_DEGRADATION[self.settings.on_degradation],
        }
        monitor.degradation.restart()
        return self._unless_repeated(self._event("degradation", records[-1], details))

    def _event(self, kind: EventKind, record: PredictionRecord, details: dict[str, Any]) -> Event:
        at = record.at if kind == "drift" else record.labeled_at or record.at
        details = {**details, "found_at": iso_time(self._now)}
        return Event(f"{self.model}:{record.version}:{kind}:{record.id}", self.model, at, kind, record.version, details)

    def _unless_repeated(self, event: Event) -> list[Event]:
        """Store an event, unless one like it has been stored within `monitoring.repeat_after`."""
        since = event.at - duration_seconds(self.settings.repeat_after)
        is_repeated = any(
            (earlier.kind, earlier.version) == (event.kind, event.version)
            and earlier.id != event.id
            and not _is_another_change(event, earlier)
            for earlier in read_events(self.log, self.model, since=since)
        )
        return [event] if not is_repeated and store_event(self.log, event) else []

    @property
    def _threshold(self) -> float:
        return FalseAlarmBudget.of(self.settings).threshold

    def _periods(self, times: Sequence[float]) -> Ints:
        return np.floor(np.array(times) / duration_seconds(self.settings.restart_every)).astype(np.int64)

    def _update_onset(self, records: Sequence[PredictionRecord], e_values: Floats) -> None:
        """Remember when the e-value began to grow, as long as it has not fallen back."""
        low = np.flatnonzero(e_values < max(MIN_ONSET_E_VALUE, self._threshold * ONSET_FRACTION))
        if len(low):
            self._onset = records[min(int(low[-1]) + 1, len(records) - 1)].at
        elif self._onset is None:
            self._onset = records[0].at

    def _store_point(self, at: float, e_value: float) -> None:
        """Store the e-values, once per minute of the rows' own time."""
        monitor, reader = self._monitor, self._reader
        assert monitor is not None
        assert reader is not None
        by_column = sorted(monitor.e_values_by_column().items(), key=lambda item: -item[1])[:MAX_POINT_COLUMNS]
        details = {
            "log_e_value": log_e_value(e_value),
            "log_threshold": log_e_value(self._threshold),
            "columns": {name: log_e_value(value) for name, value in by_column},
            "loss_log_e_value": log_e_value(monitor.degradation.e_value),
            "n_rows": monitor.n_rows,
            "n_labels": monitor.n_labels,
            "n_scored": monitor.n_scored,
            "n_covered": monitor.n_covered,
            "mean_loss": monitor.mean_loss,
        }
        store_points(self.log, self.model, [Point(at - at % POINT_SECONDS, reader.artefact.version, details)])


def _is_another_change(event: Event, earlier: Event) -> bool:
    """Whether a drift event shows another fault than the earlier one, or another column that moved farther than all."""
    known = {moved["column"]: moved for moved in earlier.details.get("columns", [])}
    farthest = max((moved["effect"] for moved in known.values()), default=0.0)
    for moved in event.details.get("columns", []):
        if moved["log_e_value"] < ANOTHER_LOG_E_VALUE:
            continue
        before = known.get(moved["column"])
        is_new_fault = moved["data_fault"] and (before is None or not before["data_fault"])
        if is_new_fault or (before is None and moved["effect"] > farthest):
            return True
    return False
