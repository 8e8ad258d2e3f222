"""Browsers at a server that requires API keys: the sign-in form, the session's cookie, and what it opens."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from estimator import verbs
from estimator.serving.auth.access import Access
from estimator.serving.auth.keys import KeyRing, environment_key, new_key, read_keys
from estimator.serving.auth.session import MAX_FAILURES, SESSION_SECONDS, Sessions, new_secret, session_token
from estimator.serving.sign_in import COOKIE, own_path
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.browser import CONTRASTS
from tests.clients import Client, gateway, serving, within

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Reply(NamedTuple):
    """What a server sent: status, headers and text."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Site(NamedTuple):
    """A running server, its key file, and the texts of a key of scope admin and one of scope predict."""

    address: str
    keys: Path
    admin: str
    web: str

    def ask(self, method: str, path: str, *, source: str = "127.0.0.1", body: str = "", **headers: str) -> Reply:
        """Send a request from an address of this machine."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=60, source_address=(source, 0))
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        reply = Reply(response.status, response.headers, response.read().decode())
        connection.close()
        return reply

    def sign_in(self, key: str, wanted: str = "/docs", *, source: str = "127.0.0.1", origin: str = "") -> Reply:
        headers = {**FORM, "origin": origin or self.address}
        return self.ask("POST", "/sign-in", source=source, body=urlencode({"key": key, "next": wanted}), **headers)

    def session(self, key: str = "") -> dict[str, str]:
        """Return the header of a browser that is signed in."""
        return {"cookie": self.sign_in(key or self.admin).headers["set-cookie"].partition(";")[0]}


def add_key(path: Path, name: str, *scopes: str) -> str:
    return verbs.key.add(path, name, scopes, now=datetime.now(UTC), days=None)[1]


@pytest.fixture(scope="module")
def site(store, tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("sign-in")
    keys = folder / "keys.json"
    admin, web = add_key(keys, "ops <1>", "admin"), add_key(keys, "web", "predict")
    options = ("--keys-file", str(keys), "--log", str(folder / "log.db"), "--access-log")
    with serving(store / "house_pricing_model", *options) as (process, address):
        yield Site(address, keys, admin, web)
        process.terminate()
        log = process.communicate(timeout=60)[1]
        assert '"route": "/sign-in"' in log
        assert admin not in log


def test_browser_without_key_gets_a_form(site):
    page = site.ask("GET", "/monitor?days=30", **BROWSER)
    assert (page.status, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'name="next" value="/monitor?days=30"' in page.text
    assert "form-action &#39;self&#39;" not in page.text
    assert "form-action 'self'" in page.text


def test_other_clients_get_the_same_json(site):
    for method, path, headers in (("GET", "/docs", {}), ("POST", "/v1/predict", BROWSER), ("GET", "/v1/schema", {})):
        reply = site.ask(method, path, **headers)
        expected = {"detail": "API key missing: send it as X-API-Key or as a Bearer token"}
        assert (reply.status, json.loads(reply.text)) == (401, expected)
        assert (reply.headers["www-authenticate"], reply.headers["content-type"]) == ("Bearer", "application/json")
    wrong = site.ask("GET", "/docs", **BROWSER, **{"x-api-key": "est_wrong"})
    assert json.loads(wrong.text) == {"detail": "API key unknown or expired"}


def test_key_opens_the_pages(site):
    signed_in = site.sign_in(site.admin, "/monitor?days=30")
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/monitor?days=30")
    token, *attributes = re.split("; *", signed_in.headers["set-cookie"])
    assert sorted(attributes) == ["HttpOnly", f"Max-Age={SESSION_SECONDS}", "Path=/", "SameSite=strict"]
    assert site.admin not in signed_in.headers["set-cookie"]
    for path in ("/docs", "/redoc", "/static-docs/swagger-ui.css", "/openapi.json", "/metrics", "/"):
        assert site.ask("GET", path, **BROWSER, cookie=token).status == 200, path
    assert "ops &lt;1&gt; · " in site.ask("GET", "/docs", **BROWSER, cookie=token).text
    assert "This page contains the model" in site.ask("GET", "/", **BROWSER, cookie=token).text


def test_wrong_key_gets_the_form_again(site):
    page = site.sign_in("est_<wrong>", "/redoc", source="127.0.0.2")
    assert (page.status, page.headers["set-cookie"]) == (401, None)
    assert "API key unknown or expired." in page.text
    assert 'value="/redoc"' in page.text
    assert "wrong" not in page.text


def test_key_of_another_scope_is_rejected(site):
    page = site.sign_in(site.web, source="127.0.0.3")
    assert (page.status, page.headers["set-cookie"]) == (403, None)
    assert "API key &#39;web&#39; lacks the scope &#39;admin&#39;" in page.text


def test_page_with_training_rows_is_for_sessions_only(site):
    for key in (site.web, site.admin):
        assert json.loads(site.ask("GET", "/", **BROWSER, **{"x-api-key": key}).text)["status"] == "ok"


def test_session_predicts_from_pages_of_this_server_only(site, house):
    body, session = json.dumps([house]), site.session()
    fields = {"content-type": "application/json", **session}
    assert site.ask("POST", "/v1/predict", body=body, **fields, origin=site.address).status == 200
    for origin in ("http://example.com", "null", "", "http://127.0.0.1:1"):
        reply = site.ask("POST", "/v1/predict", body=body, **fields, **({"origin": origin} if origin else {}))
        assert reply.status == 403, origin
        assert "expected the header Origin to name the Host" in reply.text
    by_key = {"content-type": "application/json", "x-api-key": site.web, "origin": "http://example.com"}
    assert site.ask("POST", "/v1/predict", body=body, **by_key).status == 200


def test_form_of_another_site_is_rejected(site):
    reply = site.sign_in(site.admin, origin="http://example.com")
    assert (reply.status, reply.headers["set-cookie"]) == (403, None)


def test_revoked_key_ends_the_session(site):
    leaver = add_key(site.keys, "leaver", "admin")
    assert within(60, lambda: site.ask("GET", "/docs", **{"x-api-key": leaver}).status == 200)
    session = site.session(leaver)
    assert site.ask("GET", "/docs", **session).status == 200
    verbs.key.revoke(site.keys, "leaver")
    assert site.ask("GET", "/docs", **session).status == 401
    assert "Sign in" in site.ask("GET", "/docs", **BROWSER, **session).text


def test_expired_or_forged_session_is_rejected(site):
    ops, web = read_keys(site.keys)[:2]
    valid = site.session()["cookie"].partition("=")[2]
    soon = int(valid.partition(".")[0])
    later = valid.replace(str(soon), str(soon + 600))
    renamed = valid.replace(ops.name.encode().hex(), web.name.encode().hex())
    assert site.ask("GET", "/docs", cookie=f"{COOKIE}={valid}").status == 200
    of_hashes = [session_token(key, soon, secret) for key in (ops, web) for secret in (b"", bytes(32))]
    for token in (*of_hashes, later, renamed, valid[:-1], valid + "0", ".", ""):
        assert site.ask("GET", "/docs", cookie=f"{COOKIE}={token}").status == 401, token


def test_failed_attempts_are_limited(site):
    statuses = [site.sign_in("est_wrong", source="127.0.0.5").status for _ in range(MAX_FAILURES + 1)]
    assert statuses == [401] * MAX_FAILURES + [429]
    limited = site.sign_in(site.admin, source="127.0.0.5")
    assert (limited.status, "Too many failed sign-ins" in limited.text) == (429, True)
    assert 0 < int(limited.headers["retry-after"]) <= 60
    assert site.sign_in(site.admin, source="127.0.0.6").status == 303


def test_form_is_bounded(site):
    assert site.sign_in("k" * 10_000, source="127.0.0.7").status == 413


def test_sign_out_clears_the_cookie(site):
    session = site.session()
    assert "Sign out" in site.ask("GET", "/sign-in", **BROWSER, **session).text
    reply = site.ask("POST", "/sign-out", **session, origin=site.address)
    assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    assert f'{COOKIE}="";' in reply.headers["set-cookie"]
    assert "Max-Age=0" in reply.headers["set-cookie"]


@pytest.mark.parametrize(
    "text", ["//example.com", "/\\example.com", "https://example.com", "docs", "/\t/example.com", "/a\r\nb: c", ""]
)
def test_sign_in_leads_to_this_server_only(text):
    assert own_path(text) == "/docs"


def sign_in_at(app: Any, key: str) -> httpx.Response:
    fields = {"key": key, "next": "/docs"}
    return Client(app)("POST", "https://server/sign-in", data=fields, headers={"origin": "https://server"})


@pytest.fixture
def house_version(store):
    return open_artefact(version_folder(store / "house_pricing_model"))


def test_key_of_the_environment_signs_in(house_version):
    app = gateway(house_version, access=Access(KeyRing([environment_key("KEY", "a long secret")])))
    cookie, _, attributes = sign_in_at(app, "a long secret").headers["set-cookie"].partition(";")
    assert attributes.endswith("; Secure")
    assert Client(app)("GET", "/docs", headers={"cookie": cookie}).status_code == 200


def test_rate_limit_holds_for_sessions(house_version):
    key, text = new_key("ops", ["admin"], now=NOW)
    app = gateway(house_version, access=Access(KeyRing([key]), 2.0, clock=lambda: 0.0, now=lambda: NOW))
    headers = {"cookie": sign_in_at(app, text).headers["set-cookie"].partition(";")[0]}
    statuses = [Client(app)("GET", "/docs", headers=headers).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_server_without_keys_has_no_sign_in(house_version):
    reply = Client(gateway(house_version))("GET", "/sign-in", headers=BROWSER)
    assert (reply.status_code, "requires no API keys" in reply.text) == (404, True)


def test_session_ends_with_its_time_key_or_scope():
    moments = [NOW]
    key, text = new_key("ops", ["admin"], now=NOW, days=0.25)
    sessions = Sessions(KeyRing([key]), lambda: moments[-1], new_secret())
    _, token = sessions.start(text, "192.0.2.1")
    assert sessions.find(token) == key
    moments.append(NOW + timedelta(hours=6))
    assert sessions.find(token) is None


def test_addresses_of_one_network_share_the_limit():
    seconds = [0.0]
    sessions = Sessions(KeyRing(), lambda: NOW, new_secret(), lambda: seconds[-1])
    statuses = [sessions.start("wrong", f"2001:db8::{index}").status for index in range(MAX_FAILURES + 1)]
    assert statuses == [401] * MAX_FAILURES + [429]
    assert sessions.start("wrong", "2001:db8:0:1::1").status == 401
    seconds.append(61.0)
    assert sessions.start("wrong", "2001:db8::1").status == 401


@pytest.mark.parametrize("width", [400, 1280])
def test_browser_signs_in_predicts_and_signs_out(site, window, width):
    page = window().new_page()
    page.set_viewport_size({"width": width, "height": 900})
    faults = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(f"{site.address}/docs")
    assert min(page.evaluate(CONTRASTS).values()) >= 4.5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.fill("#key", site.admin)
    page.keyboard.press("Enter")
    page.click("#operations-predict-predict_v1_predict_post >> text=/predict", timeout=20_000)
    page.click("text=Try it out")
    with page.expect_response("**/v1/predict") as sent:
        page.click("button.execute")
    assert sent.value.status == 200
    page.click("text=Sign out")
    page.click("button:text('Sign out')")
    page.wait_for_selector("#key")
    page.goto(f"{site.address}/redoc")
    assert (page.inner_text("h1"), faults) == ("Sign in", [])
    page.close()
