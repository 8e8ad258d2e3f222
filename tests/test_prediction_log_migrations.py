"""A log of an earlier release is upgraded when it is opened, in a file and in PostgreSQL; a newer one is rejected."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from estimator.errors import SourceError
from estimator.monitoring.events import claim, read_events, read_points, read_state
from estimator.prediction_log import open_log
from estimator.prediction_log.columns import JSON, column_names, decoded, encoded, insert_statement
from estimator.prediction_log.migrations import SCHEMA_VERSION
from tests.servers import PASSWORD, postgresql

FORMATS = Path(__file__).parent / "formats"
# A dump of the same rows per schema version; version 0 was before versions were written.
DUMPS = {path.stem.rpartition("_")[2]: path.read_text() for path in sorted(FORMATS.glob("prediction_log_v*.sql"))}


@pytest.fixture(scope="module")
def server():
    with postgresql() as running:
        yield running


@pytest.fixture(params=DUMPS)
def dump(request) -> str:
    return DUMPS[request.param]


@pytest.fixture(params=["sqlite", "postgresql"])
def reopen(request, dump, tmp_path):
    """What opens a log of an earlier release."""
    if request.param == "sqlite":
        connection = sqlite3.connect(tmp_path / "log.db")
        connection.executescript(dump)
        connection.close()
        return lambda: open_log("log.db", tmp_path, {}, must_exist=True)
    running = request.getfixturevalue("server")
    running.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    running.run(dump.replace(" REAL ", " DOUBLE PRECISION "))
    return lambda: open_log(running.address, tmp_path, {"PGPASSWORD": PASSWORD})


def schema_version(log) -> int:
    return int(log.query("SELECT value FROM prediction_log_meta WHERE name = 'schema_version'")[0][0])


def test_log_keeps_every_prediction(reopen):
    log = reopen()
    assert schema_version(log) == SCHEMA_VERSION
    assert log.count() == (4, 3)
    record = log.find("a-1")
    assert (record.at, record.model, record.version) == (100.0, "houses", "v1")
    assert record.inputs == {"size": None, "town": "Bonn"}
    assert record.response == {"prediction": 190.0, "interval": [160.0, 220.0], "out_of_range": ["town"]}
    assert (record.label, record.labeled_at) == (None, None)
    assert [row.id for row in log.read("houses")] == ["a-0", "a-1", "b-0"]
    log.close()


def test_log_keeps_labels_and_shadows(reopen):
    log = reopen()
    assert (log.find("a-0").label, log.find("a-0").labeled_at) == (205.0, 500.0)
    assert [(row.id, row.label) for row in log.labeled_after("flowers", (0.0, ""))] == [("c-0", "setosa")]
    assert log.shadows("b-0") == {"v3": {"prediction": 310.0}}
    log.close()


def test_log_keeps_events_under_their_present_keys(reopen):
    log = reopen()
    drift, check = read_events(log, "houses")
    assert drift.message == "rows are not as in training"
    assert drift.details["columns"] == [{"column": "town", "message": "new levels", "effect": 0.5}]
    assert (check.kind, check.details["alpha"]) == ("check", 0.01)
    (point,) = read_points(log, "houses")
    assert point.details["log_e_value"] == 1.0
    assert point.details["columns"] == {"size": 0.5}
    assert log.query("SELECT event_id, recipient FROM alert_deliveries") == [
        ("houses:v1:drift:a-1", "https://example.org/hook")
    ]
    log.close()


def test_monitor_of_an_earlier_release_starts_over(reopen):
    log = reopen()
    assert read_state(log, "houses") is None
    assert claim(log, "houses", "host:2", 1000.0, seconds=30.0)
    log.close()


def test_upgrade_happens_once(reopen):
    reopen().close()
    log = reopen()
    assert schema_version(log) == SCHEMA_VERSION
    assert log.count() == (4, 3)
    log.close()


def test_present_tables_have_a_dump(tmp_path):
    """A change of a table needs a migration and a dump."""
    open_log("new.db", tmp_path, {}).close()
    dumped, new = sqlite3.connect(":memory:"), sqlite3.connect(tmp_path / "new.db")
    dumped.executescript(DUMPS[f"v{SCHEMA_VERSION}"])
    assert layout(dumped) == layout(new)
    dumped.close()
    new.close()


def layout(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the name and the definition of every table and index."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return [(name, " ".join(sql.split())) for name, sql in rows]


def test_log_of_newer_release_is_an_error(reopen):
    log = reopen()
    log.execute_many("UPDATE prediction_log_meta SET value = ?", [(str(SCHEMA_VERSION + 1),)])
    log.close()
    with pytest.raises(SourceError, match=f"has schema version {SCHEMA_VERSION + 1}") as caught:
        reopen()
    assert caught.value.hint == "upgrade estimator"


def test_failed_upgrade_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.executescript(DUMPS["v0"])
    before = list(connection.iterdump())

    def broken(transaction):
        transaction.execute("DROP TABLE labels")
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr("estimator.prediction_log.migrations.MIGRATIONS", (broken,))
    with pytest.raises(SourceError, match="disk full"):
        open_log("log.db", tmp_path, {})
    assert list(connection.iterdump()) == before
    connection.close()


@dataclass(frozen=True, slots=True)
class Extended:
    id: str
    tags: list[str] = field(metadata=JSON)
    note: str | None = None


def test_columns_follow_the_fields_of_a_record():
    columns = column_names(Extended)
    assert insert_statement("t", columns) == "INSERT INTO t (id, tags, note) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    record = Extended("a", ["x"], "y")
    assert decoded(Extended, columns, encoded(record, columns)) == record
