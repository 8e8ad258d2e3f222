"""A store on S3: versions and aliases, moves at the same time, uploads that end early, and what a network does."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import estimator
from estimator import verbs
from estimator.config import Serving
from estimator.core.clock import Moment
from estimator.errors import ArtefactError, MissingExtraError, StoreError
from estimator.monitoring.loop import MonitorLoop
from estimator.prediction_log import open_log
from estimator.serving.reload import ModelReference, ServedModels
from estimator.store import s3_storage
from estimator.store.artefact import REQUIRED_FILES, open_artefact
from estimator.store.history import AliasChange
from estimator.store.store import Store, locate, store_of
from tests.chaos import at_once, forked
from tests.clients import ESTIMATOR, get, post, serving, within
from tests.servers import Cloud, aws

URL = "s3://bucket/team/models"
MOMENT = Moment(datetime(2026, 1, 1, tzinfo=UTC), "me", "abc123")
TABLE = pl.DataFrame({"area": [float(row % 40) for row in range(80)], "price": [row % 40 * 10.0 for row in range(80)]})
CONFIG = {
    "name": "home",
    "data": {"path": "t.csv", "target": "price"},
    "model": {"kind": "constant"},
    "validation": {"folds": 0},
    "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
}


class Proxy:
    """What lies between boto3 and S3: it may be down, lose a response, hold a request, or drop the conditions."""

    def __init__(self, target: str) -> None:
        self.target = target.removeprefix("http://")
        self.is_down = self.drops_conditions = False
        # Requests whose method and path fit are carried out, and their responses lost.
        self.loses: Callable[[str, str], bool] = lambda method, path: False
        # Requests that fit wait here for ever; `held` is set when the first one does.
        self.holds: Callable[[str, str], bool] = lambda method, path: False
        self.held, self.ended = threading.Event(), threading.Event()
        self.requests: list[tuple[str, str, str | None]] = []

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        method, path = request.command, request.path
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.close_connection = True
        self.requests.append((method, path, request.headers.get("If-Match") or request.headers.get("If-None-Match")))
        if self.holds(method, path):
            self.held.set()
            self.ended.wait(60)
        if self.is_down or self.ended.is_set():
            return
        headers = {name: value for name, value in request.headers.items() if not self._is_dropped(name)}
        connection = http.client.HTTPConnection(self.target, timeout=60)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        if self.loses(method, path):
            return
        request.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(b"" if method == "HEAD" else content)
        connection.close()

    def _is_dropped(self, header: str) -> bool:
        return self.drops_conditions and header.lower() in ("if-match", "if-none-match")


@contextmanager
def proxy_of(target: str) -> Iterator[tuple[Proxy, str]]:
    proxy = Proxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with suppress(ConnectionError):
                proxy.handle(self)

        do_PUT = do_HEAD = do_DELETE = do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with aws(one_at_a_time=True) as cloud:
        yield cloud


@pytest.fixture
def bucket(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, and a cache of this test alone."""
    monkeypatch.setenv("ESTIMATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("estimator.core.s3._ATTEMPTS", 2)
    client = cloud.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    for key in keys(client):
        client.delete_object(Bucket="bucket", Key=key)
    client.close()


@pytest.fixture
def proxy(cloud: Cloud, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy_of(cloud.address) as (proxy, address):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield proxy


def keys(client: Any) -> list[str]:
    return [item["Key"] for item in client.list_objects_v2(Bucket="bucket").get("Contents", [])]


def write(store: Store, version: str, content: bytes = b"{}") -> Path:
    manifest = {"name": "house", "task": {"kind": "regression", "classes": []}}
    return store.storage.write("house", version, manifest, {**dict.fromkeys(REQUIRED_FILES, content), "a/b.txt": b"b"})


@pytest.fixture
def three(bucket: Any) -> Store:
    store = Store.at(URL)
    for version in ("v1", "v2", "v3"):
        write(store, version)
        promote(store, version)
    return store


def promote(store: Store, version: str) -> AliasChange:
    return store.point("house", "live", version, action="promote", reason="test", moment=MOMENT)


def roll_back(store: Store) -> AliasChange:
    return store.roll_back("house", reason="test", moment=MOMENT)


def moves(store: Store) -> list[tuple[str | None, str]]:
    return [(change.previous, change.version) for change in store.history("house") if change.alias == "live"]


def first_write_of(file: str) -> Callable[[str, str], bool]:
    number = itertools.count()
    return lambda method, path: method == "PUT" and path.endswith(file) and next(number) == 0


def forget(tmp_path: Path) -> Store:
    """Return the store as another machine sees it."""
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    return Store.at(URL)


def test_version_and_alias_are_seen_elsewhere(three, tmp_path):
    store = forget(tmp_path)
    assert (store.models(), store.versions("house")) == (["house"], ["v1", "v2", "v3"])
    assert dict(store.aliases("house")) == {"live": "v3"}
    artefact = open_artefact(locate("house", store))
    assert (artefact.version, artefact.is_own, artefact.read("a/b.txt")) == ("v3", True, b"b")
    assert store_of(artefact.folder) == store


def test_layout_is_that_of_a_folder(three, bucket):
    names = {key.removeprefix("team/models/house/") for key in keys(bucket)}
    assert {"history.jsonl", "v1/manifest.json", "v1/signature", "v1/model.onnx", "v1/a/b.txt"} <= names
    assert not [name for name in names if "/" not in name and name != "history.jsonl"]


def test_rollback_goes_back_step_by_step(three):
    for expected in ("v2", "v1"):
        assert roll_back(three).version == expected
    with pytest.raises(StoreError, match="no version was live before v1"):
        roll_back(three)
    assert moves(three) == [(None, "v1"), ("v1", "v2"), ("v2", "v3"), ("v3", "v2"), ("v2", "v1")]


def test_second_training_is_the_candidate_until_it_is_live(bucket):
    store = Store.at(URL)
    for version in ("v1", "v2"):
        write(store, version)
        store.announce("house", version, reason="", moment=MOMENT)
    assert dict(store.aliases("house")) == {"live": "v1", "candidate": "v2"}
    promote(store, "v2")
    assert dict(store.aliases("house")) == {"live": "v2"}


@pytest.mark.parametrize("reference", ["house", "house@live", "house/v3", "v3"])
def test_version_is_found_by_several_names(three, reference):
    assert three.find(reference) == ("house", "v3")


@pytest.mark.parametrize("reference", ["hose", "house@candidate", "house/v9", "house/..", "../house", "a/b/c"])
def test_unknown_name_is_an_error(three, reference):
    with pytest.raises(StoreError):
        three.find(reference)


def test_move_is_decided_again_after_somebody_elses(three):
    other, decided = Store.at(URL), []

    def decide(aliases, changes):
        if not decided:
            promote(other, "v1")
        decided.append(aliases["live"])
        return AliasChange(MOMENT.iso, "me", "promote", "live", aliases["live"], "v2", "")

    three.storage.move("house", decide)
    assert decided == ["v3", "v1"]
    assert moves(three)[-2:] == [("v3", "v1"), ("v1", "v2")]


def test_moves_of_three_processes_are_all_in_the_history(three):
    def move_often(version):
        store = Store.at(URL)
        for _ in range(8):
            promote(store, version)

    at_once(*(partial(move_often, version) for version in ("v1", "v2", "v3")))
    changes = moves(three)
    assert len(changes) == 27
    assert all(first[1] == second[0] for first, second in itertools.pairwise(changes))
    assert three.aliases("house")["live"] == changes[-1][1]


def test_two_rollbacks_at_once_go_back_two_steps(three):
    at_once(lambda: roll_back(Store.at(URL)), lambda: roll_back(Store.at(URL)))
    assert three.aliases("house")["live"] == "v1"
    assert moves(three)[3:] == [("v3", "v2"), ("v2", "v1")]


def test_lost_response_moves_an_alias_once(three, proxy):
    store = Store.at(URL)
    proxy.loses = first_write_of("history.jsonl")
    assert roll_back(store).version == "v2"
    assert moves(store)[3:] == [("v3", "v2")]


def test_lost_response_writes_a_version_once(bucket, proxy):
    proxy.loses = first_write_of("manifest.json")
    write(Store.at(URL), "v1")
    assert Store.at(URL).versions("house") == ["v1"]


def test_network_that_ends_in_a_move_says_that_it_may_be_made(three, proxy):
    store = Store.at(URL)

    def lose(method, path):
        proxy.is_down = proxy.is_down or (method == "PUT" and path.endswith("history.jsonl"))
        return proxy.is_down

    proxy.loses = lose
    with pytest.raises(StoreError, match=r"house/history.jsonl: cannot be reached") as caught:
        roll_back(store)
    assert "estimator history house` before you try again" in str(caught.value.hint)
    proxy.is_down = False
    assert moves(store)[3:] == [("v3", "v2")]


def test_server_without_conditional_writes_is_rejected(bucket, proxy):
    proxy.drops_conditions = True
    write(Store.at(URL), "v1")
    with pytest.raises(StoreError, match="this server ignores If-Match") as caught:
        promote(Store.at(URL), "v1")
    assert "AWS S3" in str(caught.value.hint)
    assert not [key for key in keys(bucket) if "conditional" in key or "history" in key]


def test_moves_are_sent_with_conditions(three, proxy):
    promote(Store.at(URL), "v1")
    writes = [(path.rpartition("/")[2], condition) for method, path, condition in proxy.requests if method == "PUT"]
    assert [name for name, condition in writes] == [s3_storage.PROBE, "history.jsonl"]
    assert all(condition is not None for _, condition in writes)


@pytest.mark.parametrize("n_uploaded", [0, 3, 6])
def test_killed_upload_is_never_a_version(bucket, proxy, n_uploaded, tmp_path):
    """After some of its files, and when all but the manifest are there."""
    started = itertools.count()
    name = "2026-01-01T00-00-00Z-abc123"
    proxy.holds = lambda method, path: method == "PUT" and name in path and next(started) >= n_uploaded
    pid = forked(lambda: write(Store.at(URL), name))
    assert proxy.held.wait(60)
    assert within(60, lambda: len(keys(bucket)) == n_uploaded)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    proxy.holds = lambda method, path: False
    store = forget(tmp_path)
    assert (store.models(), store.versions("house")) == ([], [])
    with pytest.raises(StoreError, match="no model or version"):
        store.find(name)
    # The next training is not disturbed.
    write(store, "v1")
    assert store.versions("house") == ["v1"]


def test_upload_that_did_not_end_is_said(three, bucket, run, monkeypatch):
    bucket.put_object(Bucket="bucket", Key="team/models/house/2026-01-01T00-00-00Z-abc123/model.onnx", Body=b"")
    bucket.put_object(Bucket="bucket", Key="team/models/house/decisions/x/decision.json", Body=b"")
    assert three.storage.unfinished() == []
    monkeypatch.setattr(s3_storage, "UPLOAD_SECONDS", -10.0)
    place = f"{URL}/house/2026-01-01T00-00-00Z-abc123/"
    assert three.storage.unfinished() == [place]
    for key in keys(bucket):
        if "/v" in key:
            bucket.delete_object(Bucket="bucket", Key=key)
    assert f"{place}: an upload that did not end; it counts for nothing" in run("models", "--store", URL)[2]


def test_failed_upload_says_where_the_version_is_kept(bucket, proxy):
    proxy.loses = lambda method, path: path.endswith("model.onnx")
    store = Store.at(URL)
    with pytest.raises(StoreError, match=r"model\.onnx: cannot be reached") as caught:
        write(store, "v1")
    folder = str(caught.value.hint).partition("--recursive ")[2].partition(" ")[0]
    assert open_artefact(Path(folder)).version == "v1"
    assert store.versions("house") == []


@pytest.mark.parametrize(
    ("file", "damage"),
    [("model.onnx", "changed"), ("a/b.txt", "missing"), ("manifest.json", "changed"), ("signature", "missing")],
)
def test_damaged_copy_is_downloaded_again(three, file, damage):
    path = three.folder("house", "v2") / file
    whole = path.read_bytes()
    path.write_bytes(b"x" + whole) if damage == "changed" else path.unlink()
    again = Store.at(URL)
    assert again.folder("house", "v2") / file == path
    assert path.read_bytes() == whole
    assert open_artefact(path.parents[file.count("/")]).is_own


def test_whole_copy_is_not_downloaded_again(three, proxy, tmp_path):
    Store.at(URL).folder("house", "v1")
    proxy.requests.clear()
    Store.at(URL).folder("house", "v1")
    assert proxy.requests == []


def test_version_that_is_damaged_on_s3_is_named(three, bucket, tmp_path):
    bucket.put_object(Bucket="bucket", Key="team/models/house/v1/model.onnx", Body=b"other")
    with pytest.raises(ArtefactError, match=f"{URL}/house/v1/model.onnx: changed since the version was written"):
        forget(tmp_path).folder("house", "v1")
    bucket.delete_object(Bucket="bucket", Key="team/models/house/v1/model.onnx")
    with pytest.raises(ArtefactError, match=f"{URL}/house/v1/model.onnx: the file is missing"):
        forget(tmp_path).folder("house", "v1")


def test_manifest_of_somebody_else_writes_nothing_outside(three, bucket, tmp_path):
    key = "team/models/house/v1/manifest.json"
    manifest = json.loads(bucket.get_object(Bucket="bucket", Key=key)["Body"].read())
    manifest["files"]["../../../../outside"] = "0"
    bucket.put_object(Bucket="bucket", Key=key, Body=json.dumps(manifest).encode())
    with pytest.raises(ArtefactError, match="outside the version's folder"):
        forget(tmp_path).folder("house", "v1")
    assert not list(tmp_path.rglob("outside"))


def test_alias_of_somebody_else_leaves_no_cache(three, bucket):
    change = AliasChange(MOMENT.iso, "somebody", "promote", "live", None, "../../x", "")
    line = json.dumps(asdict(change))
    bucket.put_object(Bucket="bucket", Key="team/models/house/history.jsonl", Body=f"{line}\n".encode())
    with pytest.raises(StoreError, match="no version"):
        locate("house", three)
    with pytest.raises(StoreError, match="no version"):
        three.folder("house", "../../x")


def test_damaged_journal_is_an_error(three, bucket):
    bucket.put_object(Bucket="bucket", Key="team/models/house/history.jsonl", Body=b'{"time": "2026')
    with pytest.raises(StoreError, match="line 1 cannot be read, so what is live is not known"):
        three.aliases("house")
    with pytest.raises(StoreError, match="line 1 cannot be read"):
        promote(three, "v1")


def test_history_of_a_folder_is_read_after_a_copy(bucket, tmp_path):
    local = Store(tmp_path / "models")
    for version in ("v1", "v2"):
        write(local, version)
        local.announce("house", version, reason="", moment=MOMENT)
    promote(local, "v2")
    for path in (tmp_path / "models").rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), "bucket", f"team/models/{path.relative_to(tmp_path / 'models')}")
    store = Store.at(URL)
    assert (dict(store.aliases("house")), store.history("house")) == (local.aliases("house"), local.history("house"))
    assert roll_back(store).version == "v1"


