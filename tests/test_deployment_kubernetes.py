"""Manifests that the API's own schemas take, and their life in a stand-in of a cluster: no real one can be had here."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from estimator import verbs
from estimator.checks.targets import PROMISES, DeploymentTrial
from estimator.errors import DeploymentError
from estimator.shipping.deployment import SHELF, DeploymentContext, Release
from estimator.shipping.deployment.kubernetes.manifests import object_name
from tests.cluster import cluster
from tests.conftest import EXAMPLES

DIGESTS = [f"sha256:{place:064x}" for place in range(1, 4)]
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
    store = str(tmp_path_factory.mktemp("models"))
    conf = next((EXAMPLES / "boston").glob("config.*"))
    kinds = (("model.kind=linear",), ("model.kind=boosting", "model.n_estimators=20"))
    return [verbs.train.train(conf, verbs.Context(kind, store_path=store)).artefact for kind in kinds]


@pytest.fixture
def objects(tmp_path, versions):
    (tmp_path / "cluster").mkdir()
    held = {digest: version.folder for digest, version in zip(DIGESTS, versions, strict=False)}
    with cluster(tmp_path / "cluster", held) as found:
        yield found


@pytest.fixture
def releases(versions):
    return [
        Release(version.name, version.version, f"registry.example.com/prices@{digest}", 5000, "amd64")
        for version, digest in zip(versions, DIGESTS, strict=False)
    ]


@pytest.fixture
def context(tmp_path, versions):
    by_version = {version.version: version for version in versions}
    return DeploymentContext(tmp_path, {}, lambda release: by_version.get(release.version))


def target(**settings):
    return SHELF.load("kubernetes").model_validate(settings)


def written(context):
    return list(YAML(typ="safe", pure=True).load_all((context.folder / "deployment" / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("api", ["1.25", "1.31"])
def test_the_api_takes_every_manifest(objects, releases, context, settings, api):
    validate = pytest.importorskip("kubernetes_validate").validate
    target(**settings).plan(releases[0], context)
    found = written(context)
    assert len(found) == (1 if settings.get("form") == "kserve" else 5)
    for each in found:
        if each["kind"] != "InferenceService":
            validate(each, api, strict=True)


def test_kubectl_itself_reads_the_manifests(objects, releases, context):
    target().plan(releases[0], context)
    program = next((path for path in ("/usr/bin/kubectl", "/usr/local/bin/kubectl") if shutil.which(path)), None)
    if program is None:
        pytest.skip("kubectl is not installed: apt-get install kubernetes-client")
    folder = context.folder / "deployment"
    (folder / "kustomization.yaml").write_text("resources: [kubernetes.yaml]\n")
    done = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, check=True)
    assert len(list(YAML(typ="safe", pure=True).load_all(done.stdout))) == 5


def test_a_pod_is_as_closed_as_it_can_be(objects, releases, context):
    target().plan(releases[0], context)
    deployment, *_, policy = written(context)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"].endswith(DIGESTS[0])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy["spec"]["egress"]) == 1


def test_a_secret_is_named_and_never_read(objects, releases, context):
    target(secrets={"API_KEY": "prices/key"}).plan(releases[0], context)
    (container,) = written(context)[0]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "prices", "key": "key"}}}]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("form", ["deployment", "kserve"])
def test_kubernetes_keeps_the_promises_of_targets(objects, releases, context, form, promise):
    broken = replace(releases[1], image=f"registry.example.com/prices@{DIGESTS[2]}")
    promise(DeploymentTrial(target(form=form), context, tuple(releases), broken))


def test_pods_that_never_become_ready_give_way_to_those_before(objects, releases, context):
    settings = target()
    settings.apply(releases[0], context)
    before = {path.name: json.loads(path.read_text())["spec"] for path in objects.iterdir()}
    broken = replace(releases[1], image=f"registry.example.com/prices@{DIGESTS[2]}")
    with pytest.raises(DeploymentError, match="runs again") as caught:
        settings.apply(broken, context)
    assert "kubectl describe" in (caught.value.hint or "")
    assert {path.name: json.loads(path.read_text())["spec"] for path in objects.iterdir()} == before
    assert settings.status(releases[0].model, context).release == releases[0]


def test_a_first_release_that_answers_wrongly_leaves_nothing(objects, releases, context):
    wrong = replace(releases[1], image=releases[0].image)
    with pytest.raises(DeploymentError, match="everything was removed"):
        target(health_timeout_seconds=3).apply(wrong, context)
    assert list(objects.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "finding", "way_out"),
    [
        ({"context": "gone"}, "was refused", "deployment.context"),
        ({"namespace": "nowhere"}, "not found", "create namespace"),
    ],
)
def test_what_the_cluster_refuses_is_told_before_anything_changes(
    objects, releases, context, settings, finding, way_out
):
    with pytest.raises(DeploymentError) as caught:
        target(**settings).plan(releases[0], context)
    assert finding in caught.value.message
    assert way_out in (caught.value.hint or "")
    assert list(objects.iterdir()) == []


@pytest.mark.parametrize("name", ["house_pricing_model", "House.Prices", "9to5", "a" * 100, "x-" * 40])
def test_names_are_such_as_kubernetes_takes(name):
    assert len(object_name(name)) <= 63
    assert object_name(name)[0].isalpha()
    assert object_name(name).replace("-", "a").isalnum()
