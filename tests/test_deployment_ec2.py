"""Deployments to EC2 instances that moto simulates, checked through the AWS API."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from estimator.core.aws import explained_errors
from estimator.errors import DeploymentError
from estimator.shipping.deployment import SHELF
from tests.conftest import HOUSE, ROOT
from tests.deployments import DIGESTS, context_of, folders_by_digest, releases_of, two_versions
from tests.machines import instances, known_to_ecr
from tests.servers import aws

REGION = "eu-west-1"
REPOSITORY = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/prices"
# The permissions that the docs list.
NEEDED = (
    (ROOT / "docs" / "how-to" / "deploy.md")
    .read_text()
    .split("Your user needs:")[1]
    .split("```text")[1]
    .split("```")[0]
    .split()
)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions of the Boston model, the older first."""
    return two_versions(tmp_path_factory.mktemp("models"))


@pytest.fixture
def cloud():
    with aws() as fake:
        known_to_ecr(fake, REGION, "prices", DIGESTS)
        yield fake


@pytest.fixture
def network(cloud, versions):
    with instances(cloud, REGION, folders_by_digest(versions)) as network:
        yield network


@pytest.fixture
def releases(versions):
    return releases_of(versions, REPOSITORY)


@pytest.fixture
def context(tmp_path, versions):
    return context_of(versions, tmp_path)


def target(**settings):
    return SHELF.load("ec2").model_validate({"region": REGION, "ingress_cidrs": ["203.0.113.4/32"], **settings})


def resources_of(cloud, model):
    """Return the names of all resources of a model in AWS."""
    ec2, iam, ssm = (cloud.client(name, REGION) for name in ("ec2", "iam", "ssm"))
    of_model = [{"Name": "tag:estimator.model", "Values": [model]}]
    not_terminated = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    parameters = [parameter["Name"] for parameter in ssm.describe_parameters()["Parameters"]]
    groups = [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]]
    return [
        *(instance["InstanceId"] for instance in instances_of(cloud, [*of_model, not_terminated])),
        *(address["PublicIp"] for address in ec2.describe_addresses()["Addresses"]),
        *(name for name in groups if name != "default"),
        *(pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]),
        *(volume["VolumeId"] for volume in ec2.describe_volumes(Filters=of_model)["Volumes"]),
        *(role["RoleName"] for role in iam.list_roles()["Roles"] if role["RoleName"].startswith("estimator")),
        *(profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]),
        *(name for name in parameters if name.startswith("/estimator")),
    ]


def instances_of(cloud, filters=({"Name": "instance-state-name", "Values": ["running"]},)):
    reservations = cloud.client("ec2", REGION).describe_instances(Filters=list(filters))["Reservations"]
    return [instance for reservation in reservations for instance in reservation["Instances"]]


def test_plan_has_steps_and_price_and_changes_nothing(cloud, releases, context):
    plan = target(tags={"project": "prices"}).plan(releases[0], context)
    assert [(step.action, step.kind) for step in plan.steps] == [
        ("create", "role"), ("create", "security group"), ("create", "address"), ("create", "instance"),
    ]  # fmt: skip
    assert plan.price.per_hour == pytest.approx(0.0228 + 16 * 0.088 / 730 + 0.005)
    assert resources_of(cloud, releases[0].model) == []


