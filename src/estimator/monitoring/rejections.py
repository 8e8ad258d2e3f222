"""Rejected requests: the monitor sees only rows that were accepted, so it also follows the counts of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimator.config import Monitoring
from estimator.config.monitoring import duration_seconds
from estimator.core.clock import iso_time
from estimator.monitoring.events import Event, read_events, store_event
from estimator.prediction_log import PredictionLog
from estimator.prediction_log.request_counts import COUNT_SECONDS

HOUR_SECONDS, WEEKS_SECONDS = 3600.0, 28 * 86_400.0
# An alarm needs so many rejected requests in an hour, and so large a fraction of all of them.
MIN_REJECTED, MIN_FRACTION = 20, 0.05
# It must exceed so many times this quantile of the fractions of earlier hours.
FACTOR, USUAL_QUANTILE = 2.0, 0.99
# Earlier hours with requests that must be known. An hour of few requests counts as one of so many.
MIN_HOURS, MIN_REQUESTS = 24, 20
HOURLY = """SELECT sum(accepted), sum(rejected) FROM request_counts
    WHERE model = ? AND at >= ? AND at < ? GROUP BY CAST(at / ? AS INTEGER)"""
NEXT_STEP = "see which column the responses name (status 422); a client may send rows of another form"


@dataclass
class RejectionMonitor:
    """Raises an event when far more of a model's requests are rejected than usual."""

    log: PredictionLog
    model: str
    settings: Monitoring
    _next_look_at: float = 0.0

    def step(self, version: str, now: float) -> list[Event]:
        """Look at the counts at a time, in seconds since 1970; return the event of rejections that are new."""
        if now < self._next_look_at:
            return []
        self._next_look_at = now + COUNT_SECONDS
        since = now - HOUR_SECONDS
        # A width beyond all times puts everything in one group.
        (accepted, rejected) = next(iter(self._counts(since, now, width=1e12)), (0, 0))
        fraction = rejected / max(accepted + rejected, 1)
        if rejected < MIN_REJECTED or fraction < MIN_FRACTION:
            return []
        usual = self._usual_fraction(since)
        if usual is None or fraction <= FACTOR * usual or self._had_lately(now):
            return []
        n_requests = accepted + rejected
        details = {
            "message": f"{fraction:.1%} of {n_requests:,} requests of an hour were rejected, usually up to {usual:.1%}",
            "n_requests": n_requests,
            "n_rejected": rejected,
            "usual_fraction": usual,
            "since": iso_time(since),
            "found_at": iso_time(now),
            "next": NEXT_STEP,
        }
        event = Event(f"{self.model}:{version}:rejected:{now:.0f}", self.model, now, "rejected", version, details)
        return [event] if store_event(self.log, event) else []

    def _usual_fraction(self, until: float) -> float | None:
        """Return the fraction of rejected requests that few hours of the last four weeks exceed; None if unknown."""
        hours = self._counts(until - WEEKS_SECONDS, until, width=HOUR_SECONDS)
        if len(hours) < MIN_HOURS:
            return None
        fractions = [rejected / max(accepted + rejected, MIN_REQUESTS) for accepted, rejected in hours]
        return float(np.quantile(fractions, USUAL_QUANTILE, method="higher"))

    def _counts(self, since: float, until: float, *, width: float) -> Sequence[tuple[int, int]]:
        rows = self.log.query(HOURLY, [self.model, since, until, width])
        return [(int(accepted), int(rejected)) for accepted, rejected in rows]

    def _had_lately(self, now: float) -> bool:
        since = now - duration_seconds(self.settings.repeat_after)
        return any(event.kind == "rejected" for event in read_events(self.log, self.model, since=since))
