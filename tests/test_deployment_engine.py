"""Deployments in a real engine: by Compose, and on machines whose user data runs the image that was pushed over TLS.

They take minutes and packages of Debian that root installs: `make test-image` runs them.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from estimator import verbs
from estimator.checks.targets import PROMISES, DeploymentTrial
from estimator.cli import main
from estimator.shipping.deployment import SHELF, DeploymentContext, Release
from estimator.shipping.image.build import BuildOptions
from estimator.shipping.image.build_record import read_record
from estimator.shipping.image.smoke_test import ask
from estimator.store.store import Store
from tests.conftest import EXAMPLES
from tests.engine import docker_engine
from tests.machines import machines
from tests.rootfs import write_rootfs
from tests.servers import aws, debian_program, docker_registry, free_port, write_certificates

pytestmark = pytest.mark.skipif(
    "ESTIMATOR_TEST_ENGINE" not in os.environ, reason="a Docker engine is started by `make test-image`"
)
REGION = "eu-west-1"
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
# What moto's ECR gives out.
TOKEN = "123456789012-auth-token"
MODEL = "house_pricing_model"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with two versions of the Boston model."""
    folder = tmp_path_factory.mktemp("models")
    conf = next((EXAMPLES / "boston").glob("config.*"))
    for kind in (("model.kind=linear",), ("model.kind=boosting", "model.n_estimators=20")):
        verbs.train.train(conf, verbs.Context(kind, store_path=str(folder)))
    return Store(folder)