def test_instance_serves_the_image(cloud, network, releases, context, house):
    status = target().apply(releases[0], context)
    assert (status.state, status.release) == ("ready", releases[0])
    request = urllib.request.Request(
        f"{status.address}/v1/services/predict", json.dumps([HOUSE]).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200
    (described,) = instances_of(cloud)
    tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    assert tags["estimator.version"] == releases[0].version
    assert described["MetadataOptions"]["HttpTokens"] == "required"
    (instance,) = network.booted.values()
    assert instance.log[0] == "dnf install --assumeyes docker"
    assert f"docker pull {releases[0].image}" in instance.log
    assert (instance.folder / "password").read_text() == "123456789012-auth-token\n"
    assert any(line.startswith("docker logout") for line in instance.log)
    run = next(line for line in instance.log if line.startswith("docker run"))
    assert "--read-only" in run
    assert "--restart unless-stopped" in run


def test_role_can_only_pull_this_image(cloud, network, releases, context):
    target().apply(releases[0], context)
    iam = cloud.client("iam", REGION)
    (role,) = (role["RoleName"] for role in iam.list_roles()["Roles"] if role["RoleName"].startswith("estimator"))
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    allowed = iam.get_role_policy(RoleName=role, PolicyName="estimator")["PolicyDocument"]["Statement"]
    assert allowed[0]["Action"] == "ecr:GetAuthorizationToken"
    assert set(allowed[1]["Action"]) == {
        "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
    }  # fmt: skip
    assert len(allowed) == 2
    assert allowed[1]["Resource"] == f"arn:aws:ecr:{REGION}:123456789012:repository/prices"


def test_new_release_gets_a_new_instance_and_the_address(cloud, network, releases, context):
    settings = target()
    first = settings.apply(releases[0], context)
    (old,) = instances_of(cloud)
    second = settings.apply(releases[1], context)
    (new,) = instances_of(cloud)
    assert new["InstanceId"] != old["InstanceId"]
    assert second.address == first.address
    assert (second.release, second.previous) == (releases[1], releases[0])


def test_unreachable_release_is_terminated_and_the_old_one_stays(cloud, network, releases, context):
    settings = target(health_timeout_seconds=2)
    target().apply(releases[0], context)
    (old,) = instances_of(cloud)
    broken = replace(releases[1], image=f"{REPOSITORY}@{DIGESTS[2]}")
    with pytest.raises(DeploymentError, match="the previous release still runs"):
        settings.apply(broken, context)
    assert [instance["InstanceId"] for instance in instances_of(cloud)] == [old["InstanceId"]]
    assert settings.status(releases[0].model, context).state == "ready"


def test_release_of_another_version_is_removed(cloud, network, releases, context):
    settings = target(health_timeout_seconds=3)
    wrong = replace(releases[1], image=releases[0].image)
    with pytest.raises(DeploymentError, match="everything was removed"):
        settings.apply(wrong, context)
    assert resources_of(cloud, releases[0].model) == []


def test_hint_names_ingress_cidrs_without_access(cloud, network, releases, context):
    with pytest.raises(DeploymentError) as caught:
        target(ingress_cidrs=["198.51.100.0/24"], health_timeout_seconds=1).apply(releases[0], context)
    assert "deployment.ingress_cidrs" in (caught.value.hint or "")
    assert resources_of(cloud, releases[0].model) == []


def test_down_removes_all_resources(cloud, network, releases, context, tmp_path):
    (tmp_path / "key.pub").write_text(PUBLIC_KEY)
    settings = target(public_key=str(tmp_path / "key.pub"), ssh_cidrs=["203.0.113.0/24"])
    settings.apply(releases[0], context)
    assert len(resources_of(cloud, releases[0].model)) >= 6
    assert settings.remove(releases[0].model, context) == ()
    assert resources_of(cloud, releases[0].model) == []


def test_ingress_rules_change_without_a_new_instance(cloud, network, releases, context):
    settings = target()
    settings.apply(releases[0], context)
    wider = target(ingress_cidrs=["203.0.113.4/32", "198.51.100.0/24", "2001:db8::/32"])
    steps = {step.kind: step.action for step in wider.plan(releases[0], context).steps}
    assert steps == {"role": "keep", "security group": "change", "address": "keep", "instance": "keep"}
    wider.apply(releases[0], context)
    (group,) = cloud.client("ec2", REGION).describe_security_groups(
        Filters=[{"Name": "tag:estimator.model", "Values": [releases[0].model]}]
    )["SecurityGroups"]
    assert {item["CidrIp"] for rule in group["IpPermissions"] for item in rule["IpRanges"]} == {
        "203.0.113.4/32", "198.51.100.0/24",
    }  # fmt: skip


def test_documented_permissions_are_sufficient(cloud, network, releases, context):
    settings = target()
    with cloud.only_allowed(NEEDED):
        for release in releases:
            settings.apply(release, context)
        assert settings.remove(releases[0].model, context) == ()
    assert resources_of(cloud, releases[0].model) == []


def test_instance_reads_secrets_that_user_data_does_not_have(cloud, network, releases, context):
    cloud.client("ssm", REGION).put_parameter(Name="/prices/key", Value="open sesame", Type="SecureString")
    settings = target(secrets={"API_KEY": "/prices/key"}, environment={"ESTIMATOR_CONFIG__SERVING__RATE_LIMIT": "50"})
    settings.apply(releases[0], context)
    (instance,) = network.booted.values()
    assert "open sesame" not in (instance.folder / "user-data").read_text()
    run = next(line for line in instance.log if line.startswith("docker run"))
    assert "--env API_KEY " in run
    assert "API_KEY=value of /prices/key" in (instance.folder / "env").read_text()
    policy = cloud.client("iam", REGION).get_role_policy(
        RoleName=f"estimator-{releases[0].model}-{REGION}", PolicyName="estimator"
    )
    assert f"arn:aws:ssm:{REGION}:123456789012:parameter/prices/key" in json.dumps(policy["PolicyDocument"])


def test_expires_hours_installs_a_timer(cloud, network, releases, context):
    status = target(expires_hours=24).apply(releases[0], context)
    (instance,) = network.booted.values()
    timer = (instance.folder / "estimator-expiry.timer").read_text()
    at = datetime.strptime(timer.split("OnCalendar=")[1][:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert timedelta(hours=23, minutes=58) < at - datetime.now(UTC) <= timedelta(hours=24)
    assert "Persistent=true" in timer
    assert at.isoformat() in status.notes[0]


def test_expired_instance_leaves_nothing_that_costs(cloud, network, releases, context):
    settings, model = target(expires_hours=1), releases[0].model
    settings.apply(releases[0], context)
    (instance,) = instances_of(cloud)
    network.expire(instance["InstanceId"])
    ec2 = cloud.client("ec2", REGION)
    volumes = ec2.describe_volumes(Filters=[{"Name": "tag:estimator.model", "Values": [model]}])["Volumes"]
    assert (ec2.describe_addresses()["Addresses"], volumes, instances_of(cloud)) == ([], [], [])
    assert {resource.kind for resource in settings.status(model, context).resources} == {"role", "security group"}
    assert settings.remove(model, context) == ()


def test_expired_instance_keeps_the_address_of_another(cloud, network, releases, context):
    settings = target(expires_hours=1)
    settings.apply(releases[0], context)
    (old,) = instances_of(cloud)
    ec2 = cloud.client("ec2", REGION)
    (new,) = ec2.run_instances(ImageId=old["ImageId"], MinCount=1, MaxCount=1)["Instances"]
    (address,) = ec2.describe_addresses()["Addresses"]
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=new["InstanceId"], AllowReassociation=True)
    network.expire(old["InstanceId"])
    assert [item["InstanceId"] for item in ec2.describe_addresses()["Addresses"]] == [new["InstanceId"]]


def test_expiring_instance_can_only_release_the_address_of_its_model(cloud, network, releases, context):
    target(expires_hours=1).apply(releases[0], context)
    name = f"estimator-{releases[0].model}-{REGION}"
    policy = cloud.client("iam", REGION).get_role_policy(RoleName=name, PolicyName="estimator")["PolicyDocument"]
    release = next(item for item in policy["Statement"] if "ec2:ReleaseAddress" in item["Action"])
    assert release["Condition"] == {"StringEquals": {"aws:ResourceTag/estimator.model": releases[0].model}}
    assert release["Resource"] == f"arn:aws:ec2:{REGION}:123456789012:elastic-ip/*"


def test_other_expiry_gets_a_new_instance(cloud, network, releases, context):
    target().apply(releases[0], context)
    plan = target(expires_hours=2).plan(releases[0], context)
    assert {step.kind: step.action for step in plan.steps if step.action != "keep"} == {
        "role": "change", "instance": "replace",
    }  # fmt: skip


def test_down_removes_volumes_and_addresses_that_were_left(cloud, network, releases, context):
    settings, model = target(), releases[0].model
    settings.apply(releases[0], context)
    ec2, tags = cloud.client("ec2", REGION), [{"Key": "estimator.model", "Value": model}]
    specification = {"TagSpecifications": [{"ResourceType": "volume", "Tags": tags}]}
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8, **specification)
    ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
    kinds = [resource.kind for resource in settings.status(model, context).resources]
    assert (kinds.count("volume"), kinds.count("address")) == (1, 2)
    assert volume["VolumeId"] in resources_of(cloud, model)
    assert settings.remove(model, context) == ()
    assert resources_of(cloud, model) == []


def test_status_of_all_has_ages_and_prices(cloud, network, releases, context, run):
    target(expires_hours=24).apply(releases[0], context)
    ec2 = cloud.client("ec2", "ap-south-1")
    tags = [{"Key": "estimator.model", "Value": "forgotten"}]
    (image,) = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])[
        "Images"
    ][:1]
    specification = [{"ResourceType": "instance", "Tags": tags}]
    ec2.run_instances(ImageId=image["ImageId"], InstanceType="t3.large", MinCount=1, MaxCount=1,
                      TagSpecifications=specification)  # fmt: skip
    cloud.client("ec2", "us-east-1").allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}]
    )
    code, data, _ = run("status", "--all", "--json")
    rows = {(row["model"], row["region"]): row for row in data["deployments"]}
    assert (code, set(rows)) == (
        0, {(releases[0].model, REGION), ("forgotten", "ap-south-1"), ("forgotten", "us-east-1")},
    )  # fmt: skip
    own, unknown, left = (rows[key] for key in ((releases[0].model, REGION), ("forgotten", "ap-south-1"),
                                                ("forgotten", "us-east-1")))  # fmt: skip
    assert own["price_usd"]["per_hour"] == pytest.approx(0.0228 + 16 * 0.088 / 730 + 0.005)
    assert (own["version"], own["price_usd"]["as_of"]) == (releases[0].version, "2026-06")
    assert 0 <= own["age_seconds"] < 600
    assert own["expires"] > own["since"]
    assert "t3.large" in unknown["price_usd"]["unknown"]
    assert (left["since"], left["price_usd"]["hourly"]) == (None, {"public address": 0.005})
    assert data["usd_per_hour"] == pytest.approx(sum(row["price_usd"]["per_hour"] for row in rows.values()))
    text = run("status", "--all")[1]["text"]
    assert "no list price of t3.large" in text
    assert "estimator down forgotten" in text
    assert "list prices of 2026-06" in text


