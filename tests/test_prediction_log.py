"""The prediction log: what is kept, what is never written, what survives a kill, and how truth is joined."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from estimator.errors import SourceError
from estimator.prediction_log import Label, LogEntry, LogWriter, open_log, records_of
from tests.servers import PASSWORD, postgresql

KEEPER = """
import sys, time
from pathlib import Path
from estimator.prediction_log import LogWriter, open_log
from tests.test_prediction_log import entry
writer = LogWriter(lambda: open_log(sys.argv[1], Path(), {}))
number = int(sys.argv[2])
while True:
    writer.offer(entry(number))
    number += 1
    print(writer.state.written, flush=True)
    time.sleep(0.0005)
"""


def entry(number: int, at: float = 1000.0, *, rows: int = 1) -> LogEntry:
    """Return a request of some rows and its answer; each row's id begins with the number."""
    asked = [{"x": number, "name": f"person {number}", "y": None} for _ in range(rows)]
    told = [
        {"id": f"{number:08d}-{row}", "prediction": number * 2.0, "interval": [0.0, 1.0], "out_of_range": []}
        for row in range(rows)
    ]
    return LogEntry(
        f"{number:08d}", at, "m", "v1", json.dumps(asked).encode(), json.dumps({"predictions": told}).encode()
    )


