"""The deployment target `ec2`: a new instance for each release, behind one Elastic IP address."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from estimator.config.section import Text
from estimator.core import aws
from estimator.core.clock import Moment
from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import (
    SETTINGS_HASH,
    DeploymentContext,
    DeploymentPlan,
    DeploymentStatus,
    DeploymentTarget,
    PlanStep,
    Release,
    Resource,
    Variable,
    check_public,
)
from estimator.shipping.deployment.ec2 import resources
from estimator.shipping.deployment.ec2.account import AwsAccount, retry_on
from estimator.shipping.deployment.ec2.prices import price
from estimator.shipping.deployment.ec2.user_data import user_data
from estimator.shipping.deployment.health import check_health, is_ready
from estimator.shipping.image import ecr
from estimator.shipping.image.registry import ImageReference, Registry, docker_login, parse_reference

# The SSM parameter with the newest image of Amazon Linux 2023.
AMI_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
EC2_ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
# By AWS's naming rules: a g after the generation is a Graviton processor.
ARM_TYPE = re.compile(r"(a1|[a-z]+\d+[a-z]*g[a-z]*)\b")
EVERYWHERE = ("0.0.0.0/0", "::/0")
# Until an address that moved to another instance is reachable.
MOVE_TIMEOUT_SECONDS = 60.0
SSH_PORT = 22


class EC2Target(DeploymentTarget):
    """An EC2 instance behind an Elastic IP address, which stays the same when a release replaces the instance."""

    no_restart_keys: ClassVar[frozenset[str]] = frozenset(
        {"ingress_cidrs", "allow_public", "ssh_cidrs", "health_timeout_seconds"}
    )
    kind: Literal["ec2"] = "ec2"
    region: Text | None = Field(None, description="AWS region; by default that of the AWS configuration")
    instance_type: Text = Field("t3.small", description="EC2 instance type, of the image's architecture")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(5000, description="port to open")
    ingress_cidrs: list[Text] = Field(
        [], description="networks that can reach the server, such as 203.0.113.4/32; none by default"
    )
    allow_public: bool = Field(False, description="allow a server without API keys to be reachable from everywhere")
    secrets: dict[Variable, Text] = Field(
        {}, description="environment variables of the server -> SSM parameters with their values, read by the instance"
    )
    expires_hours: Annotated[float, Field(gt=0)] | None = Field(
        None, description="hours after which the instance releases its address and terminates itself; never by default"
    )
    disk_gb: Annotated[int, Field(ge=8)] = Field(16, description="size of the encrypted disk")
    subnet: Text | None = Field(None, description="public subnet; by default one of the default VPC")
    public_key: Text | None = Field(None, description="public key file for SSH access")
    ssh_cidrs: list[Text] = Field([], description="networks that can use SSH")
    tags: dict[Text, Text] = Field({}, description="tags of every resource, such as {project: pricing}")
    health_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        300, description="seconds until a new instance must be healthy"
    )

    @field_validator("ingress_cidrs", "ssh_cidrs")
    @classmethod
    def _check_networks(cls, networks: list[str]) -> list[str]:
        try:
            return [str(ipaddress.ip_network(network)) for network in networks]
        except ValueError as error:
            raise ValueError(f"{error}; expected a network such as 203.0.113.4/32") from None

    @property
    def architecture(self) -> str:
        return "arm64" if ARM_TYPE.match(self.instance_type) else "amd64"

    @contextmanager
    def lock(self, model: str, context: DeploymentContext) -> Iterator[None]:
        with _aws_errors(model), self._account(model).lock(Moment.now().user, context.note):
            yield

    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        pushed = record.get("pushed")
        if pushed is None:
            raise DeploymentError(
                f"{record['tag']} was not pushed to a registry, which the instance pulls it from",
                hint=f"estimator push {record['name']} --to ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG",
            )
        return str(pushed)

    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        with _aws_errors(release.model):
            account = self._account(release.model)
            desired = self._desired(account, release)
            self._check(account, release, context)
            status = _status(account)
            steps = [*resources.steps(account, desired), *_instance_steps(account, status, release, self)]
            estimate = price(account.region, self.instance_type, self.disk_gb)
            notes = [] if estimate else [f"no price available for {self.instance_type} in {account.region}"]
            if not self.ingress_cidrs:
                notes.append("deployment.ingress_cidrs is empty: no client can reach the server, not even this machine")
            notes.append("the server speaks plain HTTP: put a TLS proxy in front of it")
            if self.expires_hours is not None:
                notes.append(f"the instance terminates itself {self.expires_hours:g} hours after its launch")
            return DeploymentPlan(tuple(steps), estimate, tuple(notes))

    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        with _aws_errors(release.model):
            account = self._account(release.model)
            before, live, desired = _status(account), _live_instance(account), self._desired(account, release)
            try:
                group = resources.ensure(account, desired, context.note)
                if live is None or not _is_current(before, release, self):
                    new = self._launch(account, release, before, group, context)
                    self._switch(account, release, live, new, context)
                    live = new
            except BaseException:
                if live is None:
                    _remove(account, context)
                else:
                    _terminate_others(account, live)
                raise
            _terminate_others(account, live)
            return _status(account)

    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        with _aws_errors(model):
            return _status(self._account(model))

    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        with _aws_errors(model):
            return _remove(self._account(model), context)

    def _account(self, model: str) -> AwsAccount:
        region = self.region or aws.default_region()
        if region is None:
            raise DeploymentError(
                "deployment.region: missing, and the AWS configuration has none", hint="deployment.region: eu-west-1"
            )
        return AwsAccount(region, model, self.tags)

    def _desired(self, account: AwsAccount, release: Release) -> resources.DesiredResources:
        rules = {(self.port, network) for network in self.ingress_cidrs}
        rules |= {(SSH_PORT, network) for network in self.ssh_cidrs}
        key = None if self.public_key is None else Path(self.public_key).expanduser()
        if key is not None and not key.is_file():
            raise DeploymentError(f"deployment.public_key: {key}: no such file", hint="ssh-keygen -t ed25519")
        parameters = tuple(self.secrets.values())
        expires = self.expires_hours is not None
        return resources.DesiredResources(frozenset(rules), release.image, self._vpc(account), key, parameters, expires)

    def _vpc(self, account: AwsAccount) -> str:
        if self.subnet is not None:
            return str(account.ec2.describe_subnets(SubnetIds=[self.subnet])["Subnets"][0]["VpcId"])
        vpcs = account.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not vpcs:
            raise DeploymentError(f"{account.region}: the account has no default VPC", hint="deployment.subnet")
        return str(vpcs[0]["VpcId"])

    def _check(self, account: AwsAccount, release: Release, context: DeploymentContext) -> None:
        """Reject settings that cannot work or are not safe, before anything changes."""
        instance_type = account.ec2.describe_instance_types(InstanceTypes=[self.instance_type])["InstanceTypes"][0]
        supported = instance_type["ProcessorInfo"]["SupportedArchitectures"]
        needed = EC2_ARCHITECTURES[release.architecture]
        if needed not in supported:
            raise DeploymentError(
                f"deployment.instance_type: {self.instance_type} is {' or '.join(supported)}, "
                f"the image is for {needed}",
                hint="another instance_type, or another image.architecture",
            )
        if not self.allow_public and (public := [network for network in self.ingress_cidrs if network in EVERYWHERE]):
            check_public(release, f"deployment.ingress_cidrs: {public[0]}", self.environment, context)
        if not _is_in_registry(parse_reference(release.image), context):
            raise DeploymentError(f"{release.image}: no longer in its registry", hint="estimator push MODEL")

    def _launch(
        self, account: AwsAccount, release: Release, before: DeploymentStatus, group: str, context: DeploymentContext
    ) -> dict[str, Any]:
        """Start an instance with the release and wait until it runs; its server starts later."""
        expires = None
        if self.expires_hours is not None:
            expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=self.expires_hours)
        previous = before.release if before.release and before.release != release else before.previous
        tags = {**release.labels(self.settings_hash(release), previous), "estimator.public-port": str(self.port)}
        tags |= {} if expires is None else {"estimator.expires": expires.isoformat()}
        image = account.ssm.get_parameter(Name=AMI_PARAMETER.format(EC2_ARCHITECTURES[release.architecture]))[
            "Parameter"
        ]["Value"]
        root = account.ec2.describe_images(ImageIds=[image])["Images"][0]["RootDeviceName"]
        disk = {"VolumeSize": self.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        script = user_data(
            release,
            region=account.region,
            port=self.port,
            environment=self.environment,
            secrets=self.secrets,
            expires=expires,
        )
        network = {"DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": [group]}
        network |= {} if self.subnet is None else {"SubnetId": self.subnet}
        request = {
            "ImageId": image,
            "InstanceType": self.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": script,
            "ClientToken": str(uuid.uuid4()),
            "IamInstanceProfile": {"Name": account.name},
            # A stopped instance costs its disk; the disk of a terminated one is deleted with it.
            "InstanceInitiatedShutdownBehavior": "stop" if expires is None else "terminate",
            # One hop: the instance reaches its metadata, with its credentials, and the container does not.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
            "BlockDeviceMappings": [{"DeviceName": root, "Ebs": disk}],
            "NetworkInterfaces": [network],
            "TagSpecifications": [*account.tag_specification("instance", **tags), *account.tag_specification("volume")],
            **({} if self.public_key is None else {"KeyName": account.name}),
        }
        # EC2 sees a new role only after a while.
        response = retry_on(
            partial(account.ec2.run_instances, **request),
            codes=("InvalidParameterValue",),
            timeout_seconds=60,
            pause_seconds=3,
        )
        instance_id = response["Instances"][0]["InstanceId"]
        context.note(f"instance {instance_id}: {self.instance_type} starts")
        account.ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id])
        return dict(account.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])

    def _switch(
        self,
        account: AwsAccount,
        release: Release,
        live: dict[str, Any] | None,
        new: dict[str, Any],
        context: DeploymentContext,
    ) -> None:
        """Check a new instance at its own address, move the Elastic IP address to it, and check that."""
        own_url = f"http://{new.get('PublicIpAddress')}:{self.port}"
        try:
            context.note(check_health(release, own_url, context, timeout_seconds=self.health_timeout_seconds))
            url = f"http://{_move_address(account, new)}:{self.port}"
            context.note(check_health(release, url, context, timeout_seconds=MOVE_TIMEOUT_SECONDS))
        except BaseException as error:
            if live is not None:
                _move_address(account, live)
            if not isinstance(error, DeploymentError):
                raise
            outcome = "the previous release still runs" if live is not None else "everything was removed"
            hint = error.hint or "check that deployment.ingress_cidrs contains the address of this machine"
            hints = filter(None, [hint, _console_end(account, new)])
            raise DeploymentError(f"{error.message}; {outcome}", hint="; ".join(hints)) from None


def _aws_errors(model: str) -> AbstractContextManager[None]:
    """Raise errors of AWS as a DeploymentError."""
    return aws.explained_errors(model, DeploymentError)


def _status(account: AwsAccount) -> DeploymentStatus:
    instances = [
        Resource("instance", item["InstanceId"], f"{item['InstanceType']}, {item['State']['Name']}")
        for item in account.instances()
    ]
    existing = (*instances, *resources.resources(account))
    live, address = _live_instance(account), account.address()
    if live is None:
        return DeploymentStatus("absent", resources=existing)
    tags = {tag["Key"]: tag["Value"] for tag in live.get("Tags", [])}
    release = Release.from_labels(tags)
    url = None if address is None else f"http://{address['PublicIp']}:{tags.get('estimator.public-port')}"
    is_stopped = live["State"]["Name"] in ("stopping", "stopped")
    is_serving = release is not None and url is not None and not is_stopped and is_ready(release, url)
    notes = (f"terminates itself at {tags['estimator.expires']}",) if "estimator.expires" in tags else ()
    return DeploymentStatus(
        "ready" if is_serving else "stopped" if is_stopped else "failing",
        release,
        Release.from_labels(tags, previous=True),
        tags.get(SETTINGS_HASH),
        url,
        existing,
        notes,
    )


def _remove(account: AwsAccount, context: DeploymentContext) -> tuple[Resource, ...]:
    instances = account.instances()
    _terminate(account, instances)
    for instance in instances:
        context.note(f"removed instance {instance['InstanceId']}")
    resources.remove(account, context.note)
    return _status(account).resources


def _is_in_registry(reference: ImageReference, context: DeploymentContext) -> bool:
    if ecr.is_ecr(reference):
        return ecr.has_image(reference)
    return Registry(reference, docker_login(reference.host, context.environment)).digest() is not None


def _live_instance(account: AwsAccount) -> dict[str, Any] | None:
    """Return the instance with the Elastic IP address, else the newest."""
    instances, address = account.instances(), account.address()
    instance_id = None if address is None else address.get("InstanceId")
    newest = instances[-1] if instances else None
    return next((instance for instance in instances if instance["InstanceId"] == instance_id), newest)


def _is_current(status: DeploymentStatus, release: Release, settings: EC2Target) -> bool:
    is_same = status.release == release and status.settings_hash == settings.settings_hash(release)
    return status.state == "ready" and is_same


def _instance_steps(
    account: AwsAccount, status: DeploymentStatus, release: Release, settings: EC2Target
) -> Iterator[PlanStep]:
    live = _live_instance(account)
    detail = f"{settings.instance_type}, {release.version}"
    if live is None:
        yield PlanStep("create", "instance", account.name, detail)
    elif _is_current(status, release, settings):
        yield PlanStep("keep", "instance", live["InstanceId"], detail)
    else:
        yield PlanStep("replace", "instance", live["InstanceId"], f"with a new one: {detail}")
    for instance in account.instances():
        if live is not None and instance["InstanceId"] != live["InstanceId"]:
            yield PlanStep("remove", "instance", instance["InstanceId"], "left over from an interrupted deployment")


def _move_address(account: AwsAccount, instance: Mapping[str, Any]) -> str:
    """Move the Elastic IP address to an instance; return it."""
    address = account.address()
    assert address is not None, "created with the other resources"
    account.ec2.associate_address(
        AllocationId=address["AllocationId"], InstanceId=instance["InstanceId"], AllowReassociation=True
    )
    return str(address["PublicIp"])


def _console_end(account: AwsAccount, instance: Mapping[str, Any]) -> str:
    """Return the end of an instance's console output, which AWS has only after a few minutes."""
    output = account.ec2.get_console_output(InstanceId=instance["InstanceId"]).get("Output", "")
    lines = [line for line in output.splitlines() if line.strip()]
    return f"the instance's console ends: {' | '.join(lines[-3:])}" if lines else ""


def _terminate_others(account: AwsAccount, instance: Mapping[str, Any]) -> None:
    """Terminate all instances of the model but one."""
    _terminate(account, [other for other in account.instances() if other["InstanceId"] != instance["InstanceId"]])


def _terminate(account: AwsAccount, instances: Sequence[Mapping[str, Any]]) -> None:
    """Terminate instances and wait until they are gone."""
    if ids := [instance["InstanceId"] for instance in instances]:
        account.ec2.terminate_instances(InstanceIds=ids)
        account.ec2.get_waiter("instance_terminated").wait(InstanceIds=ids)