def test_status_of_all_names_regions_that_cannot_be_read(cloud, run):
    with cloud.only_allowed(["ec2:DescribeRegions"]):
        code, _, error = run("status", "--all")
    assert (code, "DescribeInstances" in error) == (1, True)


def test_status_of_all_in_one_region_is_empty_without_deployments(cloud, run):
    code, output, _ = run("status", "--all", "--set", f"deployment.region={REGION}")
    assert (code, "nothing with estimator's tag runs" in output["text"]) == (0, True)
    assert run("status", "houses", "--all")[0] == 2
    assert run("status")[0] == 2


def test_second_deployment_at_once_is_rejected(cloud, releases, context):
    settings = target()
    with settings.lock(releases[0].model, context):
        second = settings.lock(releases[0].model, context)
        with pytest.raises(DeploymentError, match="has been deploying since") as caught, second:
            raise AssertionError("both are in")
        assert "delete-parameter" in (caught.value.hint or "")
    assert resources_of(cloud, releases[0].model) == []


def test_old_lock_is_removed(cloud, releases, context):
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    cloud.client("ssm", REGION).put_parameter(
        Name=f"/estimator/{releases[0].model}/lock", Value=json.dumps({"user": "me", "since": since}), Type="String"
    )
    with target().lock(releases[0].model, context):
        assert len(resources_of(cloud, releases[0].model)) == 1
    assert resources_of(cloud, releases[0].model) == []


