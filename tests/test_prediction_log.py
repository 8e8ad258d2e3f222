"""The prediction log: what is stored, what never is, what survives a kill, and how labels are joined."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from estimator.errors import SourceError
from estimator.prediction_log import Label, LabelCounts, LogEntry, LogWriter, open_log, records_of
from estimator.prediction_log.log import START
from tests.clients import serving
from tests.servers import PASSWORD, postgresql

WRITER = """
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
    """Return the log entry of a request; the id of each row begins with the number."""
    rows_sent = [{"x": number, "name": f"person {number}", "y": None} for _ in range(rows)]
    predictions = [
        {"id": f"{number:08d}-{row}", "prediction": number * 2.0, "interval": [0.0, 1.0], "out_of_range": []}
        for row in range(rows)
    ]
    return LogEntry(
        f"{number:08d}",
        at,
        "m",
        "v1",
        json.dumps(rows_sent).encode(),
        json.dumps({"predictions": predictions}).encode(),
    )


@pytest.fixture(scope="module")
def server():
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty log in a file, and one in a real PostgreSQL."""
    if request.param == "sqlite":
        log = open_log("log.db", tmp_path, {})
    else:
        running = request.getfixturevalue("server")
        running.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        log = open_log(running.address, tmp_path, {"PGPASSWORD": PASSWORD})
    yield log
    log.close()


def test_inputs_and_response_are_read_back(database):
    database.write(records_of(entry(7, 12.5, rows=2)))
    record = database.find("00000007-1")
    assert (record.at, record.model, record.version) == (12.5, "m", "v1")
    assert record.inputs == {"x": 7, "name": "person 7", "y": None}
    assert record.response == {"prediction": 14.0, "interval": [0.0, 1.0], "out_of_range": []}
    assert (record.label, record.labeled_at) == (None, None)
    assert database.find("unknown") is None


def test_tutorial_response_is_stored():
    response = b'{"inputData":[{"x":1},{"x":2}],"predictions":[{"Price 0":3.5},{"Price 1":4.5}]}'
    records = records_of(LogEntry("a", 1.0, "m", "v", b'[{"x":1},{"x":2}]', response))
    assert [row.response for row in records] == [{"prediction": 3.5}, {"prediction": 4.5}]
    assert [row.id for row in records] == ["a-0", "a-1"]


def test_writing_twice_is_harmless(database):
    database.write(records_of(entry(1)))
    database.write(records_of(entry(1, 99.0)))
    assert database.count() == (1, 0)
    assert database.find("00000001-0").at == 1000.0


def test_shadow_predictions_are_stored_by_version(database):
    database.write(records_of(entry(1)))
    for version in ("v3", "v2", "v2"):
        database.write_shadows(records_of(replace(entry(1), version=version)))
    assert list(database.shadows("00000001-0")) == ["v2", "v3"]
    assert database.shadows("00000001-0")["v2"]["prediction"] == 2.0
    assert database.find("00000001-0").version == "v1"
    database.delete_before(2000.0)
    assert database.shadows("00000001-0") == {}


def test_label_may_come_first_and_be_corrected(database):
    assert database.add_labels([Label("00000001-0", 5.0)], 2000.0) == LabelCounts(matched=0, replaced=0)
    database.write(records_of(entry(1)))
    assert database.find("00000001-0").label == 5.0
    counts = database.add_labels([Label("00000001-0", 6.0), Label("unknown", "x")], 3000.0)
    assert counts == LabelCounts(matched=1, replaced=1)
    record = database.find("00000001-0")
    assert (record.label, record.labeled_at) == (6.0, 3000.0)


def test_correction_counts_and_is_read_again_after_the_clock_jumped_back(database):
    database.write(records_of(entry(1)))
    database.add_labels([Label("00000001-0", 5.0)], 2000.0)
    (read,) = database.labeled_after("m", START)
    # The second correction of a request replaces the first, of the same time.
    corrections = [Label("00000001-0", value) for value in (6.0, 7.0)]
    assert database.add_labels(corrections, 1500.0) == LabelCounts(matched=1, replaced=1)
    (again,) = database.labeled_after("m", (read.labeled_at, read.id))
    assert again.label == 7.0
    assert again.labeled_at == pytest.approx(2000.0, abs=1e-3)


def test_rows_of_the_same_time_are_read_once(database, monkeypatch):
    monkeypatch.setattr("estimator.prediction_log.log.PAGE_SIZE", 7)
    for number in range(40):
        database.write(records_of(entry(number, 1000.0 + number // 10)))
    numbers = [row.inputs["x"] for row in database.read("m", since=1001.0, until=1003.0)]
    assert sorted(numbers) == list(range(10, 30))
    assert list(database.read("other")) == []


def test_old_rows_are_deleted_with_their_labels(database):
    database.write([*records_of(entry(1, 10.0)), *records_of(entry(2, 90.0))])
    database.add_labels([Label("00000001-0", 1.0), Label("00000002-0", 1.0)], 20.0)
    database.delete_before(50.0)
    assert [row.id for row in database.read("m")] == ["00000002-0"]
    assert database.count() == (1, 1)


def test_private_columns_are_never_written(tmp_path):
    writer = LogWriter(lambda: open_log("log.db", tmp_path, {}))
    writer.offer(replace(entry(1), private=frozenset({"name"})))
    writer.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"person 1" not in stored
    assert open_log("log.db", tmp_path, {}).find("00000001-0").inputs == {"x": 1, "y": None}


def test_slow_disk_drops_and_counts_entries(tmp_path):
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


def test_unwritable_log_is_reported_and_tried_again(tmp_path):
    (tmp_path / "folder").write_text("in the way")
    writer = LogWriter(lambda: open_log("folder/log.db", tmp_path, {}))
    writer.offer(entry(1))
    wait_for(lambda: writer.state.fault is not None)
    assert "the prediction log cannot be used" in writer.state.fault
    (tmp_path / "folder").unlink()
    wait_for(lambda: writer.state.written == 1)
    assert writer.state.fault is None
    writer.close()


def odd_entry(number: int, rows: bytes) -> LogEntry:
    return replace(entry(number), rows=rows)


ROW = '[{"x": 1, "name": "Zoë", "y": %s}]'


@pytest.mark.parametrize(
    ("rows", "y"),
    [
        ((ROW % "null").encode("utf-16-le"), None),
        ((ROW % "null").encode("utf-16"), None),
        ((ROW % "null").encode("utf-32-be"), None),
        ((ROW % "null").encode("utf-8-sig"), None),
        ((ROW % "[NaN]").encode(), ["NaN"]),
        ((ROW % "-Infinity").encode(), "-Infinity"),
        ((ROW % '"@"').encode().replace(b"@", b"\xed\xa0\x80"), "\ufffd\ufffd\ufffd"),
        ((ROW % "123456789012345678901234567890").encode(), 123456789012345678901234567890),
    ],
)
def test_body_that_is_no_strict_json_is_written(tmp_path, rows, y):
    writer = LogWriter(lambda: open_log("log.db", tmp_path, {}))
    writer.offer(odd_entry(1, rows))
    writer.close()
    assert (writer.state.written, writer.state.set_aside) == (1, 0)
    assert open_log("log.db", tmp_path, {}).find("00000001-0").inputs == {"x": 1, "name": "Zoë", "y": y}


UNSTORABLE = (
    b"",
    b"\x00\xd8",
    b"{}",
    b"[]",
    b"[1]",
    b'[{"x": "\\ud800"}]',
    b"[{}, {}]",
    b"\xff\xfe\xfd",
    b"[" * 50_000,
)


def test_what_cannot_be_stored_is_set_aside_alone(tmp_path, caplog):
    """Odd entries among good ones, in one batch and across batches: all good ones are in the log, once."""
    writer = LogWriter(lambda: open_log("log.db", tmp_path, {}))
    for number in range(200):
        odd = UNSTORABLE[number // 10 % len(UNSTORABLE)]
        writer.offer(odd_entry(number, odd) if number % 10 == 7 else entry(number))
    writer.close()
    assert (writer.state.written, writer.state.set_aside, writer.state.waiting) == (180, 20, 0)
    assert (writer.state.fault, writer.state.restarts) == (None, 0)
    log = open_log("log.db", tmp_path, {})
    assert {row.id for row in log.read("m")} == {f"{number:08d}-0" for number in range(200) if number % 10 != 7}
    (first, *_) = (record for record in caplog.records if "set aside" in record.message)
    assert first.fields["request_id"] == "00000007"


def test_value_that_the_database_cannot_hold_is_set_aside(database, tmp_path):
    """A zero byte in an id is what PostgreSQL cannot hold, half a character what SQLite cannot."""
    odd = replace(entry(1), request_id="\x00" if "postgresql" in database.name else "\ud800")
    writer = LogWriter(lambda: database)
    for item in (entry(0), odd, entry(2)):
        writer.offer(item)
    wait_for(lambda: writer.state.set_aside == 1 and writer.state.written == 2)
    assert [row.id for row in database.read("m")] == ["00000000-0", "00000002-0"]
    assert writer.state.fault is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt])
def test_dead_writer_is_said_and_replaced(tmp_path, caplog, death):
    others = set(threading.enumerate())
    writer = LogWriter(lambda: open_log("log.db", tmp_path, {}))
    writer.offer(entry(0))
    wait_for(lambda: writer.state.written == 1)
    (thread,) = {item for item in threading.enumerate() if item.name == "prediction log"} - others
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(death))
    thread.join(60)
    for number in range(1, 50):
        writer.offer(entry(number))
    writer.close()
    assert (writer.state.written, writer.state.restarts, writer.state.fault) == (50, 1, None)
    assert "the prediction log cannot be written" in caplog.text
    assert open_log("log.db", tmp_path, {}).count() == (50, 0)


def test_kill_loses_only_the_last_moment(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log.db"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        written = 0
        while written < 300:
            written = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        written = max([written, *(int(line) for line in process.stdout.read().split())])
    database = open_log("log.db", tmp_path, {})
    stored = sorted(row.inputs["x"] for row in database.read("m"))
    assert len(stored) >= written
    assert stored == list(range(len(stored)))
    assert database.query("PRAGMA integrity_check") == [("ok",)]


def test_two_processes_write_one_log(tmp_path):
    commands = [[sys.executable, "-c", WRITER, str(tmp_path / "log.db"), first] for first in ("0", "1000000")]
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


def test_lost_connection_is_opened_again(server, tmp_path):
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
    ("url", "message"), [("s3://bucket/log", "not in 's3'"), ("postgresql://me:secret@h/d", "password")]
)
def test_url_of_another_kind_is_an_error(tmp_path, url, message):
    with pytest.raises(SourceError, match=message):
        open_log(url, tmp_path, {})


def test_file_that_is_not_a_database_stays_intact(tmp_path):
    (tmp_path / "log.db").write_text("a,b\n1,2\n" * 200)
    before = (tmp_path / "log.db").read_bytes()
    with pytest.raises(SourceError, match="not a database"):
        open_log("log.db", tmp_path, {})
    assert (tmp_path / "log.db").read_bytes() == before


def wait_for(holds, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_server_deletes_rows_older_than_configured(store, tmp_path, monkeypatch):
    log = open_log("log.db", tmp_path, {})
    log.write(records_of(entry(1, time.time() - 3 * 86_400.0)))
    log.write(records_of(entry(2, time.time() - 1 * 86_400.0)))
    monkeypatch.setenv("ESTIMATOR_CONFIG__SERVING__LOG_RETENTION_DAYS", "2")
    with serving(store / "house_pricing_model", "--log", str(tmp_path / "log.db")):
        wait_for(lambda: log.count() == (1, 0))
    assert log.find("00000002-0") is not None
    log.close()
