"""The model as a page at /, for browsers and for them alone."""

from __future__ import annotations

import pytest

from estimator.config import Serving
from estimator.serving.auth.gate import Gate
from estimator.serving.auth.keys import KeyRing, given_key
from estimator.serving.model_page.page import model_page
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import version_folder
from tests.asking import Client, gateway
from tests.test_page import changed

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = "k" * 40


@pytest.fixture(scope="module")
def penguins(store) -> Artefact:
    return open_artefact(version_folder(store / "penguins"))


def test_browsers_get_the_page_and_others_the_status(penguins):
    client = Client(gateway(penguins))
    page, status = client("GET", "/", headers=BROWSER), client("GET", "/")
    assert page.content == model_page(penguins).content
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert status.json()["version"] == penguins.version


@pytest.mark.parametrize("choices", [{"page": False}, {"keys": "keys.json"}])
def test_a_server_may_keep_the_model_to_itself(penguins, choices):
    gate = Gate(KeyRing([given_key("KEY", KEY)]) if "keys" in choices else None)
    client = Client(gateway(penguins, serving=Serving(**choices), gate=gate))
    assert client("GET", "/", headers={**BROWSER, "x-api-key": KEY}).json()["status"] == "ok"


def test_a_version_that_cannot_be_a_page_has_its_docs(penguins, tmp_path):
    other = changed(penguins, tmp_path, island={"pattern": "(?i)x"})
    found = Client(gateway(other))("GET", "/", headers=BROWSER)
    assert (found.status_code, found.headers["location"]) == (307, "docs")
