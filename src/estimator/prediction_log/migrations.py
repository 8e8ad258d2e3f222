"""The tables of the prediction log as ordered migrations: opening a log of any earlier release upgrades it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from estimator.errors import SourceError

META = "CREATE TABLE IF NOT EXISTS prediction_log_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
READ_VERSION = "SELECT value FROM prediction_log_meta WHERE name = 'schema_version'"
WRITE_VERSION = """INSERT INTO prediction_log_meta (name, value) VALUES ('schema_version', ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


class Transaction(Protocol):
    """An open transaction; `real` is the database's type of 64-bit numbers."""

    real: str

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement with `?` as placeholders; return its rows."""


def migrate(name: str, transaction: Transaction) -> None:
    """Bring a log to the present schema; the caller commits all of it or nothing.

    Raises
    ------
    SourceError: a newer release has written the log.
    """
    transaction.execute(META)
    version = _version(transaction)
    check_version(name, version)
    for step in MIGRATIONS[version:]:
        step(transaction)
    if version < SCHEMA_VERSION:
        transaction.execute(WRITE_VERSION, [str(SCHEMA_VERSION)])


def check_version(name: str, version: int) -> None:
    """Reject a log that a newer release has written.

    Raises
    ------
    SourceError: the version is above `SCHEMA_VERSION`.
    """
    if version > SCHEMA_VERSION:
        raise SourceError(
            f"{name}: the prediction log has schema version {version}, this release reads up to {SCHEMA_VERSION}",
            hint="upgrade estimator",
        )


def _version(transaction: Transaction) -> int:
    """Return the schema version; 0 for an empty database and for a log from before versions were written."""
    rows = transaction.execute(READ_VERSION)
    return int(rows[0][0]) if rows else 0


def _first_tables(transaction: Transaction) -> None:
    """Make the tables of the first, unversioned layout, where they do not exist yet."""
    for statement in FIRST_TABLES:
        transaction.execute(statement.format(real=transaction.real))


FIRST_TABLES = (
    """CREATE TABLE IF NOT EXISTS predictions (
        id TEXT PRIMARY KEY, at {real} NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
        inputs TEXT NOT NULL, answer TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS predictions_by_time ON predictions (model, at, id)",
    "CREATE TABLE IF NOT EXISTS labels (id TEXT PRIMARY KEY, at {real} NOT NULL, truth TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS labels_by_time ON labels (at)",
    """CREATE TABLE IF NOT EXISTS shadows (
        id TEXT NOT NULL, version TEXT NOT NULL, at {real} NOT NULL, answer TEXT NOT NULL,
        PRIMARY KEY (id, version))""",
    "CREATE INDEX IF NOT EXISTS shadows_by_time ON shadows (at)",
    """CREATE TABLE IF NOT EXISTS watches (
        model TEXT PRIMARY KEY, holder TEXT NOT NULL, until {real} NOT NULL, state TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS evidence (
        model TEXT NOT NULL, at {real} NOT NULL, version TEXT NOT NULL, told TEXT NOT NULL, PRIMARY KEY (model, at))""",
    """CREATE TABLE IF NOT EXISTS events (
        id TEXT PRIMARY KEY, model TEXT NOT NULL, at {real} NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL,
        told TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS events_by_time ON events (model, at)",
    "CREATE TABLE IF NOT EXISTS tellings (event TEXT NOT NULL, who TEXT NOT NULL, PRIMARY KEY (event, who))",
)


def _descriptive_names(transaction: Transaction) -> None:
    """Rename tables, columns and JSON keys; the monitor's state is dropped, it reads the last thirty days again."""
    for statement in RENAMES:
        transaction.execute(statement)
    for table in ("predictions", "shadows"):
        # With the bracket it cannot be a class of that name: the value of a class is a number.
        transaction.execute(
            f"""UPDATE {table} SET response = replace(response, '"outside":[', '"out_of_range":[')"""  # noqa: S608 # fixed names
        )
    for event_id, details in transaction.execute("SELECT id, details FROM events"):
        renamed = json.dumps(_renamed(_with_logarithms(json.loads(details)), EVENT_KEYS), ensure_ascii=False)
        transaction.execute("UPDATE events SET details = ? WHERE id = ?", [renamed, event_id])
    for model, at, details in transaction.execute("SELECT model, at, details FROM monitoring_points"):
        renamed = json.dumps(_renamed(json.loads(details), POINT_KEYS), ensure_ascii=False)
        transaction.execute("UPDATE monitoring_points SET details = ? WHERE model = ? AND at = ?", [renamed, model, at])


RENAMES = (
    "ALTER TABLE predictions RENAME COLUMN answer TO response",
    "ALTER TABLE shadows RENAME COLUMN answer TO response",
    "ALTER TABLE labels RENAME COLUMN truth TO label",
    "ALTER TABLE labels RENAME COLUMN at TO labeled_at",
    "ALTER TABLE watches RENAME TO monitors",
    "ALTER TABLE monitors RENAME COLUMN until TO lease_until",
    "UPDATE monitors SET state = ''",
    "ALTER TABLE evidence RENAME TO monitoring_points",
    "ALTER TABLE monitoring_points RENAME COLUMN told TO details",
    "ALTER TABLE events RENAME COLUMN told TO details",
    "UPDATE events SET kind = 'degradation' WHERE kind = 'loss'",
    "ALTER TABLE tellings RENAME TO alert_deliveries",
    "ALTER TABLE alert_deliveries RENAME COLUMN event TO event_id",
    "ALTER TABLE alert_deliveries RENAME COLUMN who TO recipient",
)
EVENT_KEYS = {
    "words": "message", "evidence": "log_e_value", "threshold": "log_threshold", "answers": "predictions",
    "grown": "grown_slices", "now": "current", "before": "reference", "faults": "data_faults", "fault": "data_fault",
    "usual_loss": "reference_loss", "latest_loss": "recent_loss", "why": "reason", "level": "alpha",
    "needed": "log_threshold",
}  # fmt: skip
POINT_KEYS = {
    "evidence": "log_e_value", "threshold": "log_threshold", "loss": "loss_log_e_value", "judged": "scored",
    "held": "covered",
}  # fmt: skip


def _with_logarithms(details: Any) -> Any:
    """Return an event's details with e-values as logarithms to base 10, at any depth."""
    if isinstance(details, list):
        return [_with_logarithms(item) for item in details]
    if not isinstance(details, dict):
        return details
    return {
        key: math.log10(max(value, 1e-6)) if key in ("evidence", "threshold", "needed") else _with_logarithms(value)
        for key, value in details.items()
    }


def _renamed(details: Any, keys: dict[str, str]) -> Any:
    """Return JSON data with keys renamed at any depth, except in the inputs of rows and the names of columns."""
    if isinstance(details, list):
        return [_renamed(item, keys) for item in details]
    if not isinstance(details, dict):
        return details
    return {
        keys.get(key, key): value if key in ("inputs", "columns") and isinstance(value, dict) else _renamed(value, keys)
        for key, value in details.items()
    }


def _request_counts(transaction: Transaction) -> None:
    """Make the table of accepted and rejected requests."""
    transaction.execute(REQUEST_COUNTS.format(real=transaction.real))


REQUEST_COUNTS = """CREATE TABLE request_counts (
    model TEXT NOT NULL, at {real} NOT NULL, accepted INTEGER NOT NULL, rejected INTEGER NOT NULL,
    PRIMARY KEY (model, at))"""


# Append a step, never change one: a log may be of any earlier release.
MIGRATIONS: tuple[Callable[[Transaction], None], ...] = (_first_tables, _descriptive_names, _request_counts)
SCHEMA_VERSION = len(MIGRATIONS)
