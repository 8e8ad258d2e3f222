"""The OpenAPI document is valid, and the server keeps to it whatever is sent."""

from __future__ import annotations

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis import checks

from estimator.config import Serving
from estimator.serving.openapi import keep_nulls
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import gateway

CHECKS = [
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.unsupported_method,
]  # fmt: skip
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MODELS = ("house_pricing_model", "penguins")


@pytest.fixture(scope="module")
def app(store):
    return gateway(*(open_artefact(version_folder(store / name)) for name in MODELS))


@pytest.fixture(scope="module")
def schema(app):
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_document_is_valid_openapi(app):
    validate(app.snapshot.app.openapi())


def test_responses_conform_to_document(schema, report_figure):
    n_sent = 0

    def send(case):
        nonlocal n_sent
        n_sent += 1
        case.call_and_validate(checks=CHECKS)

    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        given(case=operation.as_strategy())(FUZZ(lambda case: send(case)))()
    assert n_sent > 10 * len(operations)
    report_figure(
        f"{n_sent} requests generated from the document, for {len(operations)} operations: all responses conform"
    )


def test_an_example_row_keeps_its_missing_values(app):
    rows = [{"Age": 31, "Job": None}]
    documented = FastAPI()
    documented.add_api_route("/predict", lambda: None, methods=["POST"], openapi_extra=example_body(rows))
    assert (
        documented.openapi()["paths"]["/predict"]["post"]["requestBody"] == example_body([{"Age": 31}])["requestBody"]
    )
    keep_nulls(documented, {"/predict": rows})
    assert documented.openapi()["paths"]["/predict"]["post"]["requestBody"] == example_body(rows)["requestBody"]
    paths = app.snapshot.app.openapi()["paths"]
    for service in app.snapshot.app.state.context.services:
        body = paths[f"/v1/models/{service.artefact.name}/predict"]["post"]["requestBody"]
        assert body["content"]["application/json"]["example"] == service.artefact.read_json("golden.json")["rows"][:1]


def example_body(rows: list[dict[str, object]]) -> dict[str, object]:
    return {"requestBody": {"content": {"application/json": {"example": rows}}}}


def test_private_columns_hide_training_rows(store):
    artefact = open_artefact(version_folder(store / "penguins"))
    shown, hidden = (
        gateway(artefact, serving=Serving(private_columns=private)).snapshot.app.openapi()["paths"]["/v1/predict"][
            "post"
        ]
        for private in ((), ("bill_length_mm",))
    )
    for document, is_shown in ((shown, True), (hidden, False)):
        request = document["requestBody"]["content"]["application/json"]
        response = document["responses"]["200"]["content"]["application/json"]
        values = request["schema"]["oneOf"][0]["items"]["properties"]
        assert ("example" in request, "example" in response) == (is_shown, is_shown)
        assert ("examples" in values["bill_length_mm"], "examples" in values["bill_depth_mm"]) == (is_shown, True)
