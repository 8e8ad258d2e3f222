"""Keys of the server: what is kept of them, what each opens, and changes while it runs."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from estimator.errors import ServingError
from estimator.serving.auth.gate import Gate, Refusal
from estimator.serving.auth.keys import KeyRing, given_key, new_key, read_keys, without_key, write_keys

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secrets" / "keys.json"


def test_a_file_of_keys_holds_no_key(path):
    key, text = new_key("web", ["predict"], now=NOW)
    write_keys(path, [key])
    assert text not in path.read_text()
    assert read_keys(path) == [key]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_opens_what_its_scopes_say():
    key, text = new_key("web", ["predict", "labels"], now=NOW)
    ring = KeyRing([key])
    found = ring.find(text.encode())
    assert found is not None
    assert [found.may(scope, NOW) for scope in ("predict", "labels", "admin")] == [True, True, False]
    assert ring.find(text[:-1].encode()) is None
    assert ring.find(b"") is None


def test_a_key_of_the_environment_may_do_everything():
    key = given_key("KEY", "long enough")
    assert all(key.may(scope, NOW) for scope in ("predict", "labels", "admin"))
    with pytest.raises(ServingError, match="shorter than 8 characters"):
        given_key("KEY", "short")


def test_a_key_ends_when_it_should():
    key, _ = new_key("guest", ["predict"], now=NOW, days=2)
    assert key.may("predict", NOW + timedelta(days=1.99))
    assert not key.may("predict", NOW + timedelta(days=2))


def test_keys_are_changed_while_the_server_runs(path):
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
def test_a_broken_file_leaves_the_keys_as_they_were_and_is_told(path, content):
    key, text = new_key("web", ["predict"], now=NOW)
    time = [0.0]
    write_keys(path, [key])
    ring = KeyRing([], path, clock=lambda: time[0])
    path.write_text(content)
    time[0] = 1.0
    assert ring.find(text.encode()) == key
    assert "is no file of keys" in ring.fault
    with pytest.raises(ServingError, match="is no file of keys"):
        KeyRing([], path)


@pytest.mark.parametrize("changed", [{"sha256": "zz"}, {"sha256": "00"}, {"scopes": ["root"]}, {"expires": "soon"}])
def test_a_key_that_makes_no_sense_is_refused(path, changed):
    key, _ = new_key("web", ["predict"], now=NOW)
    write_keys(path, [key])
    content = json.loads(path.read_text())
    content["keys"][0] |= changed
    path.write_text(json.dumps(content))
    with pytest.raises(ServingError, match="is no file of keys"):
        read_keys(path)


def test_a_scope_that_does_not_exist_is_refused():
    with pytest.raises(ServingError, match="no scope called 'predct'") as caught:
        new_key("web", ["predct"], now=NOW)
    assert "did you mean 'predict'?" in caught.value.hint


def test_keys_are_made_listed_and_taken_back_by_command(run, path):
    code, made, told = run("key", "add", "web", "--scope", "labels", "--days", "3", "--file", path, "--json")
    assert (code, made["scopes"]) == (0, ["labels"])
    assert "web may labels until" in told
    assert KeyRing([], path).find(made["key"].encode()) is not None
    code, found, _ = run("key", "list", "--file", path, "--json")
    assert [(key["name"], key["expired"]) for key in found["keys"]] == [("web", False)]
    assert "sha256" not in found["keys"][0]
    assert run("key", "revoke", "web", "--file", path)[0] == 0
    assert KeyRing([], path).is_empty
    code, _, told = run("key", "revoke", "web", "--file", path)
    assert code == 1
    assert "no key is called 'web'" in told


def test_a_rate_is_a_keys_own_and_comes_back_with_time():
    (web, first), (app, second) = (new_key(name, ["predict"], now=NOW) for name in ("web", "app"))
    clock = [0.0]
    gate = Gate(KeyRing([web, app]), rate=4.0, clock=lambda: clock[0], now=lambda: NOW)

    def ask(text: str) -> int:
        found = gate.judge(text.encode(), "/v1/predict")
        if isinstance(found, Refusal):
            return found.status
        gate.spend(found)
        return 200

    assert [ask(first) for _ in range(5)] == [200, 200, 200, 200, 429]
    assert ask(second) == 200
    clock[0] = 0.25
    assert [ask(first) for _ in range(2)] == [200, 429]
    clock[0] = 100.0
    assert [ask(first) for _ in range(5)] == [200, 200, 200, 200, 429]
    assert gate.judge(b"", "/healthz") is None
    # What is judged again is not taken twice.
    clock[0] = 200.0
    gate.spend(web)
    gate.give_back(web)
    assert [ask(first) for _ in range(5)] == [200, 200, 200, 200, 429]


def test_a_key_that_has_ended_opens_nothing_and_one_without_the_scope_is_told():
    (over, first), (labels, second) = new_key("over", ["predict"], now=NOW, days=1), new_key("l", ["labels"], now=NOW)
    gate = Gate(KeyRing([over, labels]), now=lambda: NOW + timedelta(days=2))
    assert [gate.judge(given, "/v1/predict").status for given in (first.encode(), second.encode(), b"", None)] == [
        401, 403, 401, 401,
    ]  # fmt: skip
    assert gate.judge(second.encode(), "/v1/labels") == labels
