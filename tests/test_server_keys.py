"""API keys: storage, scopes, and changes while the server runs."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from estimator.errors import ServingError
from estimator.serving.auth.access import Access, Rejection
from estimator.serving.auth.keys import KeyRing, environment_key, new_key, read_keys, without_key, write_keys

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secrets" / "keys.json"


def test_key_file_holds_no_key_text(path):
    key, text = new_key("web", ["predict"], now=NOW)
    write_keys(path, [key])
    assert text not in path.read_text()
    assert read_keys(path) == [key]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_key_allows_its_scopes_only():
    key, text = new_key("web", ["predict", "labels"], now=NOW)
    ring = KeyRing([key])
    key = ring.find(text.encode())
    assert key is not None
    assert [key.allows(scope, NOW) for scope in ("predict", "labels", "admin")] == [True, True, False]
    assert ring.find(text[:-1].encode()) is None
    assert ring.find(b"") is None


def test_environment_key_has_all_scopes():
    key = environment_key("KEY", "long enough")
    assert all(key.allows(scope, NOW) for scope in ("predict", "labels", "admin"))
    with pytest.raises(ServingError, match="shorter than 8 characters"):
        environment_key("KEY", "short")


def test_key_expires_on_time():
    key, _ = new_key("guest", ["predict"], now=NOW, days=2)
    assert key.allows("predict", NOW + timedelta(days=1.99))
    assert not key.allows("predict", NOW + timedelta(days=2))


def test_changed_file_is_reloaded(path):
    (old, old_text), (new, new_text) = (new_key("web", ["predict"], now=NOW) for _ in range(2))
    time = [0.0]
    write_keys(path, [old])
    ring = KeyRing([], path, clock=lambda: time[0])
    write_keys(path, [old, new])
    time[0] = 1.0
    assert [ring.find(text.encode()) for text in (old_text, new_text)] == [old, new]
    write_keys(path, without_key([old, new], "web"))
    time[0] = 2.0
    assert [ring.find(text.encode()) for text in (old_text, new_text)] == [None, None]


@pytest.mark.parametrize("content", ["", "{", '{"keys": [{"name": "a"}]}', '{"keys": [1]}', "[]"])
def test_invalid_file_keeps_the_old_keys(path, content):
    key, text = new_key("web", ["predict"], now=NOW)
    time = [0.0]
    write_keys(path, [key])
    ring = KeyRing([], path, clock=lambda: time[0])
    path.write_text(content)
    time[0] = 1.0
    assert ring.find(text.encode()) == key
    assert "not a key file" in ring.error
    with pytest.raises(ServingError, match="not a key file"):
        KeyRing([], path)


@pytest.mark.parametrize("changed", [{"sha256": "zz"}, {"sha256": "00"}, {"scopes": ["root"]}, {"expires": "soon"}])
def test_invalid_key_is_rejected(path, changed):
    key, _ = new_key("web", ["predict"], now=NOW)
    write_keys(path, [key])
    content = json.loads(path.read_text())
    content["keys"][0] |= changed
    path.write_text(json.dumps(content))
    with pytest.raises(ServingError, match="not a key file"):
        read_keys(path)


def test_unknown_scope_is_rejected():
    with pytest.raises(ServingError, match="unknown scope 'predct'") as caught:
        new_key("web", ["predct"], now=NOW)
    assert "did you mean 'predict'?" in caught.value.hint


def test_keys_are_added_listed_and_revoked_by_command(run, path):
    code, made, stderr = run("key", "add", "web", "--scope", "labels", "--days", "3", "--file", path, "--json")
    assert (code, made["scopes"]) == (0, ["labels"])
    assert "web: scopes labels, expires" in stderr
    assert KeyRing([], path).find(made["key"].encode()) is not None
    code, listing, _ = run("key", "list", "--file", path, "--json")
    assert [(key["name"], key["expired"]) for key in listing["keys"]] == [("web", False)]
    assert "sha256" not in listing["keys"][0]
    assert run("key", "revoke", "web", "--file", path)[0] == 0
    assert KeyRing([], path).is_empty
    code, _, stderr = run("key", "revoke", "web", "--file", path)
    assert code == 1
    assert "no key named 'web'" in stderr


def test_rate_limit_is_per_key_and_refills():
    (web, first), (app, second) = (new_key(name, ["predict"], now=NOW) for name in ("web", "app"))
    clock = [0.0]
    access = Access(KeyRing([web, app]), rate=4.0, clock=lambda: clock[0], now=lambda: NOW)

    def request(text: str) -> int:
        key = access.check(text.encode(), "/v1/predict")
        if isinstance(key, Rejection):
            return key.status
        access.spend(key)
        return 200

    assert [request(first) for _ in range(5)] == [200, 200, 200, 200, 429]
    assert request(second) == 200
    clock[0] = 0.25
    assert [request(first) for _ in range(2)] == [200, 429]
    clock[0] = 100.0
    assert [request(first) for _ in range(5)] == [200, 200, 200, 200, 429]
    assert access.check(b"", "/healthz") is None
    # A refunded request does not count.
    clock[0] = 200.0
    access.spend(web)
    access.refund(web)
    assert [request(first) for _ in range(5)] == [200, 200, 200, 200, 429]


def test_expired_key_and_missing_scope_are_rejected():
    (expired, first), (labels, second) = (
        new_key("expired", ["predict"], now=NOW, days=1),
        new_key("l", ["labels"], now=NOW),
    )
    access = Access(KeyRing([expired, labels]), now=lambda: NOW + timedelta(days=2))
    assert [access.check(given, "/v1/predict").status for given in (first.encode(), second.encode(), b"", None)] == [
        401, 403, 401, 401,
    ]  # fmt: skip
    assert access.check(second.encode(), "/v1/labels") == labels
