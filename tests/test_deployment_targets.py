"""Every kind of deployment target keeps the promises of targets; its fixture KIND_trial gives the trial."""

from __future__ import annotations

from dataclasses import replace

import pytest

from estimator.checks.targets import PROMISES, DeploymentTrial
from estimator.shipping.deployment import KINDS, SHELF
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