def test_lock_of_a_killed_process_is_removed(cloud, releases, context):
    lock = (
        "from estimator.shipping.deployment import SHELF, DeploymentContext; from pathlib import Path; import os\n"
        f"target = SHELF.load('ec2').model_validate({{'region': {REGION!r}}})\n"
        f"with target.lock({releases[0].model!r}, DeploymentContext(Path(), {{}})): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", lock], check=False).returncode == -9
    assert len(resources_of(cloud, releases[0].model)) == 1
    with target().lock(releases[0].model, context):
        pass
    assert resources_of(cloud, releases[0].model) == []


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("ExpiredToken", "sso login"), ("RequestExpired", "sso login"), ("AuthFailure", "AWS_PROFILE"),
        ("UnauthorizedOperation", "docs/how-to/deploy.md"), ("VcpuLimitExceeded", "quota"),
        ("InsufficientInstanceCapacity", "instance_type"),
    ],
)  # fmt: skip
def test_aws_errors_have_hints(code, hint):
    aws_error = ClientError({"Error": {"Code": code, "Message": "no"}}, "RunInstances")
    with (
        pytest.raises(DeploymentError, match=f"prices: AWS reports {code}: no") as caught,
        explained_errors("prices", DeploymentError),
    ):
        raise aws_error
    assert hint in caught.value.hint


