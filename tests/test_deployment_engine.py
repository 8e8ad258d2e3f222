"""Deployments in a real engine: by Docker Compose, and on fake EC2 instances that pull the image over TLS.

The tests take minutes and need Debian packages that root installs: `make test-image` runs them.
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
from estimator.shipping.image.build_record import read_record
from estimator.shipping.image.smoke_test import request_json
from estimator.store.store import Store
from tests.conftest import EXAMPLES
from tests.engine import docker_engine
from tests.machines import instances
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
    """The folders with the built images of both versions."""
    folders = []
    for version in versions:
        folder = tmp_path_factory.mktemp("build") / MODEL
        artefact = verbs.Context(store_path=str(store.root)).version(version)
        tag = f"prices:{artefact.version[-6:]}"
        verbs.image.image(artefact, verbs.Context(), tag=tag, folder=folder, builder="direct", rootfs=base)
        folders.append(folder)
    return folders


@pytest.fixture
def command(store, monkeypatch, capsys) -> Callable[..., tuple[int, dict, str]]:
    monkeypatch.setenv("ESTIMATOR_STORE", str(store.root))

    def called(verb, folder, *words):
        code = main([verb, MODEL, "--folder", str(folder), *words, "--json"])
        output = capsys.readouterr()
        return code, json.loads(output.out) if output.out.strip() else {}, output.err

    return called


@pytest.fixture
def port(command, built):
    """A free port, whose deployment is removed after the test."""
    number = free_port()
    yield str(number)
    command("down", built[0], "--yes", "--set", f"deployment.port={number}")


class Poller(threading.Thread):
    """Polls a server; records its versions and the longest time without a response."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self.stop, self.downtime_seconds, self.versions = address, threading.Event(), 0.0, []

    def run(self) -> None:
        down_since: float | None = None
        while not self.stop.wait(0.01):
            try:
                status, content = request_json(self.address, "/readyz")
            except (OSError, ValueError):
                status, content = 0, {}
            if status == 200:
                self.downtime_seconds = max(self.downtime_seconds, time.monotonic() - down_since if down_since else 0.0)
                down_since = None
                if content["version"] not in self.versions:
                    self.versions.append(content["version"])
            else:
                down_since = down_since or time.monotonic()


def test_compose_deploys_replaces_rolls_back_and_removes(command, built, versions, port, report_figure):
    options = ("--set", f"deployment.port={port}")
    code, output, error = command("deploy", built[0], "--yes", *options)
    assert code == 0, error
    assert (output["applied"], output["url"]) == (True, f"http://127.0.0.1:{port}")
    assert request_json(output["url"], "/readyz")[1]["version"] == versions[0].split("/")[1]
    code, output, _ = command("deploy", built[0], "--yes", *options)
    assert (code, output["applied"]) == (0, False)
    poller = Poller(f"http://127.0.0.1:{port}")
    poller.start()
    try:
        assert command("deploy", built[1], "--yes", *options)[0] == 0
        code, output, _ = command("deploy", built[1], "--rollback", "--yes", *options)
    finally:
        poller.stop.set()
        poller.join()
    assert [f"{MODEL}/{version}" for version in poller.versions] == [versions[0], versions[1]]
    assert f"{MODEL}/{output['release']['version']}" == versions[0]
    report_figure(f"deploy to this machine: no response for at most {poller.downtime_seconds:.2f} s of a swap")
    code, output, _ = command("status", built[0], *options)
    assert (code, output["state"]) == (0, "ready")
    code, output, _ = command("down", built[0], "--yes", *options)
    assert (code, output["left"]) == (0, [])
    assert command("status", built[0], *options)[0] == 3


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_docker_target_keeps_its_promises(built, versions, store, tmp_path, port, promise):
    artefacts = {name.split("/")[1]: verbs.Context(store_path=str(store.root)).version(name) for name in versions}
    context = DeploymentContext(tmp_path, dict(os.environ), lambda release: artefacts.get(release.version))
    target, impatient_target = (
        SHELF.load("docker").model_validate({"port": int(port), "health_timeout_seconds": seconds})
        for seconds in (60, 4)
    )
    releases = []
    for folder in built:
        record = read_record(folder)
        image = target.image(record, DeploymentContext(folder, {}))
        releases.append(Release(MODEL, record["version"], image, record["port"], "amd64"))
    # Its image runs, with another version.
    failing = replace(releases[1], version="2026-01-01T00-00-00Z-000000")
    promise(DeploymentTrial(target, impatient_target, context, tuple(releases), failing))


def test_taken_port_restores_the_previous_release(command, built, port):
    options = ("--set", f"deployment.port={port}")
    assert command("deploy", built[0], "--yes", *options)[0] == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, output = command("deploy", built[1], "--yes", "--set", f"deployment.port={taken.getsockname()[1]}")
    assert code == 1
    assert "runs again" in output
    assert "Traceback" not in output
    assert command("status", built[0], *options)[1]["state"] == "ready"


def test_release_that_cannot_start_leaves_the_previous_one(command, built, port):
    options = ("--set", f"deployment.port={port}")
    assert command("deploy", built[0], "--yes", *options)[0] == 0
    broken = ("--set", "deployment.environment={ESTIMATOR_CONFIG__SERVING__KEYS_FILE: /none.json}")
    code, _, output = command("deploy", built[1], "--yes", *options, *broken)
    assert code == 1
    assert "runs again" in output
    assert (
        command("status", built[0], *options)[1]["release"]["version"]
        == verbs.Context().version(built[0] / "context/model").version
    )


def test_image_is_pushed_to_ecr_and_runs_on_ec2(command, built, versions, certificates, monkeypatch, report_figure):
    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **kwargs: getaddrinfo("127.0.0.1" if host == HOST else host, *args, **kwargs),
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    settings = ("kind=ec2", f"region={REGION}", "ingress_cidrs=[203.0.113.4/32]")
    options = [argument for setting in settings for argument in ("--set", f"deployment.{setting}")]
    with aws() as cloud, docker_registry(user="AWS", password=TOKEN, tls=certificates[1:]):
        for folder in built:
            code, output, _ = command("push", folder, "--to", f"{HOST}/prices:{folder.parent.name}")
            assert code == 0, output
            _add_to_ecr(cloud, output["digest"], folder)
        with instances(cloud, REGION, {}, has_engine=True):
            started_at = time.monotonic()
            code, first, error = command("deploy", built[0], "--yes", *options)
            assert code == 0, error
            report_figure(f"deploy to a fake EC2 instance: {time.monotonic() - started_at:.1f} s")
            poller = Poller(first["url"])
            poller.start()
            code, second, error = command("deploy", built[1], "--yes", *options)
            poller.stop.set()
            poller.join()
            assert (code, second["url"]) == (0, first["url"]), error
            assert [f"{MODEL}/{version}" for version in poller.versions] == versions
            assert command("deploy", built[1], "--rollback", "--yes", *options)[1]["applied"]
            assert command("status", built[0], *options)[1]["release"] == first["release"]
            assert command("down", built[0], "--yes", *options)[1]["left"] == []


def _add_to_ecr(cloud, digest: str, folder: Path) -> None:
    """Add an image of the registry to ECR of moto, which are the same in AWS."""
    manifest = (folder / "layout" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text()
    cloud.client("ecr", REGION).put_image(
        repositoryName="prices", imageManifest=manifest, imageTag=folder.parent.name, imageDigest=digest
    )
