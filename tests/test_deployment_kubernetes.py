"""Kubernetes manifests against the schemas of the API, and deployments to a fake cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from estimator import verbs
from estimator.errors import DeploymentError
from estimator.shipping.deployment import SHELF
from estimator.shipping.deployment.kubernetes.manifests import object_name
from estimator.shipping.image.build_record import write_record
from tests.cluster import cluster
from tests.deployments import DIGESTS, context_of, folders_by_digest, releases_of, two_versions

SETTINGS = [
    {},
    {"form": "kserve"},
    {
        "environment": {"ESTIMATOR_CONFIG__SERVING__RATE_LIMIT": "50"}, "secrets": {"API_KEY": "prices/key"},
        "pull_secret": "registry", "ingress_namespaces": ["ingress-nginx"], "egress_cidrs": ["10.0.0.0/8"],
        "min_replicas": 3, "max_replicas": 9,
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions of the Boston model, the older first."""
    return two_versions(tmp_path_factory.mktemp("models"))


@pytest.fixture
def objects(tmp_path, versions):
    with cluster(tmp_path / "cluster", folders_by_digest(versions)) as folder:
        yield folder


@pytest.fixture
def releases(versions):
    return releases_of(versions, "registry.example.com/prices")


@pytest.fixture
def context(tmp_path, versions):
    return context_of(versions, tmp_path)


def target(**settings):
    return SHELF.load("kubernetes").model_validate(settings)


def manifests_in(context):
    return list(YAML(typ="safe", pure=True).load_all((context.folder / "deployment" / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("api", ["1.25", "1.31"])
def test_manifests_follow_the_api_schemas(objects, releases, context, settings, api):
    validate = pytest.importorskip("kubernetes_validate").validate
    target(**settings).plan(releases[0], context)
    manifests = manifests_in(context)
    assert len(manifests) == (1 if settings.get("form") == "kserve" else 5)
    for manifest in manifests:
        if manifest["kind"] != "InferenceService":
            validate(manifest, api, strict=True)


@pytest.fixture
def deployed(tmp_path, releases):
    """A model whose image was pushed, as its record in a folder says."""
    folder = tmp_path / "build"
    record = {
        "name": releases[0].model, "tag": "prices:latest", "builder": "docker", "layout": None, "port": 5000,
        "version": releases[0].version, "pushed": releases[0].image, "architecture": "amd64",
    }  # fmt: skip
    folder.mkdir()
    write_record(record, folder)
    return verbs.deploy.DeployedModel(releases[0].model, folder)


def test_what_is_confirmed_is_locked(objects, deployed, versions):
    context = verbs.Context(("deployment.kind=kubernetes",), store_path=str(versions[0].folder.parent.parent))
    _, site = verbs.deploy.target_and_site(deployed, context, print)

    def meanwhile(*_):
        with pytest.raises(DeploymentError, match="deploying from it"), target().lock(deployed.model, site):
            raise AssertionError("both are in")
        return False

    assert verbs.deploy.deploy(deployed, context, confirm=meanwhile).status is None
    assert verbs.down.down(deployed, context, confirm=meanwhile) is None
    with target().lock(deployed.model, site):
        assert verbs.deploy.deploy(deployed, context, dry_run=True, confirm=lambda *_: True).status is None


def test_image_for_another_architecture_than_the_nodes_is_rejected(objects, releases, context, monkeypatch):
    arm = replace(releases[0], architecture="arm64")
    with pytest.raises(DeploymentError, match="is for arm64, and the nodes of the cluster are amd64") as caught:
        target().plan(arm, context)
    assert "image.architecture" in (caught.value.hint or "")
    monkeypatch.setenv("CLUSTER_NODES", "amd64 arm64")
    target().plan(arm, context)
    # Some users may not list nodes.
    monkeypatch.setenv("CLUSTER_NODES", "forbidden")
    target().plan(arm, context)


def test_kubectl_reads_the_manifests(objects, releases, context):
    target().plan(releases[0], context)
    program = next((path for path in ("/usr/bin/kubectl", "/usr/local/bin/kubectl") if shutil.which(path)), None)
    if program is None:
        pytest.skip("kubectl is not installed: apt-get install kubernetes-client")
    folder = context.folder / "deployment"
    (folder / "kustomization.yaml").write_text("resources: [kubernetes.yaml]\n")
    done = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, check=True)
    assert len(list(YAML(typ="safe", pure=True).load_all(done.stdout))) == 5


def test_pods_run_without_privileges(objects, releases, context):
    target().plan(releases[0], context)
    deployment, *_, policy = manifests_in(context)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"].endswith(DIGESTS[0])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy["spec"]["egress"]) == 1


def test_manifests_reference_secrets_by_name(objects, releases, context):
    target(secrets={"API_KEY": "prices/key"}).plan(releases[0], context)
    (container,) = manifests_in(context)[0]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "prices", "key": "key"}}}]


def test_unready_pods_are_replaced_by_the_previous_ones(objects, releases, context):
    settings = target()
    settings.apply(releases[0], context)
    before = {path.name: json.loads(path.read_text())["spec"] for path in objects.iterdir()}
    broken = replace(releases[1], image=f"registry.example.com/prices@{DIGESTS[2]}")
    with pytest.raises(DeploymentError, match="runs again") as caught:
        settings.apply(broken, context)
    assert "kubectl describe" in (caught.value.hint or "")
    assert {path.name: json.loads(path.read_text())["spec"] for path in objects.iterdir()} == before
    assert settings.status(releases[0].model, context).release == releases[0]


def test_first_release_of_another_version_leaves_nothing(objects, releases, context):
    wrong = replace(releases[1], image=releases[0].image)
    with pytest.raises(DeploymentError, match="everything was removed"):
        target(health_timeout_seconds=3).apply(wrong, context)
    assert list(objects.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "error", "hint"),
    [
        ({"context": "gone"}, "was refused", "deployment.context"),
        ({"namespace": "nowhere"}, "not found", "create namespace"),
    ],
)
def test_cluster_errors_come_before_any_change(objects, releases, context, settings, error, hint):
    with pytest.raises(DeploymentError) as caught:
        target(**settings).plan(releases[0], context)
    assert error in caught.value.message
    assert hint in (caught.value.hint or "")
    assert list(objects.iterdir()) == []


@pytest.mark.parametrize("name", ["house_pricing_model", "House.Prices", "9to5", "a" * 100, "x-" * 40])
def test_object_names_are_valid_in_kubernetes(name):
    assert len(object_name(name)) <= 63
    assert object_name(name)[0].isalpha()
    assert object_name(name).replace("-", "a").isalnum()
