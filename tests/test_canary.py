"""A canary predicts its share of the requests on both paths, fails none, and is followed as the live version is."""

from __future__ import annotations

import http.client
import json
import math
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import Serving
from estimator.errors import ServingError
from estimator.serving.reload import ModelReference, ServedModels
from estimator.serving.service import Service
from estimator.serving.traffic import TrafficShare
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import ESTIMATOR, get, post, serving, within
from tests.market import kinds, other_area, same_area

PREDICT = "/v1/predict"
SHARE = 0.3
# The fast path leaves a charset to FastAPI.
PATHS = {"fast": "application/json", "FastAPI": "application/json; charset=utf-8"}


def table(n_rows: int = 80) -> pl.DataFrame:
    generator = np.random.default_rng(1)
    area = generator.uniform(40, 200, n_rows).round(2)
    columns = {"customer": [f"c{row:04d}" for row in range(n_rows)], "area": area}
    return pl.DataFrame({**columns, "rooms": generator.integers(1, 9, n_rows), "price": area * 10})


def trained(folder: Path, rows: pl.DataFrame) -> str:
    """Train a version of these rows; return its name."""
    rows.write_csv(folder / "t.csv")
    content = {
        "name": "home",
        "data": {"path": "t.csv", "target": "price"},
        "model": {"kind": "constant"},
        "validation": {"folds": 0},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
        "schema": {"unknown_columns": "ignore"},
    }
    (folder / "config.json").write_text(json.dumps(content))
    context = verbs.Context(store_path=str(folder / "models"))
    return verbs.train.train(folder / "config.json", context).artefact.version


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A live version, and a candidate that needs one more column."""
    folder = tmp_path_factory.mktemp("home")
    live = trained(folder, table().drop("rooms"))
    return SimpleNamespace(models=folder / "models", live=live, candidate=trained(folder, table()))


@pytest.fixture
def home(made: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    shutil.copytree(made.models, tmp_path / "models")
    options = ["--store", str(tmp_path / "models"), "--log", str(tmp_path / "log.db")]
    return SimpleNamespace(
        live=made.live, candidate=made.candidate, models=tmp_path / "models", log=tmp_path / "log.db", options=options
    )


def row(customer: str = "c1", **more: Any) -> dict[str, Any]:
    return {"customer": customer, "area": 50.5, "rooms": 3, **more}


@pytest.fixture
def asking() -> Iterator[Callable[..., Callable[[Any], dict[str, Any]]]]:
    """Return what opens a connection, and returns what posts rows on it and returns the response."""
    with ExitStack() as connections:

        def connected(address: str, content_type: str = PATHS["fast"]) -> Callable[[Any], dict[str, Any]]:
            connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
            connections.enter_context(closing(connection))

            def ask(body: Any) -> dict[str, Any]:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                connection.request("POST", PREDICT, content, {"content-type": content_type})
                response = connection.getresponse()
                content = response.read()
                assert response.status == 200, content
                return json.loads(content)

            return ask

        yield connected


def logged_versions(log: Path) -> dict[str, str]:
    with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as connection:
        return dict(connection.execute("SELECT id, version FROM predictions").fetchall())


def counted(address: str, metric: str) -> Iterator[str]:
    return (line for line in get(address, "/metrics").splitlines() if line.startswith(f"estimator_{metric}{{"))


def versions_of(ask: Callable[[Any], dict[str, Any]], n_requests: int) -> set[str]:
    return {ask([row()])["version"] for _ in range(n_requests)}


def test_share_of_requests_is_predicted_by_the_canary_on_both_paths(home, asking):
    n_requests = 500
    with serving("home", *home.options, "--canary", f"candidate={SHARE}") as (_, address):
        versions: dict[str, str] = {}
        for content_type in PATHS.values():
            ask = asking(address, content_type)
            responses = [ask([row(), row("c2")]) for _ in range(n_requests)]
            n_canary = sum(response["version"] == home.candidate for response in responses)
            # Five standard deviations: one failure in a million runs.
            assert abs(n_canary - SHARE * n_requests) < 5 * math.sqrt(SHARE * (1 - SHARE) * n_requests)
            versions |= {item["id"]: response["version"] for response in responses for item in response["predictions"]}
        assert len(versions) == 2000
        counts = Counter(versions.values())
        lines = list(counted(address, "predictions_total"))
        for version in (home.live, home.candidate):
            assert any(f'version="{version}"' in line and line.endswith(f" {counts[version]}") for line in lines)
        assert len(list(counted(address, "model_info"))) == 2
    assert logged_versions(home.log) == versions


def test_fastapi_keeps_the_version_that_the_fast_path_has_drawn(home, asking):
    # The fast path draws, and then leaves a number in quotes to FastAPI: a second draw would change the share.
    n_requests, share = 600, 0.5
    with serving("home", *home.options, "--canary", f"candidate={share}") as (_, address):
        ask = asking(address)
        n_canary = sum(ask([row(area="50.5")])["version"] == home.candidate for _ in range(n_requests))
    assert abs(n_canary - share * n_requests) < 5 * math.sqrt(share * (1 - share) * n_requests)


def test_key_stays_with_one_version_in_every_kind_of_body(home, asking):
    options = ("--canary", "candidate=0.5", "--canary-by", "customer")
    customers = [f"c{number}" for number in range(40)]
    with serving("home", *home.options, *options) as (_, address):
        first = {name: asking(address)([row(name), row("another")])["version"] for name in customers}
        assert set(first.values()) == {home.live, home.candidate}
        slow, csv = asking(address, PATHS["FastAPI"]), asking(address, "text/csv")
        for name in customers:
            assert slow([row(name)])["version"] == first[name]
            assert slow({"customer": [name], "area": [50.5], "rooms": [3]})["version"] == first[name]
            assert csv(f"customer,area,rooms\n{name},50.5,3\n".encode())["version"] == first[name]
        ask = asking(address)
        assert {ask([{"area": 50.5, "rooms": 3}])["version"] for _ in range(40)} == {home.live, home.candidate}


def test_rows_that_the_canary_rejects_are_predicted_by_the_live_version(home, asking):
    n_requests = 60
    with serving("home", *home.options, "--canary", "candidate=0.5") as (_, address):
        for content_type in PATHS.values():
            ask = asking(address, content_type)
            # The candidate needs rooms.
            responses = [ask([{"customer": "c1", "area": 50.5}]) for _ in range(n_requests)]
            assert {response["version"] for response in responses} == {home.live}
        (line,) = counted(address, "canary_failures_total")
        assert f'version="{home.candidate}"' in line
        assert 20 < int(line.split()[-1]) < 100
        for _ in range(20):
            # What no version accepts is the client's fault.
            with pytest.raises(OSError, match="422"):
                post(address, [row(area="large")], PREDICT)
        assert list(counted(address, "canary_failures_total")) == [line]


def test_moved_aliases_move_the_canary(home, asking, run):
    def move(version: str, verb: str = "promote") -> None:
        code, _, _ = run(verb, f"home/{version}", "--store", home.models, "--why", "a test", "--json")
        assert code == 0

    with serving("home", *home.options, "--canary", f"{home.candidate}=0.5") as (process, address):
        ask = asking(address)
        assert versions_of(ask, 40) == {home.live, home.candidate}
        # Once the canary is the live version, there is no canary.
        move(home.candidate)
        assert within(60, lambda: len(list(counted(address, "model_info"))) == 1)
        assert versions_of(ask, 40) == {home.candidate}
        move(home.live)
        assert within(60, lambda: len(list(counted(address, "model_info"))) == 2)
        assert versions_of(ask, 40) == {home.live, home.candidate}
        # A damaged canary leaves the one that runs.
        model = home.models / "home" / home.candidate / "model.onnx"
        whole = model.read_bytes()
        model.write_bytes(whole[:-1] + b"x")
        process.send_signal(signal.SIGHUP)
        assert within(60, lambda: "home canary" in json.loads(get(address, "/readyz")).get("reload_errors", {}))
        assert versions_of(ask, 40) == {home.live, home.candidate}
        model.write_bytes(whole)
        process.send_signal(signal.SIGHUP)
        assert within(60, lambda: "reload_errors" not in json.loads(get(address, "/readyz")))


def test_error_of_a_canary_stays_until_it_is_loaded(home):
    model, candidate = home.models / "home", home.models / "home" / home.candidate
    names: dict[str, Path] = {}
    reference = ModelReference("home", lambda: model / home.live, names.get)
    models = ServedModels([reference], lambda _: Serving(canary={"version": "candidate"}))
    models.check()
    names["candidate"], whole = candidate, (candidate / "model.onnx").read_bytes()
    (candidate / "model.onnx").write_bytes(whole[:-1] + b"x")
    for is_forced in (False, False, True, False):
        assert models.reload(is_forced) is None or is_forced
        assert "model.onnx" in models.errors["home canary"]
        assert models.services[0].canary is None
    (candidate / "model.onnx").write_bytes(whole)
    (service,) = models.reload(True) or ()
    assert (service.canary.service.artefact.version, models.errors) == (home.candidate, {})
    assert models.reload(False) is None
    (candidate / "model.onnx").write_bytes(whole[:-1] + b"x")
    # The canary that runs stays, and so does the reason why it is not the newest.
    for is_forced in (True, False):
        models.reload(is_forced)
        assert "model.onnx" in models.errors["home canary"]
        assert models.services[0].canary.service.artefact.version == home.candidate


def test_canary_that_cannot_be_loaded_at_start_is_an_error(home):
    model = home.models / "home" / home.candidate / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    for options, message in (
        (["--canary", "candidate=0.1"], "model.onnx"),
        (["--canary", "candidate=2"], "serving.canary.share"),
        (["--canary", "candidate"], "VERSION=SHARE"),
    ):
        command = [*ESTIMATOR, "serve", "home", *home.options, *options, "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2)
        assert message in done.stderr


def test_key_must_be_a_column_that_rows_may_have(store, made):
    canary = {"version": "candidate", "by": "custmer"}
    with pytest.raises(ServingError, match="has no column 'custmer'"):
        Service(open_artefact(version_folder(store / "house_pricing_model")), Serving(canary=canary))
    # Here rows may have columns that the schema does not know.
    Service(open_artefact(made.models / "home" / made.live), Serving(canary=canary))


def test_alias_that_is_not_set_means_no_canary(home, asking):
    with serving("home", *home.options, "--canary", "later=0.5") as (_, address):
        ask = asking(address)
        assert versions_of(ask, 30) == {home.live}
        aliases = home.models / "home" / "aliases.json"
        aliases.write_text(json.dumps({**json.loads(aliases.read_text()), "later": home.candidate}))
        assert within(60, lambda: ask([row()])["version"] == home.candidate)


def test_shadow_of_the_same_version_leaves_out_what_the_canary_predicted(home, asking):
    options = ("--canary", "candidate=0.5", "--shadow", "candidate")
    with serving("home", *home.options, *options) as (_, address):
        ask = asking(address)
        ids = {response["predictions"][0]["id"]: response["version"] for response in (ask([row()]) for _ in range(60))}
    with sqlite3.connect(home.log) as connection:
        shadows = {name for (name,) in connection.execute("SELECT id FROM shadows")}
    assert shadows == {name for name, version in ids.items() if version == home.live}


def test_larger_share_holds_the_smaller_one():
    small, large = (TrafficShare(share, "v2", frozenset({"customer"})) for share in (0.1, 0.3))
    chosen = [[share.includes_row({"customer": key}, "x") for key in range(500)] for share in (small, large)]
    assert all(in_large or not in_small for in_small, in_large in zip(*chosen, strict=True))
    assert 20 < sum(chosen[0]) < 90 < sum(chosen[1]) < 220


def test_rows_of_a_canary_raise_no_alarm_for_the_live_version(market):
    live = market.live
    canary = replace(live, manifest={**live.manifest, "version": "canary"})
    market.send(same_area(100), labels=True)
    market.send(other_area(0, 300), labels=True, version=canary)
    assert "drift" not in kinds(market.step())
    assert "degradation" not in kinds(market.step())
    assert market.overview().n_rows == 100
    # The same rows by the live version are an alarm.
    market.send(other_area(0, 300), labels=True)
    assert "drift" in kinds(market.step())
