"""A model on EC2, as moto plays it: planned, run, swapped, taken back and taken down, and each asked of AWS itself."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from estimator import verbs
from estimator.checks.targets import PROMISES, DeploymentTrial
from estimator.core.aws import explained_errors
from estimator.errors import DeploymentError
from estimator.shipping.deployment import SHELF, DeploymentContext, Release
from tests.conftest import EXAMPLES, HOUSE, ROOT
from tests.machines import known_to_ecr, machines
from tests.servers import aws

REGION = "eu-west-1"
REPOSITORY = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/prices"
DIGESTS = [f"sha256:{place:064x}" for place in range(1, 4)]
# What the docs say that a user needs.
NEEDED = (ROOT / "docs" / "how-to" / "deploy.md").read_text().split("Your user needs:")[1].split("```")[1].split()


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions of the Boston model, the older first."""
    store = str(tmp_path_factory.mktemp("models"))
    conf = next((EXAMPLES / "boston").glob("config.*"))
    kinds = (("model.kind=linear",), ("model.kind=boosting", "model.n_estimators=20"))
    return [verbs.train.train(conf, verbs.Context(kind, store_path=store)).artefact for kind in kinds]


@pytest.fixture
def cloud():
    with aws() as made:
        known_to_ecr(made, REGION, "prices", DIGESTS)
        yield made


@pytest.fixture
def network(cloud, versions):
    held = {digest: version.folder for digest, version in zip(DIGESTS, versions, strict=False)}
    with machines(cloud, REGION, held) as found:
        yield found


@pytest.fixture
def releases(versions):
    return [
        Release(version.name, version.version, f"{REPOSITORY}@{digest}", 5000, "amd64")
        for version, digest in zip(versions, DIGESTS, strict=False)
    ]


@pytest.fixture
def context(tmp_path, versions):
    by_version = {version.version: version for version in versions}
    return DeploymentContext(tmp_path, {}, lambda release: by_version.get(release.version))


def target(**settings):
    wanted = {"region": REGION, "ingress_cidrs": ["203.0.113.4/32"], "health_timeout_seconds": 20, **settings}
    return SHELF.load("ec2").model_validate(wanted)


def left(cloud, model):
    """Return all that AWS knows of a model."""
    ec2, iam, ssm = (cloud.client(name, REGION) for name in ("ec2", "iam", "ssm"))
    ours = [{"Name": "tag:estimator.model", "Values": [model]}]
    alive = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    groups = [each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]]
    return [
        *(each["InstanceId"] for each in machines_of(cloud, [*ours, alive])),
        *(each["PublicIp"] for each in ec2.describe_addresses()["Addresses"]),
        *(name for name in groups if name != "default"),
        *(each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]),
        *(each["VolumeId"] for each in ec2.describe_volumes(Filters=ours)["Volumes"]),
        *(each["RoleName"] for each in iam.list_roles()["Roles"] if each["RoleName"].startswith("estimator")),
        *(each["InstanceProfileName"] for each in iam.list_instance_profiles()["InstanceProfiles"]),
        *(each["Name"] for each in ssm.describe_parameters()["Parameters"] if each["Name"].startswith("/estimator")),
    ]


def machines_of(cloud, filters=({"Name": "instance-state-name", "Values": ["running"]},)):
    found = cloud.client("ec2", REGION).describe_instances(Filters=list(filters))["Reservations"]
    return [each for group in found for each in group["Instances"]]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_ec2_keeps_the_promises_of_targets(cloud, network, releases, context, promise):
    broken = replace(releases[1], image=f"{REPOSITORY}@{DIGESTS[2]}")
    promise(DeploymentTrial(target(health_timeout_seconds=8), context, tuple(releases), broken))


