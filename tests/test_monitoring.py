"""A log that is watched: what becomes an event, when, how it is explained, who is told, and what people see."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from estimator import verbs
from estimator.config import Alert, Serving
from estimator.errors import EstimatorError
from estimator.monitoring.alerts import check_alerts, data_of, tell
from estimator.monitoring.budget import Budget
from estimator.monitoring.events import Event, read_events, read_points, store_event
from estimator.verbs.monitor import MonitoredModel
from tests.asking import Client, gateway
from tests.watched import FOLDER, MODEL, kinds, moved, sold


def words_of(rows, **changes):
    """Return houses with some columns changed."""
    return [({**row, **{name: change(row[name]) for name, change in changes.items()}}, price) for row, price in rows]


def test_houses_like_those_of_training_raise_no_alarm(market):
    market.send(sold(), truth=True)
    assert kinds(market.step()) == []
    assert read_points(market.database, MODEL)[-1].details["rows"] == len(sold())


def test_houses_of_another_area_are_told_within_few_rows(market):
    market.send(sold(200))
    market.send(moved(0, 60))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["after_rows"] <= 260
    row = int(event.id.rpartition("row")[2])
    assert row < 240
    assert {"Year_Built", "Foundation"} <= {each["column"] for each in event.details["columns"]}
    assert event.details["faults"] == []
    part = max(event.details["grown"], key=lambda each: each["now"] - each["before"])
    assert part["now"] > part["before"] + 0.1
    assert "change of the world" in event.message
    assert event.details["answers"]["effect"] > 0.1
    assert "label some of these rows" in event.details["next"]


@pytest.mark.parametrize(
    ("column", "change", "told"),
    [
        ("Gr_Liv_Area", lambda value: str(round(float(value) * 0.092903)), "another unit"),
        ("House_Style", lambda value: value.upper().replace("_", " "), "spelled otherwise"),
        ("Foundation", lambda value: f"F{len(value)}", "codes that training did not know"),
        ("Fireplaces", lambda value: "0", "the same in every row"),
    ],
)
def test_a_fault_upstream_is_called_one(market, column, change, told):
    market.send(sold(100))
    market.send(words_of(sold(120), **{column: change}))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["columns"][0]["column"] == column
    assert any(told in fault and column in fault for fault in event.details["faults"]), event.details["faults"]
    assert "fault upstream" in event.message


def test_an_alarm_that_still_holds_is_told_again_only_after_a_while(market):
    market.send(moved(0, 80))
    assert kinds(market.step()) == ["drift"]
    market.send(moved(80, 300))
    assert kinds(market.step()) == []
    # Also when all of it is looked at in one go.
    market.send(moved(300, 900))
    assert kinds(market.step()) == []
    market.now += 8 * 86_400.0
    market.send(moved(900, 1000))
    assert kinds(market.step()) == ["drift"]


def test_a_long_log_that_moved_is_one_alarm(market):
    market.send(moved(0, 1100))
    (event,) = [each for each in market.step() if each.kind == "drift"]
    assert event.details["faults"] == []


def test_a_watcher_that_was_killed_finds_the_same_again_and_tells_nothing_twice(market):
    market.send(sold(150))
    loop = market.loop()
    loop.step(market.now + 5)
    # It is gone without a word, and nobody else may watch until its time is over.
    market.send(moved(0, 60))
    other = market.loop(holder="other")
    assert other.step(market.now + 5) == []
    market.now += 40
    assert kinds(other.step(market.now)) == ["drift"]
    assert kinds(market.step()) == []
    assert len([event for event in read_events(market.database, MODEL) if event.kind == "drift"]) == 1


def test_losses_are_proven_by_truths_however_late_they_come(market):
    rows = market.send(sold(100)) + market.send(moved(0, 80))
    market.step()
    prices = [price for _, price in [*sold(100), *moved(0, 80)]]
    market.tell(rows, prices, after=3 * 86_400.0)
    (event,) = [each for each in market.step("monitoring.on_degradation=warn") if each.kind == "degradation"]
    assert event.details["latest_loss"] > 1.5 * event.details["usual_loss"]
    found = verbs.monitor.monitor(
        MonitoredModel(MODEL, str(market.log)),
        verbs.Context(store_path=str(market.store.root)),
        since=None,
        until=market.now,
    )
    assert found.truth.delays["median"] == pytest.approx(3.0, abs=0.1)
    assert found.truth.labels == 180
    assert any("Year_Built" in weak.words for weak in found.truth.weak)


def test_labels_that_come_early_are_not_taken_for_all(market):
    rows = market.send(sold(200))
    market.tell(rows[:40], [price for _, price in sold(40)])
    order, site = verbs.Context(store_path=str(market.store.root)), MonitoredModel(MODEL, str(market.log))
    found = verbs.monitor.monitor(site, order, since=None, until=market.now)
    assert any("truth is known for 20% of the rows" in each for each in found.truth.warnings)


def test_what_is_expected_before_labels_says_what_it_is_blind_to(market):
    market.send(sold(100))
    order, site = verbs.Context(store_path=str(market.store.root)), MonitoredModel(MODEL, str(market.log))
    truth = verbs.monitor.monitor(site, order, since=None, until=market.now).truth
    assert truth.expected == pytest.approx(truth.usual_loss, rel=0.3)
    assert any("this figure does not move" in each for each in truth.warnings)


def test_private_columns_are_not_watched_and_raise_no_alarm(market):
    market.send(sold(), private=["Gr_Liv_Area", "Lot_Area"])
    assert kinds(market.step()) == []
    order, site = verbs.Context(store_path=str(market.store.root)), MonitoredModel(MODEL, str(market.log))
    assert verbs.monitor.monitor(site, order, since=None, until=market.now).unwatched == ["Lot_Area", "Gr_Liv_Area"]


def test_a_check_on_schedule_spends_what_the_time_allows(market):
    market.send(sold(100))
    (event,) = market.step()
    assert event.kind == "check"
    assert event.details["level"] == pytest.approx(1 / 365.25 / 3, rel=0.01)
    market.send(sold(50))
    assert [each for each in market.step() if each.kind == "check"] == []
    market.now += 86_400.0
    market.send(moved(0, 100))
    assert [each.details["drifted"] for each in market.step() if each.kind == "check"] == [True]


@pytest.mark.parametrize(
    ("text", "block", "threshold"),
    [("1 per year", "1 day", 1095.75), ("3 per year", "1 day", 365.25), ("1 per month", "1 hour", 2191.5)],
)
def test_a_budget_is_blocks_until_a_false_alarm(text, block, threshold):
    from estimator.config import Monitoring

    budget = Budget.of(Monitoring(false_alarms=text, restart_every=block))
    assert budget.threshold == pytest.approx(threshold)


@pytest.fixture
def receiver():
    """A web server that takes posts, the first ones of which it may refuse."""
    taken, refusals = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = refusals.pop() if refusals else 200
            taken.append((self.path, status, content))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken, refusals
    server.shutdown()
    server.server_close()
    thread.join()


def drift(market, now):
    event = Event("m:v:drift:1", MODEL, now, "drift", "v", {
        "message": "rows moved", "columns": [{"column": "size", "message": "larger values", "effect": 0.5}],
        "answers": {"message": "larger"}, "examples": [{"inputs": {"name": "secret"}}], "next": "look",
    })  # fmt: skip
    store_event(market.database, event)
    return event


def test_everybody_is_told_once_in_the_form_they_take(market, receiver):
    address, taken, _ = receiver
    alerts = [Alert(url="${HOOK}/plain"), Alert(kind="slack", url="${HOOK}/slack")]
    event = drift(market, market.now)
    for _ in range(2):
        tell(market.database, [event], alerts, {"HOOK": address}, now=market.now)
    (plain, slack) = taken
    assert plain[0] == "/plain"
    assert plain[2]["kind"] == "drift"
    assert "examples" not in plain[2]
    assert slack[2].keys() == {"text"}
    assert "size: larger values" in slack[2]["text"]


def test_what_did_not_arrive_is_tried_again(market, receiver):
    address, taken, refusals = receiver
    notes, alert, event = [], Alert(url=f"{address}/hook"), drift(market, market.now)
    refusals += [503, 503]
    tell(market.database, [event], [alert], {}, now=market.now, note=notes.append, pause=lambda seconds: None)
    assert [status for _, status, _ in taken] == [503, 503, 200]
    refusals += [404]
    later = Event("m:v:drift:2", *[getattr(event, name) for name in ("model", "at", "kind", "version", "details")])
    tell(market.database, [later], [alert], {}, now=market.now, note=notes.append, pause=lambda seconds: None)
    assert "was not told" in notes[0]
    tell(market.database, [later], [alert], {}, now=market.now, note=notes.append, pause=lambda seconds: None)
    assert taken[-1][1] == 200


def test_mail_arrives_as_people_read_it(market):
    taken = []

    def serve(listener):
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb", buffering=0) as stream:
            stream.write(b"220 here\r\n")
            is_content, lines = False, []
            for line in stream:
                text = line.decode().rstrip("\r\n")
                if is_content:
                    is_content = text != "."
                    lines.append(text)
                    if not is_content:
                        stream.write(b"250 taken\r\n")
                    continue
                is_content = text.upper().startswith("DATA")
                ends = text.upper().startswith("QUIT")
                stream.write(b"354 go on\r\n" if is_content else b"221 bye\r\n" if ends else b"250 fine\r\n")
                if ends:
                    break
            taken.extend(lines)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        alert = Alert(kind="mail", url=url, sender="watch@example.org", to=["me@example.org"])
        tell(market.database, [drift(market, market.now)], [alert], {}, now=market.now)
        thread.join()
    assert f"Subject: [{MODEL}] drift" in taken
    assert any("rows moved" in line for line in taken)


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        (Alert(url="ftp://host/x"), "expected http:// or https://"),
        (Alert(url="${NOT_SET}"), "NOT_SET"),
        (Alert(kind="mail", url="https://host", sender="a@b.c", to=["a@b.c"]), "expected smtp:// or smtps://"),
        (Alert(url="https://me:hunter2@host/x"), "${"),
    ],
)
def test_an_alert_that_can_never_arrive_is_refused(alert, told):
    with pytest.raises(EstimatorError) as caught:
        check_alerts([alert], {})
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert "hunter2" not in caught.value.message


def test_an_alarm_ends_the_verb_with_3(market, run):
    words = ("monitor", MODEL, "--log", market.log, "--store", market.store.root)
    market.now = time.time() - 3600.0
    market.send(sold(100), truth=True)
    code, told, _ = run(*words, "--json")
    assert (code, told["alarmed"], told["rows"]) == (0, False, 100)
    market.send(moved(0, 100))
    market.step()
    code, told, _ = run(*words)
    assert code == 3
    assert f"{MODEL} {market.live.version}: ALARM" in told["text"]
    assert "Year_Built" in told["text"]


def test_a_table_is_compared_with_training(market, run, tmp_path):
    words = ("monitor", MODEL, "--store", market.store.root, "--json", "--input")
    assert run(*words, FOLDER / "same_area.csv.gz")[0] == 0
    code, told, _ = run(*words, FOLDER / "other_area.csv.gz")
    assert (code, told["drifted"]) == (3, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--log", "none.db"), "there is no prediction log"),
        (("--log", "LOG", "--since", "yesterday"), "expected a time"),
        (("--log", "LOG", "--set", "monitoring.false_alarms=never"), "expected a budget"),
        (("--log", "LOG", "--set", "monitoring.ignor=[]"), "ignore"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_a_way_out(market, run, words, told):
    market.send(sold(20))
    named = [str(market.log) if word == "LOG" else word for word in words]
    code, _, said = run("monitor", MODEL, "--store", market.store.root, *named)
    assert code in (1, 2)
    assert told in said


def test_a_version_without_a_reference_says_so(market, run):
    folder = market.live.folder
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["profile.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    market.send(sold(20))
    code, _, said = run("monitor", MODEL, "--store", market.store.root, "--log", market.log)
    assert code == 1
    assert "train it again" in said


@pytest.mark.parametrize(
    ("words", "told"), [((), "there is none"), (("--log", "LOG"), "lies in no store")], ids=["no log", "no store"]
)
def test_a_server_that_cannot_be_watched_does_not_start(market, run, tmp_path, words, told):
    shutil.copytree(market.live.folder, tmp_path / "baked")
    named = [str(market.log) if word == "LOG" else word for word in words]
    code, _, said = run("serve", "--model", tmp_path / "baked", "--port", "0", "--watch", *named)
    assert code == 1
    assert told in said


def test_an_empty_log_is_no_alarm(market, run):
    market.database.close()
    code, told, _ = run("monitor", MODEL, "--store", market.store.root, "--log", market.log)
    assert code == 0
    assert "no row that this version answered" in told["text"]


def test_one_row_can_be_looked_at(market, run):
    market.send(sold(1))
    assert run("monitor", MODEL, "--store", market.store.root, "--log", market.log)[0] == 0


def test_the_server_shows_the_page_to_those_who_may_see_it(market):
    market.send(sold(50))
    plain = Client(gateway(market.live, serving=Serving(), connect_log=lambda: market.database))
    answer = plain("GET", "/monitor")
    assert answer.status_code == 200
    assert "watched" in answer.text
    assert plain("GET", "/monitor?model=none").status_code == 404
    for days in ("x", "nan", "-1", "inf", ""):
        assert plain("GET", f"/monitor?days={days}").status_code == 422
    assert Client(gateway(market.live, serving=Serving()))("GET", "/monitor").status_code == 404


def test_what_is_told_to_webhooks_holds_no_value_of_a_row(market):
    market.send(moved(0, 80))
    (event,) = [each for each in market.step() if each.kind == "drift"]
    assert event.details["examples"]
    assert "examples" not in data_of(event)