ERRORS = {
    "no bucket": ("s3://nowhere/models", {}, "S3 reports NoSuchBucket", "check the bucket's name"),
    "no credentials": (
        URL, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
        "no AWS credentials found", "set AWS_ACCESS_KEY_ID",
    ),
    "no profile": (URL, {"AWS_PROFILE": "nobody"}, "(nobody) could not be found", "AWS_PROFILE"),
    "network down": (URL, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached", "check the network"),
    "wrong endpoint": (URL, {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint", "AWS_ENDPOINT_URL"),
    "credentials": ("s3://me:hunter2secret@bucket/x", {}, "must not hold credentials", "set AWS_ACCESS_KEY_ID"),
    "other kind": ("gs://bucket/x", {}, "gs://bucket/x: expected a folder, or an address such as s3://", ""),
    "no name": ("s3://", {}, "or an address such as s3://bucket/models", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("command", [("models",), ("train", "--conf", "config.json")])
def test_error_is_one_sentence_and_says_what_to_do(bucket, run, monkeypatch, tmp_path, project, case, command):
    url, environment, message, hint = ERRORS[case]
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    code, _, stderr = run(*command, "--store", url)
    assert code == 1
    assert message in stderr
    assert hint in stderr
    assert "Traceback" not in stderr
    assert "hunter2secret" not in stderr


@pytest.mark.parametrize(
    ("missing", "action"), [("s3:ListBucket", "listed"), ("s3:PutObject", "written"), ("s3:GetObject", "read")]
)
def test_missing_permission_is_named(cloud, three, tmp_path, missing, action):
    rights = ["s3:ListBucket", "s3:PutObject", "s3:GetObject"]
    with cloud.only_allowed([right for right in rights if right != missing]):
        with pytest.raises(StoreError, match="AccessDenied") as caught:
            promote(forget(tmp_path), "v1") if missing != "s3:GetObject" else forget(tmp_path).folder("house", "v1")
        assert f"do not let it be {action} ({missing}" in str(caught.value.hint)


def test_missing_package_names_the_extra(monkeypatch, bucket):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError) as caught:
        Store.at(URL).models()
    assert "[s3]" in str(caught.value.hint)


def test_cache_that_cannot_be_written_is_said(three, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ESTIMATOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(ArtefactError, match="cannot be written") as caught:
        Store.at(URL).folder("house", "v1")
    assert "ESTIMATOR_CACHE" in str(caught.value.hint)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and a config whose store is on S3."""
    monkeypatch.chdir(tmp_path)
    TABLE.write_csv("t.csv")
    Path("config.json").write_text(json.dumps({**CONFIG, "store": URL}))
    return tmp_path


def test_commands_work_on_s3_as_in_a_folder(bucket, project, run, tmp_path):
    code, first, _ = run("train", "--conf", "config.json", "--json")
    assert (code, first["alias"]) == (0, "live")
    second = run("train", "--conf", "config.json", "--json", "--store", URL)[1]
    assert second["alias"] == "candidate"
    forget(tmp_path)
    at = ("--store", f"{URL}/", "--json")
    (model,) = run("models", *at)[1]["models"]
    assert [version["own"] for version in model["versions"]] == [True, True]
    assert model["aliases"] == {"live": first["version"], "candidate": second["version"]}
    assert run("promote", "home", *at)[1]["version"] == second["version"]
    assert run("rollback", *at)[1]["version"] == first["version"]
    assert [move["action"] for move in run("history", "home", *at)[1]["moves"]] == [
        "train", "train", "promote", "rollback",
    ]  # fmt: skip
    assert run("predict", "home", "--input", "t.csv", "--output", "out.csv", *at)[0] == 0
    assert pl.read_csv("out.csv").height == 80
    assert run("evaluate", "home", "--input", "t.csv", "--include-learned", *at)[1]["rows"] == 80
    assert run("verify", "home", *at)[0] == 0
    assert run("compare", first["version"], second["version"], *at)[0] in (0, 3)
    assert run("page", "home", "--output", "page.html", *at)[0] == 0
    assert run("sign", *at)[1]["signed"] == []
    assert estimator.load("home", store=URL).predict([{"area": 1.0}])


def test_training_says_how_to_serve_from_there(bucket, project, run):
    text = run("train", "--conf", "config.json")[1]["text"]
    assert f"store   {URL}" in text
    assert f"next: estimator serve home --store {URL}" in text


def test_environment_names_the_store(bucket, project, run, monkeypatch):
    monkeypatch.setenv("ESTIMATOR_STORE", URL)
    Path("config.json").write_text(json.dumps(CONFIG))
    assert run("train", "--conf", "config.json", "--json")[0] == 0
    assert (Store.at(URL).models(), Path("models").exists()) == (["home"], False)


def test_trainings_at_once_make_one_live(bucket, project):
    command = [*ESTIMATOR, "train", "--conf", "config.json"]
    trainings = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [training.wait(60) for training in trainings] == [0, 0]
    store = Store.at(URL)
    assert len(store.versions("home")) == 2
    assert sorted(store.aliases("home")) == ["candidate", "live"]
    assert sorted(store.aliases("home").values()) == store.versions("home")


def test_somebody_elses_version_is_signed_on_s3(bucket, project, run, tmp_path, monkeypatch):
    run("train", "--conf", "config.json", "--json")
    monkeypatch.setenv("ESTIMATOR_SIGNING_KEY", str(tmp_path / "other.key"))
    assert not verbs.Context(store_path=URL).version("home").is_own
    assert len(run("sign", "home", "--yes", "--store", URL, "--json")[1]["signed"]) == 1
    forget(tmp_path)
    assert verbs.Context(store_path=URL).version("home").is_own


def test_retraining_is_rejected_before_anything(bucket, project, run):
    run("train", "--conf", "config.json", "--json")
    before = keys(bucket)
    code, _, stderr = run("retrain", "home", "--input", "t.csv", "--store", URL)
    assert (code, keys(bucket)) == (1, before)
    assert f"{URL}: retraining keeps rows and decisions next to the versions" in stderr


def test_address_of_a_version_is_explained(bucket, run):
    code, _, stderr = run("predict", f"{URL}/home", "--input", "t.csv", "--output", "out.csv")
    assert (code, "name its store apart: MODEL --store ADDRESS" in stderr) == (1, True)


@pytest.fixture
def two(bucket: Any, project: Path) -> SimpleNamespace:
    """A live version and a candidate."""
    names = [verbs.train.train(Path("config.json")).artefact.version for _ in range(2)]
    return SimpleNamespace(live=names[0], candidate=names[1], store=Store.at(URL))


def served(store: Store, poll_seconds: float = 0.0) -> ServedModels:
    return ServedModels(
        [ModelReference("home", lambda: locate("home", store), poll_seconds=poll_seconds)], lambda _: Serving()
    )


def test_server_keeps_its_version_while_the_network_is_down(two, proxy, caplog):
    models = served(Store.at(URL))
    models.check()
    proxy.is_down = True
    assert models.reload(False) is None
    assert models.services[0].artefact.version == two.live
    assert "cannot be reached" in models.errors["home alias"]
    assert "the store cannot be read; the version that is served stays" in caplog.text
    proxy.is_down = False
    verbs.promote.promote(two.store, "home", why="")
    (service,) = models.reload(False) or ()
    assert (service.artefact.version, models.errors) == (two.candidate, {})


def test_server_asks_for_one_unchanged_object(two, proxy):
    models = served(Store.at(URL))
    models.reload(False)
    proxy.requests.clear()
    assert models.reload(False) is None
    ((method, path, condition),) = proxy.requests
    assert (method, path.endswith("home/history.jsonl"), condition is not None) == ("GET", True, True)


def test_server_asks_no_more_often_than_said(two, proxy):
    models = served(Store.at(URL), poll_seconds=3600.0)
    proxy.requests.clear()
    assert (models.reload(False), proxy.requests) == (None, [])
    models.reload(True)
    assert proxy.requests


def test_damaged_version_leaves_the_served_one(two, bucket, tmp_path):
    models = served(forget(tmp_path))
    bucket.put_object(Bucket="bucket", Key=f"team/models/home/{two.candidate}/model.onnx", Body=b"x")
    two.store.point("home", "live", two.candidate, action="promote", reason="", moment=MOMENT)
    assert models.reload(False) is None
    assert "model.onnx: changed since" in models.errors["home alias"]


def test_serve_follows_the_alias_on_s3(two, run):
    row = [{"area": 1.0}]
    options = ("--store", URL, "--shadow", "candidate", "--log", "log.db", "--workers", "2")
    with serving(Path("home"), *options) as (process, address):
        first = post(address, row, "/v1/predict")
        assert first["version"] == two.live
        assert "reload_errors" not in get(address, "/readyz")
        run("promote", "home", "--store", URL, "--json")
        process.send_signal(signal.SIGHUP)
        assert within(30, lambda: {post(address, row, "/v1/predict")["version"] for _ in range(8)} == {two.candidate})
        assert "promote" in get(address, "/monitor")
    at = ("--log", "log.db", "--store", URL, "--json")
    rows = run("monitor", "home", *at)[1]["n_rows_by_version"]
    assert set(rows) == {two.live, two.candidate}
    assert run("why", first["predictions"][0]["id"], *at)[0] == 0
    assert run("export", "home", "--output", "log.csv", *at)[1]["n_rows"] == sum(rows.values())
    assert run("replay", "home", "--against", f"home/{two.live}", *at)[0] in (0, 3)
    context = verbs.Context(("monitoring.on_drift=retrain",), store_path=URL)
    settings = verbs.monitor.loop_settings(context.version("home"), context)
    with closing(open_log("log.db", Path(), {}, must_exist=True)) as log:
        loop = MonitorLoop(Store.at(URL), log, "home", settings, holder="test", note=lambda sentence: None)
        for seconds in (10.0, 20.0):
            loop.step(time.time() + seconds)
        loop.close()