def test_a_plan_shows_each_thing_and_its_price_and_changes_nothing(cloud, releases, context):
    plan = target(tags={"project": "prices"}).plan(releases[0], context)
    assert [(step.action, step.kind) for step in plan.steps] == [
        ("create", "role"), ("create", "security group"), ("create", "address"), ("create", "machine"),
    ]  # fmt: skip
    assert plan.price.per_hour == pytest.approx(0.0228 + 16 * 0.088 / 730 + 0.005)
    assert left(cloud, releases[0].model) == []


def test_a_machine_runs_the_image_and_answers_from_outside(cloud, network, releases, context, house):
    status = target().apply(releases[0], context)
    assert (status.state, status.release) == ("ready", releases[0])
    request = urllib.request.Request(
        f"{status.address}/v1/services/predict", json.dumps([HOUSE]).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    (made,) = machines_of(cloud)
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert tags["estimator.version"] == releases[0].version
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    (machine,) = network.started.values()
    assert machine.log[0] == "dnf install --assumeyes docker"
    assert f"docker pull {releases[0].image}" in machine.log
    assert (machine.folder / "password").read_text() == "123456789012-auth-token\n"
    assert any(line.startswith("docker logout") for line in machine.log)
    run = next(line for line in machine.log if line.startswith("docker run"))
    assert "--read-only" in run
    assert "--restart unless-stopped" in run


def test_the_machine_may_pull_this_image_and_nothing_else(cloud, network, releases, context):
    target().apply(releases[0], context)
    iam = cloud.client("iam", REGION)
    (role,) = (each["RoleName"] for each in iam.list_roles()["Roles"] if each["RoleName"].startswith("estimator"))
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    allowed = iam.get_role_policy(RoleName=role, PolicyName="estimator")["PolicyDocument"]["Statement"]
    assert {action for each in allowed for action in each["Action"] if isinstance(each["Action"], list)} == {
        "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
    }  # fmt: skip
    assert allowed[1]["Resource"] == f"arn:aws:ecr:{REGION}:123456789012:repository/prices"


def test_a_new_release_gets_a_machine_of_its_own_and_then_the_address(cloud, network, releases, context):
    settings = target()
    first = settings.apply(releases[0], context)
    (blue,) = machines_of(cloud)
    second = settings.apply(releases[1], context)
    (green,) = machines_of(cloud)
    assert green["InstanceId"] != blue["InstanceId"]
    assert second.address == first.address
    assert (second.release, second.previous) == (releases[1], releases[0])


def test_a_release_that_does_not_answer_is_ended_and_the_old_one_stays(cloud, network, releases, context):
    settings = target(health_timeout_seconds=2)
    target().apply(releases[0], context)
    (blue,) = machines_of(cloud)
    broken = replace(releases[1], image=f"{REPOSITORY}@{DIGESTS[2]}")
    with pytest.raises(DeploymentError, match="the previous release still runs"):
        settings.apply(broken, context)
    assert [each["InstanceId"] for each in machines_of(cloud)] == [blue["InstanceId"]]
    assert settings.status(releases[0].model, context).state == "ready"


def test_a_release_that_answers_as_another_version_is_no_release(cloud, network, releases, context):
    settings = target(health_timeout_seconds=3)
    wrong = replace(releases[1], image=releases[0].image)
    with pytest.raises(DeploymentError, match="everything was removed"):
        settings.apply(wrong, context)
    assert left(cloud, releases[0].model) == []


def test_who_is_not_allowed_gets_no_answer_and_is_told_so(cloud, network, releases, context):
    with pytest.raises(DeploymentError) as caught:
        target(ingress_cidrs=["198.51.100.0/24"], health_timeout_seconds=1).apply(releases[0], context)
    assert "deployment.ingress_cidrs" in (caught.value.hint or "")
    assert left(cloud, releases[0].model) == []


def test_down_leaves_nothing_that_aws_knows_of(cloud, network, releases, context, tmp_path):
    (tmp_path / "key.pub").write_text(PUBLIC_KEY)
    settings = target(public_key=str(tmp_path / "key.pub"), ssh_cidrs=["203.0.113.0/24"])
    settings.apply(releases[0], context)
    assert len(left(cloud, releases[0].model)) >= 6
    assert settings.remove(releases[0].model, context) == ()
    assert left(cloud, releases[0].model) == []


def test_rules_follow_the_config_without_a_new_machine_for_each(cloud, network, releases, context):
    settings = target()
    settings.apply(releases[0], context)
    wider = target(ingress_cidrs=["203.0.113.4/32", "198.51.100.0/24", "2001:db8::/32"])
    steps = {step.kind: step.action for step in wider.plan(releases[0], context).steps}
    assert steps == {"role": "keep", "security group": "change", "address": "keep", "machine": "keep"}
    wider.apply(releases[0], context)
    (group,) = cloud.client("ec2", REGION).describe_security_groups(
        Filters=[{"Name": "tag:estimator.model", "Values": [releases[0].model]}]
    )["SecurityGroups"]
    assert {item["CidrIp"] for rule in group["IpPermissions"] for item in rule["IpRanges"]} == {
        "203.0.113.4/32", "198.51.100.0/24",
    }  # fmt: skip


def test_what_the_docs_ask_for_is_enough_and_needed(cloud, network, releases, context):
    settings = target()
    with cloud.only_allowed(NEEDED):
        for release in releases:
            settings.apply(release, context)
        assert settings.remove(releases[0].model, context) == ()
    assert left(cloud, releases[0].model) == []


def test_secrets_are_fetched_by_the_machine_and_written_nowhere(cloud, network, releases, context):
    cloud.client("ssm", REGION).put_parameter(Name="/prices/key", Value="open sesame", Type="SecureString")
    settings = target(secrets={"API_KEY": "/prices/key"}, environment={"ESTIMATOR_CONFIG__SERVING__RATE_LIMIT": "50"})
    settings.apply(releases[0], context)
    (machine,) = network.started.values()
    assert "open sesame" not in (machine.folder / "user-data").read_text()
    run = next(line for line in machine.log if line.startswith("docker run"))
    assert "--env API_KEY " in run
    assert "API_KEY=value of /prices/key" in (machine.folder / "env").read_text()
    policy = cloud.client("iam", REGION).get_role_policy(
        RoleName=f"estimator-{releases[0].model}-{REGION}", PolicyName="estimator"
    )
    assert f"arn:aws:ssm:{REGION}:123456789012:parameter/prices/key" in json.dumps(policy["PolicyDocument"])


def test_a_machine_stops_itself_when_its_time_is_over(cloud, network, releases, context):
    status = target(expires_hours=24).apply(releases[0], context)
    (machine,) = network.started.values()
    timer = (machine.folder / "estimator-expiry.timer").read_text()
    at = datetime.strptime(timer.split("OnCalendar=")[1][:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert timedelta(hours=23, minutes=58) < at - datetime.now(UTC) <= timedelta(hours=24)
    assert "Persistent=true" in timer
    assert at.isoformat() in status.notes[0]


def test_two_deployments_at_once_are_one_too_many(cloud, releases, context):
    settings = target()
    with settings.lock(releases[0].model, context):
        other = settings.lock(releases[0].model, context)
        with pytest.raises(DeploymentError, match="has been deploying since") as caught, other:
            raise AssertionError("both are in")
        assert "delete-parameter" in (caught.value.hint or "")
    assert left(cloud, releases[0].model) == []


def test_a_lock_that_was_left_behind_opens_after_a_while(cloud, releases, context):
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    cloud.client("ssm", REGION).put_parameter(
        Name=f"/estimator/{releases[0].model}/lock", Value=json.dumps({"who": "me", "since": since}), Type="String"
    )
    with target().lock(releases[0].model, context):
        assert len(left(cloud, releases[0].model)) == 1
    assert left(cloud, releases[0].model) == []


def test_a_lock_of_a_process_that_was_killed_opens_at_once(cloud, releases, context):
    lock = (
        "from estimator.deployment import SHELF, DeploymentContext; from pathlib import Path; import os\n"
        f"target = SHELF.load('ec2').model_validate({{'region': {REGION!r}}})\n"
        f"with target.lock({releases[0].model!r}, DeploymentContext(Path(), {{}})): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", lock], check=False).returncode == -9
    assert len(left(cloud, releases[0].model)) == 1
    with target().lock(releases[0].model, context):
        pass
    assert left(cloud, releases[0].model) == []


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        ("ExpiredToken", "sso login"), ("RequestExpired", "sso login"), ("AuthFailure", "AWS_PROFILE"),
        ("UnauthorizedOperation", "docs/how-to/deploy.md"), ("VcpuLimitExceeded", "quota"),
        ("InsufficientInstanceCapacity", "instance_type"),
    ],
)  # fmt: skip
def test_what_aws_refuses_comes_with_a_way_out(code, way_out):
    refusal = ClientError({"Error": {"Code": code, "Message": "no"}}, "RunInstances")
    with (
        pytest.raises(DeploymentError, match=f"prices: AWS reports {code}: no") as caught,
        explained_errors("prices", DeploymentError),
    ):
        raise refusal
    assert way_out in caught.value.hint


