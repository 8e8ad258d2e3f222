"""A real server while keys change, versions move, predictions are logged and a process is killed."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import parser

from estimator import verbs
from estimator.prediction_log import open_log
from tests.clients import ESTIMATOR, get, post, serving, within
from tests.conftest import EXAMPLES

PREDICT = "/v1/predict"


def rejected(address, rows, path=PREDICT, **headers):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(address, rows, path, **headers)
    return caught.value.code, json.load(caught.value)["detail"]


def logged(path: Path) -> dict[str, dict]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT id, version, inputs, response FROM predictions").fetchall()
    return {row[0]: {"version": row[1], "inputs": json.loads(row[2]), **json.loads(row[3])} for row in rows}


def totals(address: str, **headers: str) -> dict[str, float]:
    families = parser.text_string_to_metric_families(get(address, "/metrics", **headers))
    return {
        f"{sample.name} {' '.join(sample.labels.values())}".strip(): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def two_versions(store, tmp_path) -> tuple[Path, str, str]:
    """A store in which a model has a live version and a candidate with other predictions."""
    shutil.copytree(store / "house_pricing_model", tmp_path / "models" / "house_pricing_model")
    context = verbs.Context(("model.kind=constant",), store_path=str(tmp_path / "models"))
    made = verbs.train.train(EXAMPLES / "boston" / "config.json", context)
    live = json.loads((tmp_path / "models" / "house_pricing_model" / "aliases.json").read_text())["live"]
    return tmp_path / "models", live, made.artefact.version


def test_predictions_are_logged_labeled_and_explained(store, house, tmp_path, run):
    log = tmp_path / "log.db"
    with serving(store / "house_pricing_model", "--log", str(log)) as (_, address):
        full = post(address, [house, {**house, "RM": 40.0}], PREDICT)["predictions"]
        post(address, [house])
        # FastAPI handles this body, and it is logged as well.
        post(address, [{**house, "RAD": "5"}], PREDICT)
        assert within(60, lambda: log.exists() and len(logged(log)) == 4)
        labels = [{"id": full[0]["id"], "label": 21.5}, {"id": "unheard-of", "label": 1}]
        assert post(address, labels, "/v1/labels") == {"received": 2, "matched": 1, "replaced": 0}
    records = logged(log)
    assert records[full[1]["id"]]["prediction"] == full[1]["prediction"]
    assert records[full[1]["id"]]["inputs"] == {**house, "RM": 40.0}
    code, why, _ = run("why", full[1]["id"], "--log", log, "--store", store, "--json")
    assert code == 0
    rm = next(item for item in why["contributions"] if item["column"] == "RM")
    assert (rm["value"], rm["is_out_of_range"], rm["training_range"]) == (40.0, True, "training range 3.561 to 8.78")
    assert why["is_reproduced"] is True
    # The contributions add up to the prediction minus the baseline.
    added = sum(item["contribution"] for item in why["contributions"])
    assert added == pytest.approx(full[1]["prediction"] - why["baseline"], rel=0.02)
    code, output, _ = run("why", full[0]["id"], "--log", log, "--store", store)
    assert "label       21.5" in output["text"]
    code, _, problem = run("why", "unknown", "--log", log, "--store", store)
    assert (code, "no prediction has the id" in problem) == (1, True)


def test_tutorial_predictions_are_logged_by_request_id(store, house, tmp_path):
    log = tmp_path / "log.db"
    with serving(store / "house_pricing_model", "--log", str(log)) as (_, address):
        body = json.dumps([house, house]).encode()
        for query in ("", "?by=the-app"):
            with urllib.request.urlopen(f"{address}/v1/services/predict{query}", body, timeout=60) as response:
                name = response.headers["x-request-id"]
            assert within(60, lambda name=name: {f"{name}-0", f"{name}-1"} <= set(logged(log)))


def test_kill_loses_only_the_last_predictions(store, house, tmp_path):
    log = tmp_path / "log.db"
    sent = []
    with serving(store / "house_pricing_model", "--log", str(log)) as (process, address):
        for _ in range(200):
            (row,) = post(address, [house], PREDICT)["predictions"]
            sent.append((time.monotonic(), row["id"]))
        process.kill()
        killed = time.monotonic()
        process.wait()
    stored = set(logged(log))
    lost = [at for at, record_id in sent if record_id not in stored]
    # The log holds an unbroken run of the first predictions; a busy machine may delay the writing thread.
    assert stored == {record_id for _, record_id in sent[: len(stored)]}
    assert all(killed - at < 3 for at in lost)
    assert open_log(str(log), Path(), {}).count()[0] == len(stored)


def test_private_columns_are_never_logged(store, house, tmp_path):
    log, models = tmp_path / "log.db", tmp_path / "models"
    private, aliases = 'serving.private_columns=["LSTAT", "B"]', 'schema.columns.LSTAT.aliases=["lower status"]'
    context = verbs.Context(("model.kind=constant", private, aliases), store_path=str(models))
    made = verbs.train.train(EXAMPLES / "boston" / "config.json", context)
    renamed = {"lower status" if name == "LSTAT" else name: value for name, value in house.items()}
    penguin = json.loads(next((store / "penguins").glob("*/golden.json")).read_text())["rows"][0]
    options = ("--model", str(made.artefact.folder), "--log", str(log))
    with serving(store / "penguins", *options) as (_, address):
        for rows in ([house], [renamed]):
            post(address, rows, "/v1/models/house_pricing_model/predict")
        post(address, [penguin], PREDICT)
        assert within(60, lambda: log.exists() and len(logged(log)) == 3)
    stored_columns = [set(row["inputs"]) for row in logged(log).values()]
    assert sorted(stored_columns, key=len) == sorted([set(penguin), *[set(house) - {"LSTAT", "B"}] * 2], key=len)


def test_unknown_private_column_is_rejected(store):
    command = [*ESTIMATOR, "serve", "--model", str(store / "house_pricing_model"), "--port", "0"]
    environment = {**os.environ, "ESTIMATOR_CONFIG__SERVING__PRIVATE_COLUMNS": '["LSTATT"]'}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "did you mean 'LSTAT'?" in done.stderr


def test_reload_causes_no_failed_or_mixed_response(two_versions, house, run):
    store, live, candidate = two_versions
    responses, ends, faults = [], threading.Event(), []

    def ask(address):
        while not ends.is_set():
            try:
                response = post(address, [house, house], PREDICT)
                responses.append((response["version"], *(row["prediction"] for row in response["predictions"])))
            except Exception as error:
                faults.append(error)

    with serving("house_pricing_model", "--store", str(store)) as (_, address):
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in (candidate, live, candidate):
            run("promote", f"house_pricing_model/{version}", "--store", store, "--why", "a test", "--json")
            assert within(60, lambda version=version: responses and responses[-1][0] == version)
        # A damaged version is not served; the old one stays, and /readyz says why.
        model = store / "house_pricing_model" / live / "model.onnx"
        model.write_bytes(model.read_bytes()[:-1] + b"x")
        aliases = store / "house_pricing_model" / "aliases.json"
        aliases.write_text(json.dumps({"live": live}))
        assert within(60, lambda: "reload_errors" in json.loads(get(address, "/readyz")))
        assert post(address, [house], PREDICT)["version"] == candidate
        assert totals(address)["estimator_stale_models"] == 1
        ends.set()
        for thread in threads:
            thread.join()
    assert not faults
    predictions_of = {version: {row[1:] for row in responses if row[0] == version} for version in (live, candidate)}
    assert [len(distinct) for distinct in predictions_of.values()] == [1, 1]


def test_shadow_predictions_are_only_logged(two_versions, house, tmp_path, run):
    store, live, candidate = two_versions
    log = tmp_path / "log.db"
    options = ("--store", str(store), "--log", str(log), "--shadow", "candidate")

    def shadows() -> dict[str, str]:
        with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as connection:
            return dict(connection.execute("SELECT id, version FROM shadows").fetchall())

    with serving("house_pricing_model", *options) as (_, address):
        responses = [post(address, [house, house], PREDICT) for _ in range(20)]
        assert {response["version"] for response in responses} == {live}
        assert within(60, lambda: len(shadows()) == 40)
        assert set(shadows().values()) == {candidate}
        # Once the candidate is live, it has no shadow.
        run("promote", f"house_pricing_model/{candidate}", "--store", store, "--why", "a test", "--json")
        assert within(60, lambda: post(address, [house], PREDICT)["version"] == candidate)
        after = {row["id"] for _ in range(5) for row in post(address, [house], PREDICT)["predictions"]}
    # The server has ended, so all is written.
    assert after <= set(logged(log))
    assert not after & set(shadows())
    first = responses[0]["predictions"][0]
    _, why, _ = run("why", first["id"], "--log", log, "--store", store, "--json")
    assert list(why["shadows"]) == [candidate]
    assert why["shadows"][candidate]["prediction"] != first["prediction"]
    command = [*ESTIMATOR, "serve", "--model", "house_pricing_model", *options[:2], "--shadow", "candidate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "add --log" in done.stderr) == (1, True)


def test_sighup_reloads_the_version(two_versions, house):
    store, live, _ = two_versions
    with serving("house_pricing_model", "--store", str(store), "--workers", "2") as (process, address):
        model = store / "house_pricing_model" / live / "model.onnx"
        whole = model.read_bytes()
        model.write_bytes(whole[:-1] + b"x")
        process.send_signal(signal.SIGHUP)
        assert within(60, lambda: "model.onnx" in json.loads(get(address, "/readyz")).get("reload_errors", {}).get(
            "house_pricing_model", ""))  # fmt: skip
        assert post(address, [house], PREDICT)["version"] == live
        model.write_bytes(whole)
        process.send_signal(signal.SIGHUP)
        assert within(60, lambda: all("reload_errors" not in get(address, "/readyz") for _ in range(8)))


def test_several_models_share_a_server(store, house):
    row = json.loads(next((store / "credit").glob("*/golden.json")).read_text())["rows"][0]
    options = ("--model", str(store / "credit"))
    with serving(store / "house_pricing_model", *options) as (_, address):
        assert {model["name"] for model in json.loads(get(address, "/v1/models"))["models"]} == {
            "house_pricing_model", "credit",
        }  # fmt: skip
        assert post(address, [row], "/v1/models/credit/predict")["model"] == "credit"
        short, long = (post(address, [house], path) for path in (PREDICT, "/v1/models/house_pricing_model/predict"))
        assert short["predictions"][0]["prediction"] == long["predictions"][0]["prediction"]
        assert "LSTAT" in json.loads(get(address, "/v1/models/house_pricing_model/schema"))["columns"]
        assert rejected(address, [house], "/v1/models/credit/predict")[0] == 422
        assert rejected(address, [house], "/v1/models/unknown/predict")[0] in (404, 405)


def test_keys_change_while_the_server_runs(store, house, tmp_path, run):
    keys, log = tmp_path / "keys.json", tmp_path / "log.db"
    web = run("key", "add", "web", "--file", keys, "--json")[1]["key"]
    options = ("--keys-file", str(keys), "--log", str(log), "--host", "0.0.0.0")
    with serving(store / "house_pricing_model", *options) as (_, address):
        assert rejected(address, [house])[0] == 401
        assert rejected(address, [house], **{"X-API-Key": "est_wrong"})[0] == 401
        assert post(address, [house], PREDICT, **{"X-API-Key": web})["version"]
        assert post(address, [{**house, "RAD": "5"}], PREDICT, Authorization=f"Bearer {web}")["version"]
        assert rejected(address, [{"id": "a", "label": 1}], "/v1/labels", **{"X-API-Key": web})[0] == 403
        assert get(address, "/healthz")
        labeler = run("key", "add", "teller", "--scope", "labels", "--file", keys, "--json")[1]["key"]
        assert within(60, lambda: rejected(address, [house], **{"X-API-Key": labeler})[0] == 403)
        assert post(address, [{"id": "a", "label": 1}], "/v1/labels", **{"X-API-Key": labeler})["received"] == 1
        run("key", "revoke", "web", "--file", keys, "--json")
        assert within(60, lambda: _is_rejected(address, house, web))
        admin = run("key", "add", "prometheus", "--scope", "admin", "--file", keys, "--json")[1]["key"]
        assert within(60, lambda: not _is_rejected(address, house, admin))
        assert totals(address, Authorization=f"Bearer {admin}")["estimator_rejected_requests_total scope"] >= 2


def _is_rejected(address, house, key):
    try:
        post(address, [house], PREDICT, **{"X-API-Key": key})
    except urllib.error.HTTPError:
        return True
    return False


def test_metrics_are_those_of_all_workers(store, house):
    with serving(store / "house_pricing_model", "--workers", "2") as (_, address):
        for _ in range(30):
            post(address, [house, {**house, "RM": 40.0}], PREDICT)
        rejected(address, [{}])

        def counts() -> tuple[float, ...]:
            """Return the rows, the values out of range and the rejections that a worker knows of by now."""
            metrics = totals(address)
            rows = [
                value for name, value in metrics.items() if name.startswith("estimator_predictions_total /v1/predict")
            ]
            names = ("estimator_out_of_range_values_total RM", "estimator_rejected_requests_total schema")
            return (sum(rows), *(metrics.get(name, 0) for name in names))

        assert within(60, lambda: counts() == (60, 30, 1))


def test_access_log_holds_no_values(store, house, tmp_path):
    with serving(store / "house_pricing_model", "--access-log") as (process, address):
        post(address, [{**house, "LSTAT": 12.345678}], PREDICT)
        rejected(address, [{**house, "LSTAT": "a secret"}])
        process.terminate()
        _, stderr = process.communicate(timeout=60)
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert [(line["event"], line["status"], line["route"]) for line in lines] == [
        ("request", 200, PREDICT), ("request", 422, PREDICT),
    ]  # fmt: skip
    assert lines[1]["rejection"] == "schema"
    assert "12.345678" not in stderr
    assert "secret" not in stderr


def test_tls_certificate_from_files(store, house, tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    training = verbs.Context(
        (f"serving.tls_certificate={certificate}", f"serving.tls_key={key}", "model.kind=constant"),
        store_path=str(tmp_path / "models"),
    )
    made = verbs.train.train(EXAMPLES / "boston" / "config.json", training)
    with serving(made.artefact.folder) as (_, address):
        assert address.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        request = urllib.request.Request(f"{address}{PREDICT}", json.dumps([house]).encode())
        with urllib.request.urlopen(request, context=context, timeout=60) as response:
            assert json.load(response)["version"] == made.artefact.version
    key.write_text("no key")
    done = subprocess.run(
        [sys.executable, "-m", "estimator", "serve", "--model", made.artefact.folder, "--port", "0"],
        capture_output=True, text=True, env={**os.environ}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be used" in done.stderr


def test_each_request_sends_a_span(store, house, monkeypatch):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("ESTIMATOR_CONFIG__SERVING__TRACES", "true")
        trace = "0af7651916cd43dd8448eb211c80319c"
        with serving(store / "house_pricing_model") as (_, address):
            post(address, [house], PREDICT, traceparent=f"00-{trace}-b7ad6b7169203331-01")
            rejected(address, [{**house, "RM": "many"}])
        collector.shutdown()
    spans = [
        span
        for body in received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == [f"POST {PREDICT}"] * 2
    assert spans[0].trace_id.hex() == trace
    assert spans[1].trace_id.hex() != trace
    attributes = {item.key: item.value for item in spans[0].attributes}
    assert (attributes["http.response.status_code"].int_value, attributes["estimator.rows"].int_value) == (200, 1)
    assert 0 < spans[0].end_time_unix_nano - spans[0].start_time_unix_nano < 60 * 10**9


def test_dashboard_uses_existing_metrics(store, house, tmp_path):
    with serving(store / "house_pricing_model", "--log", str(tmp_path / "log.db")) as (_, address):
        post(address, [{**house, "RM": 40.0}], PREDICT)
        rejected(address, [{}])
        exposition = get(address, "/metrics")
        board = json.loads(get(address, "/metrics/grafana.json"))
    queried = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"estimator_\w+", target["expr"])
    }
    assert len(queried) >= 8
    assert {name for name in queried if f"\n{name}" not in exposition} == set()


@pytest.fixture(scope="module")
def server_with_key(store, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The address of a server, and a key for it."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    _, key = verbs.key.add(path, "web", ["predict"], now=datetime.now(UTC), days=None)
    with serving(store / "house_pricing_model", "--keys-file", str(path)) as (_, address):
        yield address, key


@pytest.mark.parametrize("program", [("sh", "predict.sh"), (sys.executable, "predict.py"), ("node", "predict.mjs")])
def test_example_clients_get_predictions(server_with_key, program):
    command, file = program
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not on this machine")
    address, key = server_with_key
    for given, code in ((key, 0), ("est_wrong", 1)):
        done = subprocess.run(
            [command, EXAMPLES / "clients" / file, address], capture_output=True, text=True,
            env={**os.environ, "ESTIMATOR_KEY": given}, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0) == (code == 0), done.stderr
        assert code or "interval" in done.stdout or "training range 187 to 711" in done.stdout
