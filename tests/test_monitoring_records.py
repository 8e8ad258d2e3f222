"""What watching keeps in the log's database, in a file and in PostgreSQL: once, and by one watcher at a time."""

from __future__ import annotations

import pytest

from estimator.monitoring.events import (
    Event,
    Point,
    claim,
    read_events,
    read_points,
    read_state,
    release,
    store_event,
    store_points,
    store_state,
)
from estimator.prediction_log import Label, PredictionRecord, open_log
from tests.servers import PASSWORD, postgresql


@pytest.fixture(scope="module")
def server():
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        found = open_log("log.db", tmp_path, {})
    else:
        running = request.getfixturevalue("server")
        running.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        found = open_log(running.address, tmp_path, {"PGPASSWORD": PASSWORD})
    yield found
    found.close()


def test_one_watcher_at_a_time_holds_a_model(database):
    assert claim(database, "m", "first", 100.0, seconds=30.0)
    assert not claim(database, "m", "second", 110.0, seconds=30.0)
    assert claim(database, "m", "first", 120.0, seconds=30.0)
    assert claim(database, "m", "second", 151.0, seconds=30.0)
    release(database, "m", "second")
    assert claim(database, "m", "first", 152.0, seconds=30.0)
    assert claim(database, "other", "second", 152.0, seconds=30.0)


def test_state_is_kept_by_its_holder_alone(database):
    assert read_state(database, "m") is None
    claim(database, "m", "first", 100.0, seconds=30.0)
    store_state(database, "m", "second", {"rows": 1})
    assert read_state(database, "m") is None
    store_state(database, "m", "first", {"rows": [2, "ü"]})
    assert read_state(database, "m") == {"rows": [2, "ü"]}
    claim(database, "m", "second", 200.0, seconds=30.0)
    assert read_state(database, "m") == {"rows": [2, "ü"]}


def test_an_event_is_kept_once_and_read_in_order(database):
    later, early = (Event(f"e{at}", "m", at, "drift", "v", {"message": f"at {at}"}) for at in (20.0, 10.0))
    assert [store_event(database, event) for event in (later, early, later)] == [True, True, False]
    assert read_events(database, "m") == [early, later]
    assert read_events(database, "m", since=15.0) == [later]
    assert read_events(database, "other") == []


def test_evidence_of_a_minute_is_the_last_that_was_kept(database):
    store_points(database, "m", [Point(60.0, "v", {"evidence": 1.0}), Point(120.0, "v", {"evidence": 2.0})])
    store_points(database, "m", [Point(60.0, "w", {"evidence": 3.0})])
    assert [(point.at, point.version, point.details["evidence"]) for point in read_points(database, "m")] == [
        (60.0, "w", 3.0), (120.0, "v", 2.0)
    ]  # fmt: skip


def test_rows_are_followed_as_they_came_and_as_their_truths_came(database):
    database.write([PredictionRecord(f"r{n}", float(n), "m", "v", {"x": n}, {"prediction": n}) for n in range(6)])
    database.add_labels([Label("r4", 1.0), Label("r1", 2.0)], 50.0)
    database.add_labels([Label("r3", 3.0)], 60.0)
    assert [row.id for row in database.after("m", (1.0, "r1"), until=5.0, limit=2)] == ["r2", "r3"]
    assert [row.id for row in database.latest("m", until=4.0, limit=2)] == ["r2", "r3"]
    assert [row.id for row in database.labeled_after("m", (0.0, ""))] == ["r1", "r4", "r3"]
    assert [row.id for row in database.labeled_after("m", (50.0, "r1"), until=60.0)] == ["r4"]


def test_shadows_are_counted_since_a_time(database):
    rows = [PredictionRecord(f"r{n}", float(n), "m", "w", {"x": n}, {"prediction": n}) for n in range(4)]
    database.write([PredictionRecord(row.id, row.at, "m", "v", row.inputs, row.response) for row in rows])
    database.write_shadows(rows)
    assert database.shadow_count("m", "w") == 4
    assert database.shadow_count("m", "w", since=2.0) == 2
    assert database.shadow_count("m", "v") == 0
