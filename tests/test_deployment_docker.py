"""Compose files, read by a real Docker Compose; test_deployment_engine.py runs them in a real engine."""

from __future__ import annotations

import json
import subprocess

import pytest
from ruamel.yaml import YAML

from estimator import verbs
from estimator.errors import DeploymentError
from estimator.shipping.deployment import SHELF, DeploymentContext, DeploymentStatus, Release
from estimator.shipping.deployment.base import previous_release
from estimator.shipping.deployment.docker.compose import compose, write_monitoring
from estimator.shipping.deployment.docker.target import FILE
from estimator.shipping.files import write_yaml
from tests.servers import debian_program

RELEASE = Release("prices", "2026-11-22T10-15-00Z-3f2a91", f"sha256:{'1' * 64}", 5000, "amd64")
PREVIOUS = Release("prices", "2026-11-21T10-15-00Z-000000", f"sha256:{'2' * 64}", 5001, "amd64")


def target(**settings):
    return SHELF.load("docker").model_validate(settings)


def compose_file(settings, folder):
    labels = RELEASE.labels(settings.settings_hash(RELEASE), PREVIOUS)
    write_yaml(folder / FILE, [compose(RELEASE, settings, labels)], comment="Written by a test.")
    if settings.monitoring:
        write_monitoring(folder / "monitoring", RELEASE, settings)
    return folder / FILE


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"monitoring": True},
        {
            "environment": {"ESTIMATOR_CONFIG__SERVING__PREDICTION_LOG": "/data/$log.db"},
            "secrets": ["API_KEY"], "cpus": 1.5,
            "volumes": {"/tmp/data": "/data"}, "host": "0.0.0.0", "port": 8080,
        },
    ],
)  # fmt: skip
def test_compose_accepts_the_file(tmp_path, settings):
    program = debian_program("docker-compose", "docker-compose")
    path = compose_file(target(**settings), tmp_path)
    done = subprocess.run(
        [program, "--file", path, "config"],
        capture_output=True,
        text=True,
        check=False,
        env={"API_KEY": "open", "HOME": "/tmp"},
    )
    assert done.returncode == 0, done.stderr
    server = YAML(typ="safe", pure=True).load(done.stdout)["services"]["server"]
    assert server["image"] == RELEASE.image
    assert (server["read_only"], server["restart"]) == (True, "unless-stopped")


def test_compose_file_has_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "open sesame")
    path = compose_file(target(secrets=["API_KEY"]), tmp_path)
    assert "open sesame" not in path.read_text()
    assert YAML(typ="safe", pure=True).load(path.read_text())["services"]["server"]["environment"] == {"API_KEY": None}


def test_dollars_in_values_are_escaped(tmp_path):
    program = debian_program("docker-compose", "docker-compose")
    path = compose_file(target(environment={"PRICE": "$HOME and $$"}), tmp_path)
    done = subprocess.run(
        [program, "--file", path, "config"], capture_output=True, text=True, check=True, env={"HOME": "/tmp"}
    )
    price = YAML(typ="safe", pure=True).load(done.stdout)["services"]["server"]["environment"]["PRICE"]
    # Compose prints a compose file, with two dollars for one.
    assert price == "$$HOME and $$$$"


def test_monitoring_is_published_on_localhost(tmp_path):
    compose_file(target(monitoring=True), tmp_path)
    services = YAML(typ="safe", pure=True).load((tmp_path / FILE).read_text())["services"]
    assert [services[name]["ports"] for name in ("prometheus", "grafana")] == [
        ["127.0.0.1:9090:9090"], ["127.0.0.1:3000:3000"],
    ]  # fmt: skip
    assert json.loads((tmp_path / "monitoring" / "dashboards" / "estimator.json").read_text())["panels"]


def test_promtool_accepts_the_prometheus_config(tmp_path):
    program = debian_program("prometheus", "promtool")
    (tmp_path / "key").write_text("open")
    compose_file(target(monitoring=True, metrics_key=str(tmp_path / "key")), tmp_path)
    path = tmp_path / "monitoring" / "prometheus" / "prometheus.yml"
    path.write_text(path.read_text().replace("/run/estimator-key", str(tmp_path / "key")))
    done = subprocess.run([program, "check", "config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_labels_contain_release_and_previous_release():
    labels = RELEASE.labels("hash", PREVIOUS)
    assert Release.from_labels(labels) == RELEASE
    assert Release.from_labels(labels, previous=True) == PREVIOUS
    assert Release.from_labels(RELEASE.labels("hash", None), previous=True) is None
    assert Release.from_labels({"other": "labels"}) is None


def test_settings_without_restart_keep_the_hash():
    assert target(monitoring=True).settings_hash(RELEASE) == target().settings_hash(RELEASE)
    assert target(port=8080).settings_hash(RELEASE) != target().settings_hash(RELEASE)
    assert target().settings_hash(PREVIOUS) != target().settings_hash(RELEASE)


def test_one_process_at_a_time_deploys_from_a_folder(tmp_path):
    context = DeploymentContext(tmp_path, {})
    with (
        target().lock("m", context),
        pytest.raises(DeploymentError, match=r"deployment: another process is deploying from it: process \d+"),
        target().lock("m", context),
    ):
        raise AssertionError("both are in")
    with target().lock("m", context):
        pass


def test_rollback_needs_a_previous_release():
    for status in (DeploymentStatus("absent"), DeploymentStatus("ready", RELEASE)):
        with pytest.raises(DeploymentError, match=r"no previous release|nothing is deployed"):
            previous_release(status)


def test_missing_secrets_and_key_files_are_rejected(tmp_path):
    with pytest.raises(DeploymentError, match="API_KEY: not set"):
        target(secrets=["API_KEY"])._check(RELEASE, DeploymentContext(tmp_path, {}))
    with pytest.raises(DeploymentError, match="no such file"):
        target(metrics_key="none")._check(RELEASE, DeploymentContext(tmp_path, {}))


def test_public_server_needs_api_keys(tmp_path, store):
    artefact = verbs.Context(store_path=str(store)).version("house_pricing_model")
    context = DeploymentContext(tmp_path, {}, lambda release: artefact)
    with pytest.raises(DeploymentError, match="does not require API keys"):
        target(host="0.0.0.0")._check(RELEASE, context)
    target(host="0.0.0.0", allow_public=True)._check(RELEASE, context)
    target(host="0.0.0.0", environment={"ESTIMATOR_CONFIG__SERVING__API_KEY_ENV": "KEY"})._check(RELEASE, context)