def test_missing_credentials_are_explained_by_every_verb(cloud, monkeypatch, tmp_path, run, versions):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = ("--set", "deployment.kind=ec2", "--set", f"deployment.region={REGION}", "--json")
    for verb in ("status", "down"):
        code, output, _ = run(verb, versions[0].name, "--store", versions[0].folder.parent.parent, *options)
        assert code == 1
        assert "no AWS credentials" in output["error"]["message"]
        assert "AWS_PROFILE" in output["error"]["hint"]


def test_leftover_instance_is_removed(cloud, network, releases, context):
    settings = target()
    settings.apply(releases[0], context)
    (live,) = instances_of(cloud)
    ec2 = cloud.client("ec2", REGION)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "estimator.model", "Value": releases[0].model}]}]
    ec2.run_instances(ImageId=live["ImageId"], MinCount=1, MaxCount=1, TagSpecifications=tags)
    assert [step.action for step in settings.plan(releases[0], context).steps][-1] == "remove"
    settings.apply(releases[0], context)
    assert [instance["InstanceId"] for instance in instances_of(cloud)] == [live["InstanceId"]]


@pytest.mark.parametrize(
    ("settings", "changes", "error", "hint"),
    [
        ({"instance_type": "t4g.small"}, {}, "is arm64, the image is for x86_64", "image.architecture"),
        ({"ingress_cidrs": ["0.0.0.0/0"]}, {}, "does not require API keys", "allow_public"),
        ({}, {"image": f"{REPOSITORY}@sha256:{'f' * 64}"}, "no longer in its registry", "estimator push"),
        ({"public_key": "none.pub"}, {}, "no such file", "ssh-keygen"),
        ({"instance_type": "t3.enormous"}, {}, "t3.enormous", ""),
        ({"subnet": "subnet-0"}, {}, "subnet-0", ""),
    ],
)
def test_impossible_settings_are_rejected_before_any_change(cloud, releases, context, settings, changes, error, hint):
    with pytest.raises(DeploymentError) as caught:
        target(**settings).plan(replace(releases[0], **changes), context)
    assert error in caught.value.message
    assert hint in (caught.value.hint or "")
    assert resources_of(cloud, releases[0].model) == []


def test_missing_permission_leaves_nothing(cloud, releases, context):
    allowed = [action for action in NEEDED if action != "ec2:RunInstances"]
    with cloud.only_allowed(allowed), pytest.raises(DeploymentError, match="RunInstances") as caught:
        target().apply(releases[0], context)
    assert "docs/how-to/deploy.md" in (caught.value.hint or "")
    assert resources_of(cloud, releases[0].model) == []


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkh4bH8rbQyBP1tUsYh8KcX3h8Y0t2sHk1hV0z5Yb2q me"
