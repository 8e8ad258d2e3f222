"""The server: predictions, and errors that name row, column and value."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import io
import json
import shutil
import threading
from collections.abc import AsyncIterator

import httpx
import polars as pl
import pytest
from fastapi import FastAPI

from estimator.config import Serving, resolve_section
from estimator.errors import ConfigError, ServingError, SourceError
from estimator.prediction_log import LogEntry, PredictionLog, open_log
from estimator.serving.auth.access import Access
from estimator.serving.auth.keys import KeyRing, environment_key
from estimator.serving.reload import ModelReference, ServedModels
from estimator.serving.run import run_server
from estimator.serving.tabular import ARROW_FILE, ARROW_STREAM, CSV, MEDIA_TYPES, PARQUET
from estimator.serving.telemetry.recorder import RequestRecorder
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import Client, gateway, within

PREDICT = ("/v1/predict", "/v1/services/predict")
FORMS = {
    CSV: (pl.DataFrame.write_csv, pl.read_csv),
    ARROW_STREAM: (pl.DataFrame.write_ipc_stream, pl.read_ipc_stream),
    ARROW_FILE: (pl.DataFrame.write_ipc, pl.read_ipc),
    PARQUET: (pl.DataFrame.write_parquet, pl.read_parquet),
}


@pytest.fixture(scope="module")
def boston(store) -> Client:
    artefact = open_artefact(version_folder(store / "house_pricing_model"))
    return Client(gateway(artefact))


@pytest.fixture(scope="module")
def credit(store) -> Client:
    return Client(
        gateway(open_artefact(version_folder(store / "credit")), serving=Serving(max_body_bytes=20_000, max_rows=5))
    )


def test_tutorial_request_gets_tutorial_response(boston, house):
    response = boston.post("/v1/services/predict", [house])
    assert response.status_code == 200
    assert response.json()["inputData"] == [house]
    (prediction,) = response.json()["predictions"]
    assert list(prediction) == ["Prediction price 0"]
    assert 15 < prediction["Prediction price 0"] < 35


def test_default_label_names_the_target(credit, store):
    row = open_artefact(version_folder(store / "credit")).read_json("golden.json")["rows"][0]
    (prediction,) = credit.post("/v1/services/predict", [row]).json()["predictions"]
    assert prediction["Prediction Status 0"] in ("good", "bad")


def test_classes_come_with_probabilities_and_ids(credit, store):
    rows = open_artefact(version_folder(store / "credit")).read_json("golden.json")["rows"][:2]
    response = credit.post("/v1/predict", rows).json()
    assert sum(response["predictions"][0]["probabilities"].values()) == pytest.approx(1.0)
    assert response["predictions"][0]["id"] != response["predictions"][1]["id"]
    assert response["model"] == "credit"


def test_values_out_of_range_are_reported(boston, house):
    (prediction,) = boston.post("/v1/predict", [{**house, "RM": 40.0}]).json()["predictions"]
    assert prediction["out_of_range"] == [{"column": "RM", "message": "training range 3.561 to 8.78"}]


@pytest.mark.parametrize("path", PREDICT)
@pytest.mark.parametrize(
    ("change", "column", "value", "message"),
    [
        ({"TAX": 296.5}, "TAX", 296.5, "expected a whole number, got 296.5; training range 187 to 711"),
        ({"TAX": "many"}, "TAX", "many", "expected a whole number"),
        ({"TAX": None}, "TAX", None, "not nullable"),
        ({"TAX": True}, "TAX", True, "expected a whole number"),
        ({"TAX": [1]}, "TAX", "[1]", "expected a whole number"),
        ({"TAX": {}}, "TAX", "{}", "expected a whole number"),
        ({"TAX": 1e300}, "TAX", 1e300, "expected a whole number"),
        ({"TAX": 10**30}, "TAX", str(10**30), "expected a whole number"),
        ({"TAXX": 1}, "TAXX", 1, "did you mean 'TAX'?"),
        ({"TAX": "x" * 9999}, "TAX", "x" * 197 + "...", "expected a whole number"),
    ],
)
def test_invalid_cell_is_named(boston, house, path, change, column, value, message):
    response = boston.post(path, [house, {**house, **change}])
    assert response.status_code == 422
    detail = response.json()["detail"][0]
    assert (detail["row"], detail["column"], detail["value"]) == (2, column, value)
    assert detail["loc"] == ["body", 1, column]
    assert message in detail["msg"]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("fixture", ["boston", "credit"])
def test_non_finite_number_is_named(request, store, fixture, word):
    client = request.getfixturevalue(fixture)
    name, column = ("house_pricing_model", "RM") if fixture == "boston" else ("credit", "Income")
    row = open_artefact(version_folder(store / name)).read_json("golden.json")["rows"][0]
    body = json.dumps([{**row, column: 12345.678}]).replace("12345.678", word).encode()
    response = client.post("/v1/predict", body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["column"] == column


def test_missing_column_is_named(boston, house):
    del house["RM"]
    response = boston.post("/v1/predict", [house])
    assert response.json()["detail"][0]["msg"] == "row 1, column 'RM': missing: expected a number"


def test_equivalent_spellings_are_accepted(boston, house):
    row = {**house, "CHAS": 0.0, "RAD": "5", "MEDV": "the target may be there"}
    assert boston.post("/v1/predict", [row]).status_code == 200


def test_null_is_accepted_in_nullable_columns(credit, store):
    row = open_artefact(version_folder(store / "credit")).read_json("golden.json")["rows"][0]
    assert credit.post("/v1/predict", [{**row, "Income": None, "Job": None, "Home": "a castle"}]).status_code == 200


@pytest.mark.parametrize("path", PREDICT)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "at least one row"),
        (b"{}", "put one row in [ ]"),
        (b'{"RM": 1}', "put one row in [ ]"),
        (b"null", "expected a list of rows"),
        (b"12", "expected a list of rows"),
        (b"[[1, 2]]", "expected an object"),
        (b"[null]", "expected an object"),
        (b'[{"\\ud800": 1}]', "lone surrogate"),
    ],
)
def test_invalid_body_is_rejected(boston, path, body, message):
    response = boston.post(path, body)
    assert response.status_code == 422
    assert message in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/services/predict"])
def test_body_that_is_not_utf8_is_rejected(boston, path):
    assert boston.post(path, b"\xff\xfe[1]").status_code == 400


def test_too_large_request_is_rejected(credit):
    assert credit.post("/v1/predict", b" " * 30_000).status_code == 413
    assert credit.post("/v1/predict", [{}] * 6).status_code == 413


def test_only_gzip_is_decompressed(credit, boston, house):
    body = gzip.compress(json.dumps([house]).encode())
    assert boston.post("/v1/predict", body, **{"content-encoding": "gzip"}).status_code == 200
    for packed, kind, status in [
        (body, "br", 415), (body[:-4], "gzip", 422), (body + b"x", "gzip", 422), (b"plain", "gzip", 422),
        (gzip.compress(b" " * 50_000_000), "gzip", 413),
    ]:  # fmt: skip
        assert boston.post("/v1/predict", packed, **{"content-encoding": kind}).status_code == status


def test_values_may_come_by_column(boston, house):
    rows = [house, {**house, "RM": 5.0}]
    by_row = boston.post("/v1/services/predict", rows).json()
    by_column = boston.post("/v1/services/predict", {name: [row[name] for row in rows] for name in house}).json()
    assert by_column == by_row
    uneven = boston.post("/v1/predict", {name: [1] if name == "RM" else [1, 2] for name in house})
    assert (
        uneven.json()["detail"][0]["msg"] == "expected columns of the same length, got 1 values in 'RM' and 2 in 'CRIM'"
    )
    twice = json.dumps({name: [1] for name in house}).replace("{", '{"RM": [2],')
    assert "given twice" in boston.post("/v1/predict", twice.encode()).json()["detail"][0]["msg"]


@pytest.mark.parametrize("kind", MEDIA_TYPES)
@pytest.mark.parametrize("fixture", ["boston", "credit"])
def test_tables_get_the_predictions_of_rows(request, store, fixture, kind):
    client = request.getfixturevalue(fixture)
    name = {"boston": "house_pricing_model", "credit": "credit"}[fixture]
    rows = open_artefact(version_folder(store / name)).read_json("golden.json")["rows"][:5]
    frame, file = pl.DataFrame(rows, infer_schema_length=None), io.BytesIO()
    write, read = FORMS[kind]
    write(frame, file)
    expected = client.post("/v1/predict", rows).json()["predictions"]
    in_json = client.post("/v1/predict", file.getvalue(), **{"content-type": kind})
    assert in_json.status_code == 200, in_json.text
    assert [row["prediction"] for row in in_json.json()["predictions"]] == [row["prediction"] for row in expected]
    response = client.post("/v1/predict", file.getvalue(), **{"content-type": kind, "accept": f"{kind}, */*;q=0.1"})
    assert response.headers["content-type"].startswith(kind)
    table = read(io.BytesIO(response.content))
    assert table["prediction"].to_list() == [row["prediction"] for row in expected]
    assert table["id"][0] == f"{response.headers['x-request-id']}-0"


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_invalid_table_is_rejected(credit, kind):
    for body in (b"", b"\xff\xfe\x00", b"PAR1" * 9, b"ARROW1\0\0" + b"\xff" * 99):
        assert credit.post("/v1/predict", body, **{"content-type": kind}).status_code == 422
    file = io.BytesIO()
    FORMS[kind][0](pl.DataFrame({"Age": [1] * 6}), file)
    assert credit.post("/v1/predict", file.getvalue(), **{"content-type": kind}).status_code == 413


def test_unsupported_media_type_is_rejected(boston, house):
    response = boston.post(
        "/v1/predict", json.dumps([house]).encode("utf-16"), **{"content-type": "a/b;charset=utf-16"}
    )
    assert (response.status_code, "charset 'utf-16'" in response.text) == (415, True)
    workbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    for kind in (workbook, "multipart/form-data; boundary=x", "application/zip", "application/csv"):
        refused = boston.post("/v1/predict", b"PK\x03\x04", **{"content-type": kind})
        assert refused.status_code == 415
        assert "expected JSON, text/csv, application/vnd.apache.arrow.stream" in refused.text
    assert boston.post("/v1/predict", [house], **{"content-type": "application/vnd.api+json"}).status_code == 200
    refused = boston.post("/v1/predict", b"a,b\n1,2\n", **{"content-type": "text/plain"})
    assert "a table is read with a header such as Content-Type: text/csv" in refused.text
    assert boston.post("/v1/services/predict", b"a\n1", **{"content-type": "text/csv"}).status_code == 415
    bad = ",".join(house) + "\n" + ",".join(["many" if name == "TAX" else str(value) for name, value in house.items()])
    detail = boston.post("/v1/predict", bad.encode(), **{"content-type": "text/csv"}).json()["detail"][0]
    assert (detail["row"], detail["column"], detail["value"]) == (1, "TAX", "many")


def test_docs_load_nothing_from_the_internet(boston):
    for path in ("/docs", "/redoc"):
        page = boston("GET", path)
        assert page.status_code == 200
        assert "cdn" not in page.text
        assert "https://" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
    for file in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"):
        assert boston("GET", f"/static-docs/{file}").status_code == 200


def test_docs_show_an_example_row_and_ranges(boston):
    document = boston("GET", "/openapi.json").json()
    content = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert boston.post("/v1/predict", content["example"]).status_code == 200
    column = content["schema"]["oneOf"][0]["items"]["properties"]["RM"]
    assert column["description"].startswith("Training range 3.561 to 8.78")


def test_status_shows_name_and_version(boston):
    status = boston("GET", "/").json()
    assert (status["status"], status["name"], status["target"]) == ("ok", "house_pricing_model", "MEDV")
    assert boston("GET", "/healthz").status_code == 200
    assert boston("GET", "/readyz").json()["status"] == "ready"
    assert "RM" in boston("GET", "/v1/schema").json()["columns"]


def test_key_guards_all_but_health_checks(store, house):
    artefact = open_artefact(version_folder(store / "house_pricing_model"))
    client = Client(gateway(artefact, access=Access(KeyRing([environment_key("KEY", "a long secret")]))))
    assert client("GET", "/healthz").status_code == 200
    assert client.post("/v1/predict", [house]).status_code == 401
    for headers in ({"x-api-key": "a long secret"}, {"authorization": "Bearer a long secret"}):
        response = client("POST", "/v1/predict", content=json.dumps([house]), headers=headers)
        assert response.status_code == 200
    assert client("GET", "/docs").status_code == 401


@pytest.mark.parametrize(
    ("serving", "environment", "expected"),
    [
        ({"host": "0.0.0.0"}, {}, "is reachable from other machines"),
        ({"api_key_env": "KEY"}, {}, "it is not set"),
        ({"api_key_env": "KEY"}, {"KEY": "short"}, "shorter than 8"),
        ({"host": "203.0.113.1", "api_key_env": "KEY"}, {"KEY": "long enough"}, "cannot listen on"),
    ],
)
def test_unsafe_or_unavailable_address_is_rejected(store, serving, environment, expected):
    model = ModelReference("house", lambda: version_folder(store / "house_pricing_model"))
    with pytest.raises(ServingError, match=expected):
        run_server([model], serving, environment=environment)


def test_every_response_has_an_id_and_security_headers(boston, house):
    responses = [boston("GET", path) for path in ("/", "/docs", "/nowhere")] + [boston.post("/v1/predict", [house])]
    for response in responses:
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers
    assert len({response.headers["x-request-id"] for response in responses}) == len(responses)


def test_too_many_concurrent_requests_are_rejected(store, house):
    artefact = open_artefact(version_folder(store / "house_pricing_model"))
    app = gateway(artefact, serving=Serving(max_concurrent=1))

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app)

        async def slowly() -> AsyncIterator[bytes]:
            yield b"[" + json.dumps(house).encode()
            assert (await client.get("/readyz")).status_code == 503
            yield b"]"

        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            first = await client.post("/v1/predict", content=slowly())
            return [first.status_code, (await client.get("/readyz")).status_code]

    assert asyncio.run(ask()) == [200, 200]


def test_failure_hides_the_exception(store, house, monkeypatch, caplog):
    app = gateway(open_artefact(version_folder(store / "house_pricing_model")))
    monkeypatch.setattr(
        type(app.snapshot.app.state.context.services[0].artefact.predictor), "predict_batch", lambda *_: 1 / 0
    )
    response = Client(app).post("/v1/predict", [house])
    assert response.status_code == 500
    request_id = response.headers["x-request-id"]
    assert response.json() == {"detail": "internal server error; see the server's log", "request_id": request_id}
    assert "ZeroDivisionError" in caplog.text


def test_labels_need_a_log_and_are_validated(boston, store, tmp_path):
    label = {"id": "a", "label": 1.5}
    assert boston.post("/v1/labels", [label]).status_code == 404
    recorder = RequestRecorder(connect_log=lambda: open_log("log.db", tmp_path, {}))
    client = Client(gateway(open_artefact(version_folder(store / "house_pricing_model")), recorder=recorder))
    assert client.post("/v1/labels", [label]).json() == {"received": 1, "matched": 0, "replaced": 0}
    for body in ([], [{"id": "a"}], [{"id": 1, "label": 1}], [{"id": "a", "label": None}], {}, b"[", [label] * 10_001):
        assert client.post("/v1/labels", body).status_code in (413, 422)
    recorder.close()


def test_trouble_of_the_prediction_log_is_noted(store, house, tmp_path):
    (tmp_path / "folder").touch()
    recorder = RequestRecorder(connect_log=lambda: open_log("folder/log.db", tmp_path, {}))
    client = Client(gateway(open_artefact(version_folder(store / "house_pricing_model")), recorder=recorder))
    assert recorder.writer is not None
    recorder.writer.offer(LogEntry("odd", 0.0, "m", "v", b"[1]", b"{}"))
    client.post("/v1/predict", [house])
    assert within(60, lambda: "prediction_log" in client("GET", "/readyz").json())
    assert "the prediction log cannot be used" in client("GET", "/readyz").json()["prediction_log"]["error"]
    assert "estimator_prediction_log_failing 1" in client("GET", "/metrics").text
    (tmp_path / "folder").unlink()
    assert within(60, lambda: client("GET", "/readyz").json().get("prediction_log") == {"set_aside": 1})
    metrics = client("GET", "/metrics").text
    assert 'estimator_prediction_log_requests_total{result="set_aside"} 1' in metrics
    assert 'estimator_prediction_log_requests_total{result="written"} 1' in metrics
    assert "estimator_prediction_log_failing 0" in metrics
    recorder.close()


def test_full_log_rejects_predictions_if_configured(store, house, tmp_path):
    blocked = threading.Event()

    def never() -> PredictionLog:
        blocked.wait(60)
        raise SourceError("the disk is full")

    recorder = RequestRecorder(connect_log=never, rejects_when_full=True)
    assert recorder.writer is not None
    recorder.writer.offer(LogEntry("a", 0.0, "m", "v", b" " * 64_000_000, b""))
    client = Client(gateway(open_artefact(version_folder(store / "house_pricing_model")), recorder=recorder))
    assert client.post("/v1/predict", [house]).status_code == 503
    blocked.set()
    recorder.close()


def test_environment_overrides_settings_of_the_version():
    stored = {"port": 1, "max_rows": 7, "label": "x", "removed": 3}
    environment = {"ESTIMATOR_CONFIG__SERVING__PORT": "2", "ESTIMATOR_CONFIG__SERVING__MAX_ROWS": "8"}
    settings = resolve_section(
        "serving",
        Serving,
        stored,
        environment,
        overrides=["serving.rate_limit=4", "image.port=9"],
        settings={"port": 3},
    )
    assert (settings.port, settings.max_rows, settings.label, settings.rate_limit) == (3, 8, "x", 4)
    with pytest.raises(ConfigError, match=r"serving.port: expected a number between 0 and 65535, got 99999"):
        resolve_section("serving", Serving, stored, {"ESTIMATOR_CONFIG__SERVING__PORT": "99999"})


def test_replaced_version_is_freed(store):
    artefact = open_artefact(version_folder(store / "penguins"))

    def n_apps() -> int:
        gc.collect()
        return sum(isinstance(item, FastAPI) for item in gc.get_objects())

    before = n_apps()
    for _ in range(3):
        Client(gateway(artefact))("GET", "/docs")
    assert n_apps() == before


def test_invalid_graph_keeps_the_old_version(store, tmp_path):
    old = version_folder(store / "penguins")
    bad = tmp_path / "bad"
    shutil.copytree(old, bad)
    (bad / "model.onnx").write_bytes(b"not a graph")
    manifest = json.loads((bad / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(b"not a graph").hexdigest()
    (bad / "manifest.json").write_text(json.dumps(manifest))
    means = [old]
    models = ServedModels([ModelReference("penguins", lambda: means[0])], lambda _: Serving())
    models.check()
    means[0] = bad
    assert models.reload(False) is None
    assert "cannot run the graph" in models.errors["penguins"]
    assert models.services[0].artefact.folder == old
    means[0] = old
    models.reload(False)
    assert models.errors == {}