@pytest.fixture(scope="module")
def versions(store):
    return [
        f"{MODEL}/{version}"
        for version in sorted(path.name for path in (store.root / MODEL).iterdir() if path.is_dir())
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_rootfs(folder / "base.tar", folder)
    return folder / "base.tar"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return write_certificates(HOST, tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def engine(certificates):
    debian_program("docker-compose", "docker-compose")
    with docker_engine(hosts={HOST: certificates[0]}) as client:
        yield client


@pytest.fixture(scope="module")
def built(store, versions, base, engine, tmp_path_factory):
    """The folders in which the images of both versions were built."""
    folders = []
    for version in versions:
        folder = tmp_path_factory.mktemp("build") / MODEL
        artefact = verbs.Context(store_path=str(store.root)).version(version)
        verbs.image.image(
            artefact, verbs.Context(), BuildOptions(f"prices:{artefact.version[-6:]}", folder, "direct", base)
        )
        folders.append(folder)
    return folders


@pytest.fixture
def command(store, monkeypatch, capsys) -> Callable[..., tuple[int, dict, str]]:
    monkeypatch.setenv("ESTIMATOR_STORE", str(store.root))

    def called(verb, folder, *words):
        code = main([verb, MODEL, "--folder", str(folder), *words, "--json"])
        told = capsys.readouterr()
        return code, json.loads(told.out) if told.out.strip() else {}, told.err

    return called


@pytest.fixture
def port(command, built):
    """A port at which nothing runs before or after."""
    found = free_port()
    yield str(found)
    command("down", built[0], "--yes", "--set", f"deployment.port={found}")


class Asker(threading.Thread):
    """Asks again and again whether a server answers; knows for how long it did not."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self.ends, self.gap, self.versions = address, threading.Event(), 0.0, []

    def run(self) -> None:
        lost: float | None = None
        while not self.ends.wait(0.01):
            try:
                status, told = ask(self.address, "/readyz")
            except (OSError, ValueError):
                status, told = 0, {}
            if status == 200:
                self.gap = max(self.gap, time.monotonic() - lost if lost else 0.0)
                lost = None
                if told["version"] not in self.versions:
                    self.versions.append(told["version"])
            else:
                lost = lost or time.monotonic()


def test_compose_runs_a_model_swaps_it_takes_it_back_and_down(command, built, versions, port, report_figure):
    chosen = ("--set", f"deployment.port={port}")
    code, told, said = command("deploy", built[0], "--yes", *chosen)
    assert code == 0, said
    assert (told["applied"], told["address"]) == (True, f"http://127.0.0.1:{port}")
    assert ask(told["address"], "/readyz")[1]["version"] == versions[0].split("/")[1]
    code, told, _ = command("deploy", built[0], "--yes", *chosen)
    assert (code, told["applied"]) == (0, False)
    asker = Asker(f"http://127.0.0.1:{port}")
    asker.start()
    try:
        assert command("deploy", built[1], "--yes", *chosen)[0] == 0
        code, told, _ = command("deploy", built[1], "--rollback", "--yes", *chosen)
    finally:
        asker.ends.set()
        asker.join()
    assert [f"{MODEL}/{version}" for version in asker.versions] == [versions[0], versions[1]]
    assert f"{MODEL}/{told['release']['version']}" == versions[0]
    report_figure(f"deploy to this machine: nothing answered for at most {asker.gap:.2f} s of a swap")
    code, told, _ = command("status", built[0], *chosen)
    assert (code, told["state"]) == (0, "ready")
    code, told, _ = command("down", built[0], "--yes", *chosen)
    assert (code, told["left"]) == (0, [])
    assert command("status", built[0], *chosen)[0] == 3


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_compose_keeps_the_promises_of_targets(built, versions, store, tmp_path, port, promise):
    artefacts = {each.split("/")[1]: verbs.Context(store_path=str(store.root)).version(each) for each in versions}
    context = DeploymentContext(tmp_path, dict(os.environ), lambda release: artefacts.get(release.version))
    target = SHELF.load("docker").model_validate({"port": int(port), "health_timeout_seconds": 4})
    good = []
    for folder in built:
        record = read_record(folder)
        inside = DeploymentContext(folder, {}, note=lambda text: None)
        good.append(Release(MODEL, record["version"], target.image(record, inside), record["port"], "amd64"))
    # An image that runs and is none of ours.
    promise(DeploymentTrial(target, context, tuple(good), replace(good[1], version="2026-01-01T00-00-00Z-000000")))


def test_a_port_that_is_taken_is_told_and_what_ran_runs_again(command, built, port):
    chosen = ("--set", f"deployment.port={port}")
    assert command("deploy", built[0], "--yes", *chosen)[0] == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, told = command("deploy", built[1], "--yes", "--set", f"deployment.port={taken.getsockname()[1]}")
    assert code == 1
    assert "runs again" in told
    assert "Traceback" not in told
    assert command("status", built[0], *chosen)[1]["state"] == "ready"


def test_a_release_that_cannot_start_leaves_the_one_before(command, built, port):
    chosen = ("--set", f"deployment.port={port}")
    assert command("deploy", built[0], "--yes", *chosen)[0] == 0
    broken = ("--set", "deployment.environment={ESTIMATOR_CONFIG__SERVING__KEYS_FILE: /none.json}")
    code, _, told = command("deploy", built[1], "--yes", *chosen, *broken)
    assert code == 1
    assert "runs again" in told
    assert (
        command("status", built[0], *chosen)[1]["release"]["version"]
        == verbs.Context().version(built[0] / "context/model").version
    )


def test_the_image_goes_to_ecr_over_tls_and_machines_of_ec2_run_it(
    command, built, versions, certificates, monkeypatch, report_figure
):
    known = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **named: known("127.0.0.1" if host == HOST else host, *more, **named)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    chosen = [
        word for setting in ("kind=ec2", f"region={REGION}", "allowed=[203.0.113.4/32]", "health_timeout_seconds=60")
        for word in ("--set", f"deployment.{setting}")
    ]  # fmt: skip
    with aws() as cloud, docker_registry(user="AWS", password=TOKEN, tls=certificates[1:]):
        for folder in built:
            code, told, _ = command("push", folder, "--to", f"{HOST}/prices:{folder.parent.name}")
            assert code == 0, told
            _know(cloud, told["digest"], folder)
        with machines(cloud, REGION, {}, has_engine=True):
            began = time.monotonic()
            code, first, said = command("deploy", built[0], "--yes", *chosen)
            assert code == 0, said
            report_figure(f"deploy to a machine of EC2 that is played here: {time.monotonic() - began:.1f} s")
            asker = Asker(first["address"])
            asker.start()
            code, second, said = command("deploy", built[1], "--yes", *chosen)
            asker.ends.set()
            asker.join()
            assert (code, second["address"]) == (0, first["address"]), said
            assert [f"{MODEL}/{version}" for version in asker.versions] == versions
            assert command("deploy", built[1], "--rollback", "--yes", *chosen)[1]["applied"]
            assert command("status", built[0], *chosen)[1]["release"] == first["release"]
            assert command("down", built[0], "--yes", *chosen)[1]["left"] == []


def _know(cloud, digest: str, folder: Path) -> None:
    """Let moto's ECR know what the registry beside it has, as ECR would by itself."""
    manifest = (folder / "layout" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text()
    cloud.client("ecr", REGION).put_image(
        repositoryName="prices", imageManifest=manifest, imageTag=folder.parent.name, imageDigest=digest
    )
