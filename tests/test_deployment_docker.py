"""What Docker Compose is given, read by a real Compose; the life in a real engine is in test_image_engine.py."""

from __future__ import annotations

import json
import subprocess
from functools import partial

import pytest
from ruamel.yaml import YAML

from estimator.errors import DeploymentError
from estimator.shipping.deployment import SHELF, DeploymentContext, Release
from estimator.shipping.deployment.base import previous_release
from estimator.shipping.deployment.docker.compose import compose, write_monitoring
from estimator.shipping.deployment.docker.target import FILE
from estimator.shipping.files import folder_lock, write_yaml
from tests.servers import debian_program

RELEASE = Release("prices", "2026-11-22T10-15-00Z-3f2a91", f"sha256:{'1' * 64}", 5000, "amd64")
BEFORE = Release("prices", "2026-11-21T10-15-00Z-000000", f"sha256:{'2' * 64}", 5001, "amd64")


def target(**settings):
    return SHELF.load("docker").model_validate(settings)


def file_of(settings, folder):
    labels = RELEASE.labels(settings.mark(RELEASE), BEFORE)
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
def test_compose_takes_the_file(tmp_path, settings):
    program = debian_program("docker-compose", "docker-compose")
    path = file_of(target(**settings), tmp_path)
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


def test_a_secret_is_named_in_the_file_and_not_told(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "open sesame")
    path = file_of(target(secrets=["API_KEY"]), tmp_path)
    assert "open sesame" not in path.read_text()
    assert YAML(typ="safe", pure=True).load(path.read_text())["services"]["server"]["environment"] == {"API_KEY": None}


def test_a_dollar_in_a_value_stays_one(tmp_path):
    program = debian_program("docker-compose", "docker-compose")
    path = file_of(target(environment={"PRICE": "$HOME and $$"}), tmp_path)
    done = subprocess.run(
        [program, "--file", path, "config"], capture_output=True, text=True, check=True, env={"HOME": "/tmp"}
    )
    told = YAML(typ="safe", pure=True).load(done.stdout)["services"]["server"]["environment"]["PRICE"]
    # What Compose prints is a file again, in which a dollar is written twice.
    assert told == "$$HOME and $$$$"


def test_prometheus_and_grafana_are_shown_to_this_machine_alone(tmp_path):
    file_of(target(monitoring=True), tmp_path)
    services = YAML(typ="safe", pure=True).load((tmp_path / FILE).read_text())["services"]
    assert [services[name]["ports"] for name in ("prometheus", "grafana")] == [
        ["127.0.0.1:9090:9090"], ["127.0.0.1:3000:3000"],
    ]  # fmt: skip
    assert json.loads((tmp_path / "monitoring" / "dashboards" / "estimator.json").read_text())["panels"]


def test_prometheus_itself_takes_its_file(tmp_path):
    program = debian_program("prometheus", "promtool")
    (tmp_path / "key").write_text("open")
    file_of(target(monitoring=True, metrics_key=str(tmp_path / "key")), tmp_path)
    path = tmp_path / "monitoring" / "prometheus" / "prometheus.yml"
    path.write_text(path.read_text().replace("/run/estimator-key", str(tmp_path / "key")))
    done = subprocess.run([program, "check", "config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_labels_lead_to_the_release_and_the_one_before():
    labels = RELEASE.labels("mark", BEFORE)
    assert Release.from_labels(labels) == RELEASE
    assert Release.from_labels(labels, previous=True) == BEFORE
    assert Release.from_labels(RELEASE.labels("mark", None), previous=True) is None
    assert Release.from_labels({"other": "labels"}) is None


def test_settings_that_start_nothing_anew_leave_the_mark():
    assert target(monitoring=True).mark(RELEASE) == target().mark(RELEASE)
    assert target(port=8080).mark(RELEASE) != target().mark(RELEASE)
    assert target().mark(BEFORE) != target().mark(RELEASE)


def test_a_folder_is_for_one_deployment_at_a_time(tmp_path):
    lock = partial(folder_lock, tmp_path, purpose="deploying", error_type=DeploymentError)
    with lock(), pytest.raises(DeploymentError, match="another process"), lock():
        raise AssertionError("both are in")
    with lock():
        pass


def test_without_a_release_before_there_is_no_way_back():
    from estimator.shipping.deployment import DeploymentStatus

    for status in (DeploymentStatus("absent"), DeploymentStatus("ready", RELEASE)):
        with pytest.raises(DeploymentError, match=r"no previous release|nothing is deployed"):
            previous_release(status)


def test_what_compose_would_need_is_asked_for_first(tmp_path):
    with pytest.raises(DeploymentError, match="API_KEY: not set"):
        target(secrets=["API_KEY"])._refuse(RELEASE, DeploymentContext(tmp_path, {}))
    with pytest.raises(DeploymentError, match="no such file"):
        target(metrics_key="none")._refuse(RELEASE, DeploymentContext(tmp_path, {}))


def test_a_server_without_keys_is_not_shown_to_the_world(tmp_path, store):
    from estimator import verbs

    artefact = verbs.Context(store_path=str(store)).version("house_pricing_model")
    context = DeploymentContext(tmp_path, {}, lambda release: artefact)
    with pytest.raises(DeploymentError, match="does not require API keys"):
        target(host="0.0.0.0")._refuse(RELEASE, context)
    target(host="0.0.0.0", allow_public=True)._refuse(RELEASE, context)
    target(host="0.0.0.0", environment={"ESTIMATOR_CONFIG__SERVING__API_KEY_ENV": "KEY"})._refuse(RELEASE, context)
