"""Monitoring a log: which rows raise an alarm and when, its diagnosis, the alerts, and the command line."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import threading
import time
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from estimator.config import Alert, Monitoring, Serving
from estimator.errors import EstimatorError
from estimator.monitoring.alerts import alert_data, check_alerts, send_alerts
from estimator.monitoring.budget import FalseAlarmBudget
from estimator.monitoring.events import Event, read_events, read_points, store_event
from estimator.monitoring.performance import live_performance
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import PredictionRecord, open_log
from estimator.verbs import monitor
from tests.clients import Client, gateway
from tests.market import FOLDER, MODEL, kinds, other_area, same_area
from tests.test_learned_rows import table, trained


def changed(rows, **changes):
    """Return houses with some columns changed."""
    return [({**row, **{name: change(row[name]) for name, change in changes.items()}}, price) for row, price in rows]


def test_rows_like_training_raise_no_alarm(market):
    market.send(same_area(), labels=True)
    assert kinds(market.step()) == []
    assert read_points(market.open_log(), MODEL)[-1].details["n_rows"] == len(same_area())


def test_drift_is_an_alarm_within_40_rows(market):
    market.send(same_area(200))
    market.send(other_area(0, 60))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["after_rows"] <= 260
    row = int(event.id.rpartition("row")[2])
    assert row < 240
    assert {"Year_Built", "Foundation"} <= {moved["column"] for moved in event.details["columns"]}
    assert event.details["data_faults"] == []
    grown = max(event.details["grown_slices"], key=lambda item: item["current"] - item["reference"])
    assert grown["current"] > grown["reference"] + 0.1
    assert "likely a real change" in event.message
    assert event.details["predictions"]["effect"] > 0.1
    assert "label some of these rows" in event.details["next"]


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("Gr_Liv_Area", lambda value: str(round(float(value) * 0.092903)), "another unit"),
        ("House_Style", lambda value: value.upper().replace("_", " "), "another spelling"),
        ("Foundation", lambda value: f"F{len(value)}", "unknown categories"),
        ("Fireplaces", lambda value: "0", "is constant"),
    ],
)
def test_data_fault_is_named(market, column, change, message):
    market.send(same_area(100))
    market.send(changed(same_area(220)[100:], **{column: change}))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["columns"][0]["column"] == column
    assert any(message in fault and column in fault for fault in event.details["data_faults"]), event.details[
        "data_faults"
    ]
    assert "likely a data fault" in event.message


def test_lasting_alarm_is_repeated_after_a_week(market):
    market.send(other_area(0, 80))
    assert kinds(market.step()) == ["drift"]
    market.send(other_area(80, 300))
    assert kinds(market.step()) == []
    # Also when all of it is looked at in one go.
    market.send(other_area(300, 900))
    assert kinds(market.step()) == []
    market.now += 8 * 86_400.0
    market.send(other_area(900, 1000))
    assert kinds(market.step()) == ["drift"]


def test_alarm_is_repeated_as_configured(market):
    repeat = "monitoring.repeat_after=2 days"
    market.send(other_area(0, 80))
    assert kinds(market.step(repeat)) == ["drift"]
    market.now += 1 * 86_400.0
    market.send(other_area(80, 300))
    assert kinds(market.step(repeat)) == []
    market.now += 3 * 86_400.0
    market.send(other_area(300, 400))
    assert kinds(market.step(repeat)) == ["drift"]


def test_another_change_after_an_alarm_is_an_alarm_of_its_own(market):
    market.send(changed(same_area(120), Fireplaces=lambda value: "0"))
    (first,) = [event for event in market.step() if event.kind == "drift"]
    market.send(
        changed(same_area(290), Fireplaces=lambda value: "0", Gr_Liv_Area=lambda value: str(float(value) * 1000.0))
    )
    (second,) = [event for event in market.step() if event.kind == "drift"]
    assert "Gr_Liv_Area" not in str(first.details["columns"])
    assert second.details["columns"][0]["column"] == "Gr_Liv_Area"
    market.send(
        changed(same_area(290), Fireplaces=lambda value: "0", Gr_Liv_Area=lambda value: str(float(value) * 1000.0))
    )
    assert kinds(market.step()) == []


def test_an_explanation_by_few_rows_is_made_again_of_more(market):
    market.send(other_area(0, 60))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["n_rows"] < 100
    market.send(other_area(60, 160))
    market.step()
    (explained,) = [stored for stored in read_events(market.open_log(), MODEL) if stored.id == event.id]
    assert explained.details["n_rows"] == 100, "later rows of the same read may show another change"
    assert explained.details["log_e_value"] == event.details["log_e_value"]


def test_an_alarm_that_is_found_late_is_sent(market, receiver):
    address, taken, _ = receiver
    market.send(other_area(0, 80))
    market.now += 3 * 86_400.0
    for _ in range(2):
        market.step(f'monitoring.alerts=[{{"kind": "slack", "url": "{address}"}}]')
    (text,) = [body["text"] for _, _, body in taken if "drift in" in body["text"]]
    assert "example rows: row0" in text


def test_quiet_checks_are_sent_to_programs_alone(market, receiver):
    address, taken, _ = receiver
    check = Event("m:v:check:1", MODEL, market.now, "check", "v", {"message": "no drift"})
    alerts = [Alert(kind=kind, url=f"{address}/{kind}") for kind in ("slack", "webhook")]
    send_alerts(market.open_log(), [check], alerts, {}, now=market.now)
    assert [path for path, _, _ in taken] == ["/webhook"]


def test_long_log_that_drifted_is_one_alarm(market):
    market.send(other_area(0, 1100))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["data_faults"] == []


def test_killed_monitor_repeats_no_event(market):
    market.send(same_area(150))
    loop = market.loop()
    loop.step(market.now + 5)
    # It was killed, and its lease lasts for a while.
    market.send(other_area(0, 60))
    other = market.loop(holder="other")
    assert other.step(market.now + 5) == []
    market.now += 40
    assert kinds(other.step(market.now)) == ["drift"]
    assert kinds(market.step()) == []
    assert len([event for event in read_events(market.open_log(), MODEL) if event.kind == "drift"]) == 1


def test_late_labels_prove_degradation(market):
    rows = market.send(same_area(100)) + market.send(other_area(0, 80))
    market.step()
    prices = [price for _, price in [*same_area(100), *other_area(0, 80)]]
    market.label(rows, prices, after_seconds=3 * 86_400.0)
    (event,) = [event for event in market.step("monitoring.on_degradation=warn") if event.kind == "degradation"]
    assert "on the last" in event.message
    assert event.details["log_e_value"] >= event.details["log_threshold"]
    performance = market.overview().performance
    assert performance.label_delays["median"] == pytest.approx(3.0, abs=0.1)
    assert performance.n_labels == 180
    assert any("Year_Built" in weak.condition for weak in performance.weak_slices)


def test_a_version_that_keeps_no_held_out_errors_comes_with_a_warning(market):
    market.send(same_area(30), labels=True)
    records = market.open_log().latest(MODEL, until=market.now + 5.0, limit=30)
    reader = RecordReader(market.live, drift_reference(market.live))
    without = replace(reader, reference=replace(reader.reference, held_out=None))
    assert not any("no alarm" in warning for warning in live_performance(reader, records).warnings)
    assert any("no alarm can say" in warning for warning in live_performance(without, records).warnings)


def test_early_labels_come_with_a_warning(market):
    rows = market.send(same_area(200))
    market.label(rows[:40], [price for _, price in same_area(40)])
    performance = market.overview().performance
    assert any("20% of the rows have a label" in warning for warning in performance.warnings)


def test_expected_loss_says_what_it_cannot_show(market):
    market.send(same_area(100))
    performance = market.overview().performance
    assert performance.expected_loss == pytest.approx(performance.reference_loss, rel=0.3)
    assert any("how the target depends" in warning for warning in performance.warnings)


def test_private_columns_are_not_monitored(market):
    market.send(same_area(), private=["Gr_Liv_Area", "Lot_Area"])
    assert kinds(market.step()) == []
    assert market.overview().private_columns == ["Lot_Area", "Gr_Liv_Area"]


def test_scheduled_check_spends_its_share_of_the_budget(market):
    market.send(same_area(100))
    (event,) = market.step()
    assert event.kind == "check"
    assert event.details["alpha"] == pytest.approx(1 / 365.25 / 3, rel=0.01)
    market.send(same_area(50))
    assert [event for event in market.step() if event.kind == "check"] == []
    market.now += 86_400.0
    market.send(other_area(0, 100))
    assert [event.details["drifted"] for event in market.step() if event.kind == "check"] == [True]


@pytest.mark.parametrize(
    ("text", "block", "threshold"),
    [("1 per year", "1 day", 1095.75), ("3 per year", "1 day", 365.25), ("1 per month", "1 hour", 2191.5)],
)
def test_threshold_follows_from_the_budget(text, block, threshold):
    budget = FalseAlarmBudget.of(Monitoring(false_alarms=text, restart_every=block))
    assert budget.threshold == pytest.approx(threshold)


@pytest.fixture
def receiver():
    """A web server that records posts and can reject the first ones."""
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
        "predictions": {"message": "larger"}, "examples": [{"inputs": {"name": "secret"}}], "next": "look",
    })  # fmt: skip
    store_event(market.open_log(), event)
    return event


def test_alert_is_sent_once_in_the_form_of_its_kind(market, receiver):
    address, taken, _ = receiver
    alerts = [Alert(url="${HOOK}/plain"), Alert(kind="slack", url="${HOOK}/slack")]
    event = drift(market, market.now)
    for _ in range(2):
        send_alerts(market.open_log(), [event], alerts, {"HOOK": address}, now=market.now)
    (plain, slack) = taken
    assert plain[0] == "/plain"
    assert plain[2]["kind"] == "drift"
    assert "examples" not in plain[2]
    assert slack[2].keys() == {"text"}
    assert "size: larger values" in slack[2]["text"]


def test_undelivered_alert_is_sent_again(market, receiver):
    address, taken, refusals = receiver
    notes, alert, event = [], Alert(url=f"{address}/hook"), drift(market, market.now)
    refusals += [503, 503]
    send_alerts(market.open_log(), [event], [alert], {}, now=market.now, note=notes.append, pause=lambda seconds: None)
    assert [status for _, status, _ in taken] == [503, 503, 200]
    refusals += [404]
    later = Event("m:v:drift:2", *[getattr(event, name) for name in ("model", "at", "kind", "version", "details")])
    send_alerts(market.open_log(), [later], [alert], {}, now=market.now, note=notes.append, pause=lambda seconds: None)
    assert "was not delivered" in notes[0]
    send_alerts(market.open_log(), [later], [alert], {}, now=market.now, note=notes.append, pause=lambda seconds: None)
    assert taken[-1][1] == 200


def test_mail_is_plain_text(market):
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
        send_alerts(market.open_log(), [drift(market, market.now)], [alert], {}, now=market.now)
        thread.join()
    assert f"Subject: [{MODEL}] drift" in taken
    assert any("rows moved" in line for line in taken)


@pytest.mark.parametrize(
    ("alert", "message"),
    [
        (Alert(url="ftp://host/x"), "expected http:// or https://"),
        (Alert(url="${NOT_SET}"), "NOT_SET"),
        (Alert(kind="mail", url="https://host", sender="a@b.c", to=["a@b.c"]), "expected smtp:// or smtps://"),
        (Alert(url="https://me:hunter2@host/x"), "${"),
    ],
)
def test_undeliverable_alert_is_rejected(alert, message):
    with pytest.raises(EstimatorError) as caught:
        check_alerts([alert], {})
    assert message in f"{caught.value.message} {caught.value.hint}"
    assert "hunter2" not in caught.value.message


def test_alarm_exits_with_3(market, run):
    arguments = ("monitor", MODEL, "--log", market.log_path, "--store", market.store.root)
    market.now = time.time() - 3600.0
    market.send(same_area(100), labels=True)
    code, output, _ = run(*arguments, "--json")
    assert (code, output["alarm"], output["n_rows"]) == (0, False, 100)
    market.send(other_area(0, 100))
    market.step()
    code, output, _ = run(*arguments)
    assert code == 3
    assert f"{MODEL} {market.live.version}: ALARM" in output["text"]
    assert "Year_Built" in output["text"]


def test_times_of_json_are_iso_8601(market, run):
    market.send(same_area(20))
    arguments = ("monitor", MODEL, "--log", market.log_path, "--store", market.store.root, "--json")
    _, output, _ = run(*arguments)
    assert datetime.fromisoformat(output["since"]) <= datetime.fromisoformat(output["until"])


def test_table_is_compared_with_training(market, run, tmp_path):
    arguments = ("monitor", MODEL, "--store", market.store.root, "--json", "--input")
    assert run(*arguments, FOLDER / "same_area.csv.gz")[0] == 0
    code, output, _ = run(*arguments, FOLDER / "other_area.csv.gz")
    assert (code, output["drifted"]) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--log", "none.db"), "there is no prediction log"),
        (("--log", "LOG", "--since", "yesterday"), "expected a time"),
        (("--log", "LOG", "--set", "monitoring.false_alarms=never"), "expected a budget"),
        (("--log", "LOG", "--set", "monitoring.ignor=[]"), "ignore"),
    ],
)
def test_unusable_log_is_an_error(market, run, arguments, message):
    market.send(same_area(20))
    named = [str(market.log_path) if word == "LOG" else word for word in arguments]
    code, _, stderr = run("monitor", MODEL, "--store", market.store.root, *named)
    assert code in (1, 2)
    assert message in stderr


def test_version_without_a_reference_is_an_error(market, run):
    folder = market.live.folder
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["profile.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    market.send(same_area(20))
    code, _, stderr = run("monitor", MODEL, "--store", market.store.root, "--log", market.log_path)
    assert code == 1
    assert "train it again" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "there is none"), (("--log", "LOG"), "is not in a store")],
    ids=["no log", "no store"],
)
def test_server_without_a_usable_log_does_not_start(market, run, tmp_path, arguments, message):
    shutil.copytree(market.live.folder, tmp_path / "baked")
    named = [str(market.log_path) if word == "LOG" else word for word in arguments]
    code, _, stderr = run("serve", "--model", tmp_path / "baked", "--port", "0", "--monitor", *named)
    assert code == 1
    assert message in stderr


def test_empty_log_is_no_alarm(market, run):
    market.open_log().close()
    code, output, _ = run("monitor", MODEL, "--store", market.store.root, "--log", market.log_path)
    assert code == 0
    assert "the log holds no row of this version" in output["text"]


def test_one_row_can_be_monitored(market, run):
    market.send(same_area(1))
    assert run("monitor", MODEL, "--store", market.store.root, "--log", market.log_path)[0] == 0


def test_server_shows_the_monitoring_page(market):
    market.send(same_area(50))
    plain = Client(gateway(market.live, serving=Serving(), connect_log=lambda: market.open_log()))
    response = plain("GET", "/monitor")
    assert response.status_code == 200
    assert "monitoring" in response.text
    assert plain("GET", "/monitor?model=none").status_code == 404
    for days in ("x", "nan", "-1", "inf", ""):
        assert plain("GET", f"/monitor?days={days}").status_code == 422
    assert Client(gateway(market.live, serving=Serving()))("GET", "/monitor").status_code == 404


def test_webhook_gets_no_value_of_a_row(market):
    market.send(other_area(0, 80))
    (event,) = [event for event in market.step() if event.kind == "drift"]
    assert event.details["examples"]
    assert "examples" not in alert_data(event)
    times = [str(alert_data(event)[key]) for key in ("at", "since")]
    assert all(datetime.fromisoformat(text).tzinfo and text.endswith("Z") for text in times)


def test_monitor_of_a_version_without_intervals_prints_json(tmp_path, run):
    version = trained(tmp_path, table(), model={"kind": "linear"}).version
    log = open_log(str(tmp_path / "log.db"), Path(), {})
    row = {"area": 60.0, "city": "Bern", "secret": "x"}
    log.write([PredictionRecord("r0", time.time(), "house", version, row, {"prediction": 600.0})])
    log.close()
    options = ("--store", tmp_path / "models", "--log", tmp_path / "log.db", "--json")
    code, output, err = run("monitor", "house", *options)
    assert code in (0, 3), err
    assert output["performance"]["target_coverage"] is None


def test_an_unexpected_error_does_not_end_the_schedule(market, monkeypatch):
    market.send(same_area(5))
    monkeypatch.setattr(monitor, "PAUSE_SECONDS", 0.0)
    errors, notes = iter([ZeroDivisionError("division by zero")] * 2), []

    def now():
        raise next(errors, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        monitor.follow(market.monitored, market.context(), report=print, note=notes.append, now=now)
    assert [note.partition(" (")[0] for note in notes[1:]] == [
        "monitoring is paused by an unexpected error, and goes on: ZeroDivisionError: division by zero"
    ]


def test_one_look_explains_drift_as_the_monitor_does(market, run, tmp_path):
    market.now = time.time() - 3600.0
    market.send(changed(same_area(200), Gr_Liv_Area=lambda value: str(float(value) * 1000.0)))
    arguments = ("monitor", MODEL, "--log", market.log_path, "--store", market.store.root)
    page = tmp_path / "page.html"
    code, output, _ = run(*arguments, "--json", "--page", page)
    diagnosis = output["diagnosis"]
    assert (code, diagnosis["columns"][0]["column"]) == (3, "Gr_Liv_Area")
    assert diagnosis["data_faults"] == [
        "Gr_Liv_Area may be in another unit: values are 1000 times those of the reference"
    ]
    assert len(diagnosis["examples"]) == 5
    text = run(*arguments)[1]["text"]
    assert "likely a data fault: Gr_Liv_Area may be in another unit" in text
    assert f"examples  {diagnosis['examples'][0]['id']}" in text
    assert "Gr_Liv_Area may be in another unit" in page.read_text()


def test_a_table_that_drifted_is_explained(market, run, tmp_path):
    page = tmp_path / "page.html"
    arguments = ("monitor", MODEL, "--store", market.store.root, "--page", page, "--input")
    code, output, _ = run(*arguments, FOLDER / "other_area.csv.gz", "--json")
    assert code == 3
    assert output["diagnosis"]["columns"][0]["column"] == "Year_Built"
    assert (output["diagnosis"]["data_faults"], output["diagnosis"]["predictions"]["effect"] > 0.1) == ([], True)
    assert "Example rows" in page.read_text()
    assert "likely a real change" in run(*arguments, FOLDER / "other_area.csv.gz")[1]["text"]
    assert run(*arguments, FOLDER / "same_area.csv.gz", "--json")[1]["diagnosis"] is None


def test_a_table_in_another_unit_is_explained_although_no_row_is_valid(market, run, tmp_path):
    rows = [{**row, "Gr_Liv_Area": float(row["Gr_Liv_Area"]) * 0.092903, "Lot_Area": "big"} for row, _ in same_area()]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    code, output, _ = run("monitor", MODEL, "--store", market.store.root, "--input", path, "--json")
    assert code == 3
    unit, kind = sorted(output["diagnosis"]["data_faults"])
    assert "Gr_Liv_Area may be in another unit: values are 0.0929 times" in unit
    assert kind == "Lot_Area held numbers in the reference and cannot be read in 100% of the rows: 'big'"