def test_without_credentials_every_verb_says_where_they_come_from(cloud, monkeypatch, tmp_path, run, versions):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    where = ("--set", "deployment.kind=ec2", "--set", f"deployment.region={REGION}", "--json")
    for verb in ("status", "down"):
        code, told, _ = run(verb, versions[0].name, "--store", versions[0].folder.parent.parent, *where)
        assert code == 1
        assert "no AWS credentials" in told["error"]["message"]
        assert "AWS_PROFILE" in told["error"]["hint"]


def test_what_a_broken_deployment_left_behind_is_seen_and_removed(cloud, network, releases, context):
    settings = target()
    settings.apply(releases[0], context)
    (live,) = machines_of(cloud)
    ec2 = cloud.client("ec2", REGION)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "estimator.model", "Value": releases[0].model}]}]
    ec2.run_instances(ImageId=live["ImageId"], MinCount=1, MaxCount=1, TagSpecifications=tags)
    assert [step.action for step in settings.plan(releases[0], context).steps][-1] == "remove"
    settings.apply(releases[0], context)
    assert [each["InstanceId"] for each in machines_of(cloud)] == [live["InstanceId"]]


@pytest.mark.parametrize(
    ("settings", "changes", "finding", "way_out"),
    [
        ({"instance_type": "t4g.small"}, {}, "is arm64, the image is for x86_64", "image.architecture"),
        ({"ingress_cidrs": ["0.0.0.0/0"]}, {}, "does not require API keys", "allow_public"),
        ({}, {"image": f"{REPOSITORY}@sha256:{'f' * 64}"}, "no longer in its registry", "estimator push"),
        ({"public_key": "none.pub"}, {}, "no such file", "ssh-keygen"),
        ({"instance_type": "t3.enormous"}, {}, "t3.enormous", ""),
        ({"subnet": "subnet-0"}, {}, "subnet-0", ""),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    cloud, releases, context, settings, changes, finding, way_out
):
    with pytest.raises(DeploymentError) as caught:
        target(**settings).plan(replace(releases[0], **changes), context)
    assert finding in caught.value.message
    assert way_out in (caught.value.hint or "")
    assert left(cloud, releases[0].model) == []


def test_without_the_right_to_it_aws_is_quoted_and_nothing_is_left(cloud, releases, context):
    allowed = [action for action in NEEDED if action != "ec2:RunInstances"]
    with cloud.only_allowed(allowed), pytest.raises(DeploymentError, match="RunInstances") as caught:
        target().apply(releases[0], context)
    assert "docs/how-to/deploy.md" in (caught.value.hint or "")
    assert left(cloud, releases[0].model) == []


PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkh4bH8rbQyBP1tUsYh8KcX3h8Y0t2sHk1hV0z5Yb2q me"
)  # fmt: skip
