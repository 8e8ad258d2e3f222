"""Silence: no prediction for a time in which the weeks before had many, or for a time that the config sets."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.config import Monitoring
from estimator.config.monitoring import duration_seconds
from estimator.core.clock import format_time, iso_time
from estimator.core.text import format_number
from estimator.monitoring.events import Event, read_events, replace_details, store_event
from estimator.prediction_log import PredictionLog

WEEK_SECONDS = 7 * 86_400.0
# The same time of so many earlier weeks is looked at; the log must cover at least so many of them.
MAX_WEEKS, MIN_WEEKS = 4, 2
# What is missed: so many slots of ten minutes, or of an hour, in which every one of the weeks had predictions. Of rows
# or bursts at random, few slots are common to all weeks, so that no chance pause is as long.
MIN_COMMON_SLOTS, SLOT_SECONDS, SLOTS_PER_HOUR = 12, 600.0, 6
LAST = "SELECT max(at) FROM predictions WHERE model = ? AND at <= ?"
FIRST = "SELECT min(at) FROM predictions WHERE model = ? AND at > ?"
BUSY_SLOTS = """SELECT DISTINCT CAST((at + ?) / ? AS INTEGER) FROM predictions
    WHERE model = ? AND at > ? AND at <= ?"""
NEXT_STEP = "see whether requests reach the server, and whether it writes its prediction log"


@dataclass
class SilenceMonitor:
    """Raises an event when a model's log has fallen silent, once until predictions come again; then notes its end."""

    log: PredictionLog
    model: str
    settings: Monitoring
    _last: float | None = None
    _next_look_at: float = 0.0
    _is_restored: bool = False
    _open_event: Event | None = None

    def step(self, version: str, now: float) -> list[Event]:
        """Look at the log at a time, in seconds since 1970; return the event of a silence that is new."""
        (last,) = self.log.query(LAST, [self.model, now])[0]
        if last is None:
            return []
        if not self._is_restored:
            events = [event for event in read_events(self.log, self.model) if event.kind == "silence"]
            self._open_event = events[-1] if events and "ended_at" not in events[-1].details else None
            self._is_restored = True
        if last != self._last:
            self._last, self._next_look_at = last, 0.0
        if self._open_event is not None:
            self._note_end(self._open_event, last)
        if self._open_event is not None or now < self._next_look_at or not self._is_silent(last, now):
            return []
        event = self._event(version, last, now)
        self._open_event = event
        return [event] if store_event(self.log, event) else []

    def _is_silent(self, last: float, now: float) -> bool:
        """Whether no prediction since the last one is unusual."""
        if self.settings.silence == "off":
            return False
        if self.settings.silence != "auto":
            return now - last > duration_seconds(self.settings.silence)
        # Earlier, or sooner again, no other slot can have become busy.
        if now - last < (MIN_COMMON_SLOTS - 1) * SLOT_SECONDS:
            return False
        self._next_look_at = now + SLOT_SECONDS
        oldest = self.log.query(FIRST, [self.model, 0.0])[0][0]
        # A silence of more than a week must not be compared with itself.
        first_week = int((now - last) / WEEK_SECONDS) + 1
        shifts = [week * WEEK_SECONDS for week in range(first_week, first_week + MAX_WEEKS)]
        known = [shift for shift in shifts if last - shift >= oldest]
        if len(known) < MIN_WEEKS:
            return False
        weeks = [self._busy_slots(last, now, shift) for shift in known]
        hours = [{slot // SLOTS_PER_HOUR for slot in slots} for slots in weeks]
        return max(len(set.intersection(*slots)) for slots in (weeks, hours)) >= MIN_COMMON_SLOTS

    def _busy_slots(self, since: float, until: float, shift: float) -> set[int]:
        """Return the slots with predictions in an earlier week, numbered as if they were of this one."""
        values = [shift, SLOT_SECONDS, self.model, since - shift, until - shift]
        return {int(slot) for (slot,) in self.log.query(BUSY_SLOTS, values)}

    def _event(self, version: str, last: float, now: float) -> Event:
        usual = "" if self.settings.silence != "auto" else "; in earlier weeks there were some at these times"
        details = {
            "message": f"no prediction since {format_time(last)}, for {_hours(now - last)}{usual}",
            "since": iso_time(last),
            "found_at": iso_time(now),
            "next": NEXT_STEP,
        }
        return Event(f"{self.model}:{version}:silence:{last:.3f}", self.model, now, "silence", version, details)

    def _note_end(self, event: Event, last: float) -> None:
        """Complete an event once predictions have come again."""
        since = float(event.id.rpartition(":")[2])
        # The time in the id is to the millisecond.
        end = self.log.query(FIRST, [self.model, since + 0.001])[0][0]
        if end is None or end > last:
            return
        message = f"no prediction from {format_time(since)} to {format_time(end)}, for {_hours(end - since)}"
        details = {name: value for name, value in event.details.items() if name != "next"}
        details |= {"message": message, "ended_at": iso_time(end)}
        replace_details(self.log, Event(event.id, event.model, event.at, event.kind, event.version, details))
        self._open_event = None


def _hours(seconds: float) -> str:
    return f"{format_number(round(seconds / 3600.0, 1))} hours"