@pytest.fixture(scope="module")
def server():
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty log in a file, and one in a real PostgreSQL."""
    if request.param == "sqlite":
        found = open_log("log.db", tmp_path, {})
    else:
        running = request.getfixturevalue("server")
        running.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        found = open_log(running.address, tmp_path, {"PGPASSWORD": PASSWORD})
    yield found
    found.close()


def test_what_was_asked_and_answered_is_read_back(database):
    database.write(records_of(entry(7, 12.5, rows=2)))
    found = database.find("00000007-1")
    assert (found.at, found.model, found.version) == (12.5, "m", "v1")
    assert found.inputs == {"x": 7, "name": "person 7", "y": None}
    assert found.response == {"prediction": 14.0, "interval": [0.0, 1.0], "out_of_range": []}
    assert (found.label, found.labeled_at) == (None, None)
    assert database.find("nobody") is None


def test_the_tutorials_form_is_kept_too():
    answer = b'{"inputData":[{"x":1},{"x":2}],"predictions":[{"Price 0":3.5},{"Price 1":4.5}]}'
    found = records_of(LogEntry("a", 1.0, "m", "v", b'[{"x":1},{"x":2}]', answer))
    assert [row.response for row in found] == [{"prediction": 3.5}, {"prediction": 4.5}]
    assert [row.id for row in found] == ["a-0", "a-1"]


def test_writing_twice_does_no_harm(database):
    database.write(records_of(entry(1)))
    database.write(records_of(entry(1, 99.0)))
    assert database.count() == (1, 0)
    assert database.find("00000001-0").at == 1000.0


def test_what_other_versions_would_have_answered_is_kept_beside(database):
    database.write(records_of(entry(1)))
    for version in ("v3", "v2", "v2"):
        database.write_shadows(records_of(replace(entry(1), version=version)))
    assert list(database.shadows("00000001-0")) == ["v2", "v3"]
    assert database.shadows("00000001-0")["v2"]["prediction"] == 2.0
    assert database.find("00000001-0").version == "v1"
    database.delete_before(2000.0)
    assert database.shadows("00000001-0") == {}


def test_truth_may_come_before_and_after_and_be_corrected(database):
    assert database.add_labels([Label("00000001-0", 5.0)], 2000.0) == 0
    database.write(records_of(entry(1)))
    assert database.find("00000001-0").label == 5.0
    assert database.add_labels([Label("00000001-0", 6.0), Label("nobody", "x")], 3000.0) == 1
    database.add_labels([Label("00000001-0", 4.0)], 2500.0)
    found = database.find("00000001-0")
    assert (found.label, found.labeled_at) == (6.0, 3000.0)


def test_rows_are_read_by_time_each_once_however_many_share_it(database, monkeypatch):
    monkeypatch.setattr("estimator.prediction_log.log.PAGE_SIZE", 7)
    for number in range(40):
        database.write(records_of(entry(number, 1000.0 + number // 10)))
    found = [row.inputs["x"] for row in database.read("m", since=1001.0, until=1003.0)]
    assert sorted(found) == list(range(10, 30))
    assert list(database.read("other")) == []


def test_old_rows_are_forgotten_with_their_truth(database):
    database.write([*records_of(entry(1, 10.0)), *records_of(entry(2, 90.0))])
    database.add_labels([Label("00000001-0", 1.0), Label("00000002-0", 1.0)], 20.0)
    database.delete_before(50.0)
    assert [row.id for row in database.read("m")] == ["00000002-0"]
    assert database.count() == (1, 1)


def test_private_columns_are_never_written(tmp_path):
    writer = LogWriter(lambda: open_log("log.db", tmp_path, {}))
    writer.offer(replace(entry(1), private=frozenset({"name"})))
    writer.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"person 1" not in kept
    assert open_log("log.db", tmp_path, {}).find("00000001-0").inputs == {"x": 1, "y": None}


def test_a_slow_disk_costs_entries_that_are_counted_and_no_memory(tmp_path):
    blocked = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    open_log("log.db", tmp_path, {}).close()
    blocked.execute("BEGIN EXCLUSIVE")
    writer = LogWriter(lambda: open_log("log.db", tmp_path, {}), max_bytes=20 * entry(1).size_bytes)
    taken = [writer.offer(entry(number)) for number in range(100)]
    assert sum(taken) == 20
    assert (writer.state.dropped, writer.is_full) == (80, True)
    blocked.execute("COMMIT")
    writer.close()
    assert (writer.state.written, writer.state.waiting) == (20, 0)
    assert open_log("log.db", tmp_path, {}).count() == (20, 0)


def test_a_place_that_cannot_be_written_is_told_and_tried_again(tmp_path):
    (tmp_path / "folder").write_text("in the way")
    writer = LogWriter(lambda: open_log("folder/log.db", tmp_path, {}))
    writer.offer(entry(1))
    wait_for(lambda: writer.state.fault is not None)
    assert "the prediction log cannot be used" in writer.state.fault
    (tmp_path / "folder").unlink()
    wait_for(lambda: writer.state.written == 1)
    assert writer.state.fault is None
    writer.close()


def test_a_kill_loses_the_last_moment_alone_and_breaks_nothing(tmp_path):
    command = [sys.executable, "-c", KEEPER, str(tmp_path / "log.db"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        written = 0
        while written < 300:
            written = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        written = max([written, *(int(line) for line in process.stdout.read().split())])
    database = open_log("log.db", tmp_path, {})
    kept = sorted(row.inputs["x"] for row in database.read("m"))
    assert len(kept) >= written
    assert kept == list(range(len(kept)))
    assert database.query("PRAGMA integrity_check") == [("ok",)]


def test_two_processes_keep_one_log(tmp_path):
    commands = [[sys.executable, "-c", KEEPER, str(tmp_path / "log.db"), first] for first in ("0", "1000000")]
    root = Path(__file__).parent.parent
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for command in commands]
    for process in running:
        while int(process.stdout.readline()) < 200:
            pass
    for process in running:
        process.kill()
        process.communicate()
    database = open_log("log.db", tmp_path, {})
    numbers = [row.inputs["x"] for row in database.read("m")]
    assert sum(number < 1_000_000 for number in numbers) >= 200
    assert sum(number >= 1_000_000 for number in numbers) >= 200


def test_a_lost_connection_is_opened_again(server, tmp_path):
    database = open_log(server.address, tmp_path, {"PGPASSWORD": PASSWORD})
    server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'me'"
    )
    with pytest.raises(SourceError) as caught:
        database.count()
    assert PASSWORD not in caught.value.message
    database.write(records_of(entry(123)))
    assert database.find("00000123-0") is not None
    database.close()


@pytest.mark.parametrize(
    ("place", "told"),
    [("s3://bucket/log", "not in 's3'"), ("postgresql://me:secret@h/d", "has a password written in it")],
)
def test_places_that_are_no_log_are_refused(tmp_path, place, told):
    with pytest.raises(SourceError, match=told):
        open_log(place, tmp_path, {})


def test_what_is_no_database_is_refused_and_left_alone(tmp_path):
    (tmp_path / "log.db").write_text("a,b\n1,2\n" * 200)
    before = (tmp_path / "log.db").read_bytes()
    with pytest.raises(SourceError, match="not a database"):
        open_log("log.db", tmp_path, {})
    assert (tmp_path / "log.db").read_bytes() == before


def wait_for(holds, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)
