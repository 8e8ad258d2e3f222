"""What monitoring stores in the prediction log: its own state, e-values over time, and events, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import msgspec

from estimator.core.credentials import redacted_data
from estimator.prediction_log import PredictionLog
from estimator.prediction_log.columns import JSON, column_names, decoded, encoded, insert_statement

# A point of the e-values stands for this time.
POINT_SECONDS = 60.0
EventKind = Literal["drift", "degradation", "retrain", "promote", "rollback", "check", "silence", "rejected"]
CLAIM = """INSERT INTO monitors (model, holder, lease_until, state) VALUES (?, ?, ?, '')
    ON CONFLICT (model) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
    WHERE monitors.holder = excluded.holder OR monitors.lease_until < ?"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that people should know about a model, at a time in seconds since 1970.

    The same event has the same `id`, however often it is found. `details` is JSON-ready data with a "message", and with
    the time it was `found_at` where that may be later.
    """

    id: str
    model: str
    at: float
    kind: EventKind
    version: str
    details: Mapping[str, Any] = field(default_factory=dict, metadata=JSON)

    @property
    def message(self) -> str:
        """The event in a sentence."""
        return str(self.details.get("message", self.kind))

    @property
    def found_at(self) -> float:
        """When it was found, in seconds since 1970; later than `at` if no monitor ran then."""
        found_at = self.details.get("found_at")
        return self.at if found_at is None else datetime.fromisoformat(found_at).timestamp()


@dataclass(frozen=True, slots=True)
class Point:
    """The e-values of a version at a time, in seconds since 1970."""

    at: float
    version: str
    details: Mapping[str, Any] = field(metadata=JSON)


EVENT_COLUMNS, POINT_COLUMNS = column_names(Event), column_names(Point)
INSERT_EVENT = insert_statement("events", EVENT_COLUMNS)
INSERT_POINT = insert_statement(
    "monitoring_points",
    ["model", *POINT_COLUMNS],
    "(model, at) DO UPDATE SET version = excluded.version, details = excluded.details",
)


def store_event(log: PredictionLog, event: Event) -> bool:
    """Store an event; return whether it is new."""
    if log.query("SELECT 1 FROM events WHERE id = ?", [event.id]):
        return False
    stored = replace(event, details=redacted_data(event.details))
    log.execute_many(INSERT_EVENT, [encoded(stored, EVENT_COLUMNS)])
    return True


def replace_details(log: PredictionLog, event: Event) -> None:
    """Store the details of an event that is already stored."""
    redacted = replace(event, details=redacted_data(event.details))
    log.execute_many("UPDATE events SET details = ? WHERE id = ?", [(*encoded(redacted, ["details"]), event.id)])


def read_events(log: PredictionLog, model: str, *, since: float = 0.0) -> list[Event]:
    """Return a model's events since a time, oldest first."""
    rows = log.query(
        f"SELECT {', '.join(EVENT_COLUMNS)} FROM events WHERE model = ? AND at >= ? ORDER BY at, id",  # noqa: S608 # fixed names
        [model, since],
    )
    return [decoded(Event, EVENT_COLUMNS, row) for row in rows]


def store_points(log: PredictionLog, model: str, points: Sequence[Point]) -> None:
    """Store points; one of the same time is replaced."""
    log.execute_many(INSERT_POINT, [(model, *encoded(point, POINT_COLUMNS)) for point in points])


def read_points(log: PredictionLog, model: str, *, since: float = 0.0) -> list[Point]:
    """Return a model's points since a time, oldest first."""
    rows = log.query(
        f"SELECT {', '.join(POINT_COLUMNS)} FROM monitoring_points WHERE model = ? AND at >= ? ORDER BY at",  # noqa: S608 # fixed names
        [model, since],
    )
    return [decoded(Point, POINT_COLUMNS, row) for row in rows]


def claim(log: PredictionLog, model: str, holder: str, now: float, *, seconds: float) -> bool:
    """Take or renew the lease on a model's monitor; False while another process holds it."""
    log.execute_many(CLAIM, [(model, holder, now + seconds, now)])
    return bool(log.query("SELECT 1 FROM monitors WHERE model = ? AND holder = ?", [model, holder]))


def release(log: PredictionLog, model: str, holder: str) -> None:
    """End the lease on a model's monitor."""
    log.execute_many("UPDATE monitors SET lease_until = 0 WHERE model = ? AND holder = ?", [(model, holder)])


def store_state(log: PredictionLog, model: str, holder: str, state: Mapping[str, Any]) -> None:
    """Store the state of the monitor, if the holder still has the lease."""
    content = msgspec.json.encode(state).decode()
    log.execute_many("UPDATE monitors SET state = ? WHERE model = ? AND holder = ?", [(content, model, holder)])


def read_state(log: PredictionLog, model: str) -> dict[str, Any] | None:
    """Return the state of the monitor, None when there is none."""
    rows = log.query("SELECT state FROM monitors WHERE model = ?", [model])
    return msgspec.json.decode(rows[0][0]) if rows and rows[0][0] else None
