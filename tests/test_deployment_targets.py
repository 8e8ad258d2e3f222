"""Every kind of deployment target keeps the promises of targets; its fixture KIND_trial gives the trial."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from estimator import verbs
from estimator.checks.targets import PROMISES, DeploymentTrial
from estimator.errors import ImageError
from estimator.shipping.deployment import KINDS, SHELF
from estimator.shipping.image.build_record import write_record
from tests.cluster import cluster
from tests.deployments import DIGESTS, context_of, folders_by_digest, releases_of, two_versions
from tests.machines import instances, known_to_ecr
from tests.servers import aws

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    return two_versions(tmp_path_factory.mktemp("models"))


@pytest.fixture
def docker_trial():
    pytest.skip("it needs a Docker engine: test_deployment_engine.py")


@pytest.fixture
def ec2_trial(versions, tmp_path):
    repository = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/prices"
    settings = {"region": REGION, "ingress_cidrs": ["203.0.113.4/32"]}
    with aws() as cloud:
        known_to_ecr(cloud, REGION, "prices", DIGESTS)
        with instances(cloud, REGION, folders_by_digest(versions)):
            yield trial_of("ec2", settings, versions, repository, tmp_path)


@pytest.fixture
def kubernetes_trial(versions, tmp_path):
    with cluster(tmp_path / "cluster", folders_by_digest(versions)):
        yield trial_of("kubernetes", {}, versions, "registry.example.com/prices", tmp_path)


@pytest.fixture
def kserve_trial(versions, tmp_path):
    with cluster(tmp_path / "cluster", folders_by_digest(versions)):
        yield trial_of("kubernetes", {"form": "kserve"}, versions, "registry.example.com/prices", tmp_path)


def trial_of(kind, settings, versions, repository, folder):
    releases = releases_of(versions, repository)
    target, impatient_target = (
        SHELF.load(kind).model_validate({**settings, "health_timeout_seconds": seconds}) for seconds in (300, 2)
    )
    failing = replace(releases[1], image=f"{repository}@{DIGESTS[2]}")
    return DeploymentTrial(target, impatient_target, context_of(versions, folder), tuple(releases), failing)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", [*KINDS, "kserve"])
def test_target_keeps_its_promises(request, kind, promise):
    promise(request.getfixturevalue(f"{kind}_trial"))


@pytest.mark.parametrize(
    ("instance_type", "is_pushed"),
    [("t4g.small", True), ("c7gn.large", True), ("t3.small", False), ("g4dn.xlarge", False)],
)
def test_push_compares_the_architecture_with_that_of_the_machine(versions, tmp_path, instance_type, is_pushed):
    record = {
        "name": "prices", "tag": "prices:latest", "builder": "direct", "layout": {}, "port": 5000,
        "version": versions[0].version, "architecture": "arm64",
    }  # fmt: skip
    write_record(record, tmp_path)
    shutil.copytree(versions[0].folder, tmp_path / "context" / "model")
    settings = ("kind=ec2", f"instance_type={instance_type}")
    context = verbs.Context(tuple(f"deployment.{text}" for text in settings))
    deployed = verbs.deploy.DeployedModel("prices", tmp_path)
    if is_pushed:
        verbs.push.check_target(deployed, context)
        return
    with pytest.raises(ImageError, match="is for arm64, and `deployment` is a machine for amd64") as caught:
        verbs.push.push(deployed, "127.0.0.1:1/prices:v1", context)
    assert "image.architecture: amd64" in (caught.value.hint or "")
