"""The model page at /, for browsers only."""

from __future__ import annotations

import pytest

from estimator.config import Serving
from estimator.serving.auth.access import Access
from estimator.serving.auth.keys import KeyRing, environment_key
from estimator.serving.model_page.page import build_model_page
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import version_folder
from tests.clients import Client, gateway
from tests.test_page import changed

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = "k" * 40


@pytest.fixture(scope="module")
def penguins(store) -> Artefact:
    return open_artefact(version_folder(store / "penguins"))


def test_only_browsers_get_the_page(penguins):
    client = Client(gateway(penguins))
    page, status = client("GET", "/", headers=BROWSER), client("GET", "/")
    assert page.content == build_model_page(penguins).content
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert status.json()["version"] == penguins.version


@pytest.mark.parametrize("choices", [{"page": False}, {"keys_file": "keys.json"}])
def test_page_can_be_disabled(penguins, choices):
    access = Access(KeyRing([environment_key("KEY", KEY)]) if "keys_file" in choices else None)
    client = Client(gateway(penguins, serving=Serving(**choices), access=access))
    assert client("GET", "/", headers={**BROWSER, "x-api-key": KEY}).json()["status"] == "ok"


def test_version_without_page_redirects_to_docs(penguins, tmp_path):
    other = changed(penguins, tmp_path, island={"pattern": "(?i)x"})
    response = Client(gateway(other))("GET", "/", headers=BROWSER)
    assert (response.status_code, response.headers["location"]) == (307, "docs")
