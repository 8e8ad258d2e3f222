"""What monitoring stores in the log, in a file and in PostgreSQL: events once, and one monitor at a time."""

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
def log(request, tmp_path):
    if request.param == "sqlite":
        log = open_log("log.db", tmp_path, {})
    else:
        running = request.getfixturevalue("server")
        running.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        log = open_log(running.address, tmp_path, {"PGPASSWORD": PASSWORD})
    yield log
    log.close()


def test_one_monitor_at_a_time_has_the_lease(log):
    assert claim(log, "m", "first", 100.0, seconds=30.0)
    assert not claim(log, "m", "second", 110.0, seconds=30.0)
    assert claim(log, "m", "first", 120.0, seconds=30.0)
    assert claim(log, "m", "second", 151.0, seconds=30.0)
    release(log, "m", "second")
    assert claim(log, "m", "first", 152.0, seconds=30.0)
    assert claim(log, "other", "second", 152.0, seconds=30.0)


def test_only_the_holder_stores_state(log):
    assert read_state(log, "m") is None
    claim(log, "m", "first", 100.0, seconds=30.0)
    store_state(log, "m", "second", {"rows": 1})
    assert read_state(log, "m") is None
    store_state(log, "m", "first", {"rows": [2, "ü"]})
    assert read_state(log, "m") == {"rows": [2, "ü"]}
    claim(log, "m", "second", 200.0, seconds=30.0)
    assert read_state(log, "m") == {"rows": [2, "ü"]}


def test_events_are_stored_once_and_read_in_order(log):
    later, early = (Event(f"e{at}", "m", at, "drift", "v", {"message": f"at {at}"}) for at in (20.0, 10.0))
    assert [store_event(log, event) for event in (later, early, later)] == [True, True, False]
    assert read_events(log, "m") == [early, later]
    assert read_events(log, "m", since=15.0) == [later]
    assert read_events(log, "other") == []


def test_last_point_of_a_minute_is_stored(log):
    store_points(log, "m", [Point(60.0, "v", {"log_e_value": 1.0}), Point(120.0, "v", {"log_e_value": 2.0})])
    store_points(log, "m", [Point(60.0, "w", {"log_e_value": 3.0})])
    assert [(point.at, point.version, point.details["log_e_value"]) for point in read_points(log, "m")] == [
        (60.0, "w", 3.0), (120.0, "v", 2.0)
    ]  # fmt: skip


def test_log_is_read_by_prediction_and_by_label_time(log):
    log.write([PredictionRecord(f"r{n}", float(n), "m", "v", {"x": n}, {"prediction": n}) for n in range(6)])
    log.add_labels([Label("r4", 1.0), Label("r1", 2.0)], 50.0)
    log.add_labels([Label("r3", 3.0)], 60.0)
    assert [row.id for row in log.after("m", (1.0, "r1"), until=5.0, limit=2)] == ["r2", "r3"]
    assert [row.id for row in log.latest("m", until=4.0, limit=2)] == ["r2", "r3"]
    assert [row.id for row in log.labeled_after("m", (0.0, ""))] == ["r1", "r4", "r3"]
    assert [row.id for row in log.labeled_after("m", (50.0, "r1"), until=60.0)] == ["r4"]


def test_shadows_are_counted_since_a_time(log):
    rows = [PredictionRecord(f"r{n}", float(n), "m", "w", {"x": n}, {"prediction": n}) for n in range(4)]
    log.write([PredictionRecord(row.id, row.at, "m", "v", row.inputs, row.response) for row in rows])
    log.write_shadows(rows)
    assert log.shadow_count("m", "w") == 4
    assert log.shadow_count("m", "w", since=2.0) == 2
    assert log.shadow_count("m", "v") == 0
