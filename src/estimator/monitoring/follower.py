"""A model's prediction log, followed: evidence is gathered row after row, and what should be known becomes an event."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from estimator.config import Monitoring
from estimator.config.monitoring import duration_seconds
from estimator.core.text import format_number
from estimator.monitoring.budget import Budget
from estimator.monitoring.diagnosis import diagnose
from estimator.monitoring.events import (
    POINT_SECONDS,
    Event,
    EventKind,
    Point,
    read_events,
    read_state,
    store_event,
    store_points,
    store_state,
)
from estimator.monitoring.rows import Reader, reference_of
from estimator.monitoring.sequential import Watch
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log import START, Cursor
from estimator.store.artefact import Artefact

# Rows are written a moment after they were answered, by several processes: so long they are waited for.
LAG_SECONDS = 2.0
AT_ONCE = 500
# A log that has never been watched is taken up from so long ago.
CATCH_UP_SECONDS = 30 * 86_400.0
# Columns whose evidence is kept for the page, those with most of it.
MOST_COLUMNS = 20
# Rows that are looked at to say what moved, and how many of them at least.
MOST_LOOKED_AT, LEAST_LOOKED_AT = 1000, 10


@dataclass
class Watcher:
    """Follows the rows of one model that its live version answers, and the truths that come for them.

    `holder` names who watches in the log; `version` opens a version by its name; `live` tells the one that is live.
    """

    database: PredictionLog
    model: str
    settings: Monitoring
    version: Callable[[str], Artefact]
    live: Callable[[], str]
    holder: str = "watcher"
    _reader: Reader | None = None
    _watch: Watch | None = None
    _rows: Cursor = START
    _labels: Cursor = START
    _onset: float | None = None
    _missing: list[str] = field(default_factory=list)

    def take_up(self) -> None:
        """Go on where an earlier process was ended."""
        state = read_state(self.database, self.model)
        if state is None or state["version"] != self.live():
            return
        self._begin(state["version"], state["missing"])
        assert self._watch is not None
        self._watch.restore(state["watch"])
        self._rows, self._labels = tuple(state["rows"]), tuple(state["labels"])
        self._onset = state["onset"]

    def keep(self) -> None:
        """Keep how far watching has come."""
        if self._watch is None or self._reader is None:
            return
        state = {
            "version": self._reader.artefact.version, "missing": self._missing, "watch": self._watch.to_data(),
            "rows": self._rows, "labels": self._labels, "onset": self._onset,
        }  # fmt: skip
        store_state(self.database, self.model, self.holder, state)

    def step(self, now: float) -> list[Event]:
        """Take what has come until now, in seconds since 1970; return the events that are new.

        Raises
        ------
        SourceError: the log cannot be used.
        """
        live = self.live()
        if self._reader is None or self._reader.artefact.version != live:
            self._turn_to(live)
        if self._rows == START:
            self._rows = self._labels = (now - CATCH_UP_SECONDS, "")
        found = []
        while rows := self.database.after(self.model, self._rows, until=now - LAG_SECONDS, limit=AT_ONCE):
            self._rows = (rows[-1].at, rows[-1].id)
            found += self._take([row for row in rows if row.version == live])
        while rows := self.database.labeled_after(self.model, self._labels, until=now - LAG_SECONDS, limit=AT_ONCE):
            self._labels = (rows[-1].labeled_at or 0.0, rows[-1].id)
            found += self._take_truths([row for row in rows if row.version == live])
        return found

    @property
    def watch(self) -> Watch | None:
        """What is known by now; None before the first row."""
        return self._watch

    @property
    def reader(self) -> Reader | None:
        """What reads the live version's rows."""
        return self._reader

    def _turn_to(self, version: str) -> None:
        """Watch another version from the moment on that it answers."""
        artefact = self.version(version)
        self._reader = Reader(artefact, reference_of(artefact, self.settings.ignore))
        self._watch, self._onset = None, None
        self._missing = []

    def _begin(self, version: str, missing: Sequence[str]) -> None:
        if self._reader is None or self._reader.artefact.version != version:
            self._turn_to(version)
        assert self._reader is not None
        self._missing = list(missing)
        self._reader = replace(self._reader, reference=self._reader.reference.without(missing))
        self._watch = Watch(self._reader.reference, seed=int(hashlib.sha256(version.encode()).hexdigest()[:8], 16))

    def _take(self, rows: Sequence[PredictionRecord]) -> list[Event]:
        if not rows or self._reader is None:
            return []
        if self._watch is None:
            self._begin(rows[0].version, self._reader.missing(rows[0].inputs))
        reader, watch = self._reader, self._watch
        assert watch is not None
        codes = reader.codes(reader.batch(rows))
        evidence = watch.take(codes, reader.answers(rows), self._blocks([row.at for row in rows]))
        self._note_onset(rows, evidence)
        self._keep_point(rows[-1].at, float(evidence[-1]))
        passed = np.flatnonzero(evidence >= self._threshold)
        if not len(passed):
            return []
        event = self._drift(rows[passed[0]], rows[-1].at, float(evidence[passed[0]]))
        watch.columns.restart()
        watch.answers.restart()
        self._onset = None
        return self._once(event)

    def _drift(self, row: PredictionRecord, until: float, evidence: float) -> Event:
        reader, watch = self._reader, self._watch
        assert reader is not None
        assert watch is not None
        known = self.database.latest(self.model, until=until + 1e-6, limit=MOST_LOOKED_AT)
        own = [each for each in known if each.version == row.version]
        since = [each for each in own if self._onset is None or each.at >= self._onset]
        looked = since if len(since) >= LEAST_LOOKED_AT else own[-LEAST_LOOKED_AT:]
        found = diagnose(reader, looked, watch.by_column())
        told = {
            **found.to_data(), "message": f"rows are not as in training: {found.message}", "evidence": evidence,
            "threshold": self._threshold, "since": looked[0].at, "after_rows": watch.rows,
            "next": WHAT_NEXT[self.settings.on_drift],
        }  # fmt: skip
        return self._event("drift", row, told)

    def _take_truths(self, rows: Sequence[PredictionRecord]) -> list[Event]:
        if not rows or self._reader is None or self._watch is None:
            return []
        reader, watch = self._reader, self._watch
        truths = reader.truths(rows)
        losses, held = reader.losses(rows, truths), reader.held(rows, truths)
        evidence = watch.take_losses(losses, held, self._blocks([row.labeled_at or row.at for row in rows]))
        passed = np.flatnonzero(evidence >= self._threshold)
        if not len(passed):
            return []
        recent = losses[max(0, passed[0] - 99) : passed[0] + 1]
        latest = float(np.nanmean(recent))
        mean, usual = watch.loss / max(watch.judged, 1), reader.reference.loss
        told = {
            "message": f"answers are worse than they were: a loss of {format_number(latest)} on average of the last "
            f"{len(recent):,} truths, {format_number(usual)} on held-out rows", "evidence": float(evidence[passed[0]]),
            "threshold": self._threshold, "loss": mean, "usual_loss": usual, "latest_loss": latest,
            "labels": watch.labels,
            "next": WHAT_NEXT[f"loss_{self.settings.on_degradation}"],
        }  # fmt: skip
        watch.losses.restart()
        return self._once(self._event("degradation", rows[passed[0]], told))

    def _event(self, kind: EventKind, row: PredictionRecord, told: dict[str, Any]) -> Event:
        at = row.at if kind == "drift" else row.labeled_at or row.at
        return Event(f"{self.model}:{row.version}:{kind}:{row.id}", self.model, at, kind, row.version, told)

    def _once(self, event: Event) -> list[Event]:
        """Keep an event, unless it was told of the same version not long ago."""
        before = [
            each
            for each in read_events(
                self.database, self.model, since=event.at - duration_seconds(self.settings.repeat_after)
            )
            if (each.kind, each.version) == (event.kind, event.version) and each.id != event.id
        ]
        return [event] if not before and store_event(self.database, event) else []

    @property
    def _threshold(self) -> float:
        return Budget.of(self.settings).threshold

    def _blocks(self, times: Sequence[float]) -> Any:
        return np.floor(np.array(times) / duration_seconds(self.settings.restart_every)).astype(np.int64)

    def _note_onset(self, rows: Sequence[PredictionRecord], evidence: Any) -> None:
        """Remember when evidence began to grow that has not gone since."""
        low = np.flatnonzero(evidence < max(2.0, self._threshold / 500.0))
        if len(low):
            self._onset = rows[min(int(low[-1]) + 1, len(rows) - 1)].at
        elif self._onset is None:
            self._onset = rows[0].at

    def _keep_point(self, at: float, evidence: float) -> None:
        """Keep what evidence there is, once a minute of the rows' own time."""
        assert self._watch is not None
        assert self._reader is not None
        minute = at - at % POINT_SECONDS
        most = sorted(self._watch.by_column().items(), key=lambda each: -each[1])[:MOST_COLUMNS]
        told = {
            "evidence": _log(evidence), "threshold": _log(self._threshold),
            "columns": {name: _log(value) for name, value in most},
            "loss": _log(float(self._watch.losses.evidence.wealth[0])), "rows": self._watch.rows,
            "labels": self._watch.labels, "judged": self._watch.judged, "held": self._watch.held,
            "mean_loss": self._watch.loss / max(self._watch.judged, 1),
        }  # fmt: skip
        store_points(self.database, self.model, [Point(minute, self._reader.artefact.version, told)])


WHAT_NEXT = {
    "warn": "look at the rows; drift need not do harm, which only truths show",
    "ask_for_labels": "label some of these rows (POST /v1/labels): drift need not do harm, which only truths show",
    "retrain": "retraining follows, as monitoring.on_drift says",
    "loss_warn": "estimator retrain MODEL",
    "loss_retrain": "retraining follows, as monitoring.on_degradation says",
}


def _log(value: float) -> float:
    """Return the logarithm to base 10, rounded, of evidence."""
    return round(float(np.log10(max(value, 1e-6))), 3)
