"""What watching leaves in the prediction log: how far it has come, evidence over time, and events, told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from estimator.prediction_log import Database

# A point of evidence stands for so long.
POINT_SECONDS = 60.0
EventKind = Literal["drift", "loss", "retrain", "promote", "rollback", "check"]
KEEP = "INSERT INTO events (id, model, at, kind, version, told) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
POINT = """INSERT INTO evidence (model, at, version, told) VALUES (?, ?, ?, ?)
    ON CONFLICT (model, at) DO UPDATE SET version = excluded.version, told = excluded.told"""
CLAIM = """INSERT INTO watches (model, holder, until, state) VALUES (?, ?, ?, '')
    ON CONFLICT (model) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE watches.holder = excluded.holder OR watches.until < ?"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that people should know of a model: when, of which version, and all that is known about it.

    `id` is the same for the same event, however often it is found. `told` is JSON-ready data with "words".
    """

    id: str
    model: str
    at: float
    kind: EventKind
    version: str
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The event as a sentence."""
        return str(self.told.get("words", self.kind))


@dataclass(frozen=True, slots=True)
class Point:
    """What evidence there was at a time, in seconds since 1970, for a version."""

    at: float
    version: str
    told: Mapping[str, Any]


def keep_event(database: Database, event: Event) -> bool:
    """Keep an event; return whether it is new."""
    if database.ask("SELECT 1 FROM events WHERE id = ?", [event.id]):
        return False
    told = msgspec.json.encode(event.told).decode()
    database.run_many(KEEP, [(event.id, event.model, event.at, event.kind, event.version, told)])
    return True


def read_events(database: Database, model: str, *, since: float = 0.0) -> list[Event]:
    """Return a model's events since a time, the oldest first."""
    found = database.ask(
        "SELECT id, model, at, kind, version, told FROM events WHERE model = ? AND at >= ? ORDER BY at, id",
        [model, since],
    )
    return [
        Event(named, model, at, kind, version, msgspec.json.decode(told))
        for named, model, at, kind, version, told in found
    ]


def keep_points(database: Database, model: str, points: Sequence[Point]) -> None:
    """Keep evidence; a point of the same time is replaced."""
    database.run_many(
        POINT, [(model, point.at, point.version, msgspec.json.encode(point.told).decode()) for point in points]
    )


def read_points(database: Database, model: str, *, since: float = 0.0) -> list[Point]:
    """Return a model's evidence since a time, the oldest first."""
    found = database.ask(
        "SELECT at, version, told FROM evidence WHERE model = ? AND at >= ? ORDER BY at", [model, since]
    )
    return [Point(at, version, msgspec.json.decode(told)) for at, version, told in found]


def claim(database: Database, model: str, holder: str, now: float, *, seconds: float) -> bool:
    """Become the one who watches a model for some seconds; False when somebody else does."""
    database.run_many(CLAIM, [(model, holder, now + seconds, now)])
    return bool(database.ask("SELECT 1 FROM watches WHERE model = ? AND holder = ?", [model, holder]))


def release(database: Database, model: str, holder: str) -> None:
    """Let others watch a model."""
    database.run_many("UPDATE watches SET until = 0 WHERE model = ? AND holder = ?", [(model, holder)])


def keep_state(database: Database, model: str, holder: str, state: Mapping[str, Any]) -> None:
    """Keep how far watching has come."""
    told = msgspec.json.encode(state).decode()
    database.run_many("UPDATE watches SET state = ? WHERE model = ? AND holder = ?", [(told, model, holder)])


def read_state(database: Database, model: str) -> dict[str, Any] | None:
    """Return how far watching has come, None when it has not begun."""
    found = database.ask("SELECT state FROM watches WHERE model = ?", [model])
    return msgspec.json.decode(found[0][0]) if found and found[0][0] else None
