"""A machine of AWS's EC2 that pulls the image by its digest; the next release gets a machine of its own first."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from estimator.shipping.deployment.ec2 import resources as surroundings
from estimator.shipping.deployment.ec2.account import AwsAccount, until_taken
from estimator.shipping.deployment.ec2.prices import price
from estimator.shipping.deployment.ec2.user_data import user_data
from estimator.shipping.deployment.health import check, is_ready
from estimator.shipping.image import ecr
from estimator.shipping.image.registry import ImageReference, Registry, docker_login, parse_reference

AMI = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
MACHINES = {"amd64": "x86_64", "arm64": "arm64"}
WORLD = ("0.0.0.0/0", "::/0")
MOVED_SECONDS = 60.0
SSH = 22


class EC2Target(DeploymentTarget):
    """A machine of AWS's EC2, behind an address that stays while machines change."""

    no_restart_keys: ClassVar[frozenset[str]] = frozenset(
        {"ingress_cidrs", "allow_public", "ssh_cidrs", "expires_hours", "health_timeout_seconds"}
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
        None, description="hours after which the instance stops itself; never by default"
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
    def _networks(cls, networks: list[str]) -> list[str]:
        try:
            return [str(ipaddress.ip_network(each)) for each in networks]
        except ValueError as error:
            raise ValueError(f"{error}; expected a network such as 203.0.113.4/32") from None

    @contextmanager
    def lock(self, model: str, context: DeploymentContext) -> Iterator[None]:
        with _told(model), self._account(model).lock(Moment.now().user, context.note):
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
        with _told(release.model):
            account = self._account(release.model)
            wish = self._wish(account, release)
            self._refuse(account, release, context)
            status = _status(account)
            steps = [*surroundings.steps(account, wish), *_machine_steps(account, status, release, self)]
            known = price(account.region, self.instance_type, self.disk_gb)
            notes = [] if known else [f"no price available for {self.instance_type} in {account.region}"]
            notes += (
                []
                if self.ingress_cidrs
                else ["deployment.ingress_cidrs is empty: no client can reach the server, not even this machine"]
            )
            notes += ["the server speaks plain HTTP: put a TLS proxy in front of it"]
            if self.expires_hours is not None:
                notes.append(f"the instance stops itself {self.expires_hours:g} hours after its launch")
            return DeploymentPlan(tuple(steps), known, tuple(notes))

    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        with _told(release.model):
            account = self._account(release.model)
            before, live, wish = _status(account), _live(account), self._wish(account, release)
            try:
                group = surroundings.ensure(account, wish, context.note)
                if live is None or not _is_as_wished(before, release, self):
                    green = self._launch(account, release, before, group, context)
                    self._hand_over(account, release, live, green, context)
                    live = green
            except BaseException:
                if live is None:
                    _remove(account, context)
                else:
                    _end_others(account, live)
                raise
            _end_others(account, live)
            return _status(account)

    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        with _told(model):
            return _status(self._account(model))

    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        with _told(model):
            return _remove(self._account(model), context)

    def _account(self, model: str) -> AwsAccount:
        region = self.region or aws.default_region()
        if region is None:
            raise DeploymentError(
                "deployment.region: missing, and the AWS configuration has none", hint="deployment.region: eu-west-1"
            )
        return AwsAccount(region, model, self.tags)

    def _wish(self, account: AwsAccount, release: Release) -> surroundings.DesiredResources:
        rules = {(self.port, network) for network in self.ingress_cidrs} | {
            (SSH, network) for network in self.ssh_cidrs
        }
        key = None if self.public_key is None else Path(self.public_key).expanduser()
        if key is not None and not key.is_file():
            raise DeploymentError(f"deployment.public_key: {key}: no such file", hint="ssh-keygen -t ed25519")
        network = self._network(account)
        return surroundings.DesiredResources(
            frozenset(rules), release.image, network, key, tuple(self.secrets.values())
        )

    def _network(self, account: AwsAccount) -> str:
        if self.subnet is not None:
            return str(account.ec2.describe_subnets(SubnetIds=[self.subnet])["Subnets"][0]["VpcId"])
        found = account.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not found:
            raise DeploymentError(f"{account.region}: the account has no default VPC", hint="deployment.subnet")
        return str(found[0]["VpcId"])

    def _refuse(self, account: AwsAccount, release: Release, context: DeploymentContext) -> None:
        """Refuse what would not work, or not be safe, before anything is touched."""
        told = account.ec2.describe_instance_types(InstanceTypes=[self.instance_type])["InstanceTypes"][0]
        machine = MACHINES[release.architecture]
        if machine not in (found := told["ProcessorInfo"]["SupportedArchitectures"]):
            raise DeploymentError(
                f"deployment.instance_type: {self.instance_type} is {' or '.join(found)}, the image is for {machine}",
                hint="another instance_type, or another image.architecture",
            )
        if not self.allow_public and (open_to := [each for each in self.ingress_cidrs if each in WORLD]):
            check_public(release, f"deployment.ingress_cidrs: {open_to[0]}", self.environment, context)
        if not _is_in_registry(parse_reference(release.image), context):
            raise DeploymentError(f"{release.image}: no longer in its registry", hint="estimator push MODEL")

    def _launch(
        self, account: AwsAccount, release: Release, before: DeploymentStatus, group: str, context: DeploymentContext
    ) -> dict[str, Any]:  # fmt: skip
        """Start a machine with the release and wait until it runs, which is before its server does."""
        expires = None
        if self.expires_hours is not None:
            expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=self.expires_hours)
        previous = before.release if before.release and before.release != release else before.previous
        tags = {**release.labels(self.mark(release), previous), "estimator.public-port": str(self.port)}
        tags |= {} if expires is None else {"estimator.expires": expires.isoformat()}
        image = account.ssm.get_parameter(Name=AMI.format(MACHINES[release.architecture]))["Parameter"]["Value"]
        root = account.ec2.describe_images(ImageIds=[image])["Images"][0]["RootDeviceName"]
        disk = {"VolumeSize": self.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        script = user_data(
            release, region=account.region, port=self.port, environment=self.environment, secrets=self.secrets,
            expires=expires,
        )  # fmt: skip
        wanted = {
            "ImageId": image, "InstanceType": self.instance_type, "MinCount": 1, "MaxCount": 1, "UserData": script,
            "ClientToken": str(uuid.uuid4()), "IamInstanceProfile": {"Name": account.name},
            "InstanceInitiatedShutdownBehavior": "stop",
            # Only the machine itself may ask who it is, not what runs in it.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
            "BlockDeviceMappings": [{"DeviceName": root, "Ebs": disk}],
            "NetworkInterfaces": [{
                "DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": [group],
                **({} if self.subnet is None else {"SubnetId": self.subnet}),
            }],
            "TagSpecifications": [*account.tagged("instance", **tags), *account.tagged("volume")],
            **({} if self.public_key is None else {"KeyName": account.name}),
        }  # fmt: skip
        # A role that has just been made is not known everywhere at once.
        made = until_taken(
            partial(account.ec2.run_instances, **wanted), codes=("InvalidParameterValue",), seconds=60, pause=3
        )["Instances"][0]
        context.note(f"machine {made['InstanceId']}: {self.instance_type} starts")
        account.ec2.get_waiter("instance_running").wait(InstanceIds=[made["InstanceId"]])
        told = account.ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]
        return dict(told)

    def _hand_over(
        self,
        account: AwsAccount,
        release: Release,
        live: dict[str, Any] | None,
        green: dict[str, Any],
        context: DeploymentContext,
    ) -> None:
        """Check a machine at its own address, give it the address that stays, and check that."""
        own = f"http://{green.get('PublicIpAddress')}:{self.port}"
        try:
            context.note(check(release, own, context, patience=self.health_timeout_seconds))
            address = _point(account, green)
            context.note(check(release, f"http://{address}:{self.port}", context, patience=MOVED_SECONDS))
        except BaseException as error:
            if live is not None:
                _point(account, live)
            if not isinstance(error, DeploymentError):
                raise
            said = _console(account, green)
            back = "the previous release still runs" if live is not None else "everything was removed"
            hint = error.hint or "check that deployment.ingress_cidrs contains the address of this machine"
            raise DeploymentError(f"{error.message}; {back}", hint="; ".join(filter(None, [hint, said]))) from None


def _told(model: str) -> Any:
    return aws.explained_errors(model, DeploymentError)


def _status(account: AwsAccount) -> DeploymentStatus:
    machines = [
        Resource("machine", each["InstanceId"], f"{each['InstanceType']}, {each['State']['Name']}")
        for each in account.instances()
    ]
    there = (*machines, *surroundings.resources(account))
    live, address = _live(account), account.address()
    if live is None:
        return DeploymentStatus("absent", resources=there)
    tags = {tag["Key"]: tag["Value"] for tag in live.get("Tags", [])}
    release = Release.from_labels(tags)
    place = None if address is None else f"http://{address['PublicIp']}:{tags.get('estimator.public-port')}"
    is_stopped = live["State"]["Name"] in ("stopping", "stopped")
    is_fine = release is not None and place is not None and not is_stopped and is_ready(release, place)
    notes = (f"stops itself at {tags['estimator.expires']}",) if "estimator.expires" in tags else ()
    return DeploymentStatus(
        "ready" if is_fine else "stopped" if is_stopped else "failing", release,
        Release.from_labels(tags, previous=True), tags.get("estimator.settings"), place, there, notes,
    )  # fmt: skip


def _remove(account: AwsAccount, context: DeploymentContext) -> tuple[Resource, ...]:
    machines = account.instances()
    _end(account, machines)
    for each in machines:
        context.note(f"removed machine {each['InstanceId']}")
    surroundings.remove(account, context.note)
    return _status(account).resources


def _is_in_registry(reference: ImageReference, context: DeploymentContext) -> bool:
    if ecr.is_ecr(reference):
        return ecr.has_image(reference)
    return Registry(reference, docker_login(reference.host, context.environment)).digest() is not None


def _live(account: AwsAccount) -> dict[str, Any] | None:
    """Return the machine that has the address, else the newest."""
    machines, address = account.instances(), account.address()
    holder = None if address is None else address.get("InstanceId")
    return next((each for each in machines if each["InstanceId"] == holder), machines[-1] if machines else None)


def _is_as_wished(status: DeploymentStatus, release: Release, settings: EC2Target) -> bool:
    return status.state == "ready" and status.release == release and status.settings == settings.mark(release)


def _machine_steps(
    account: AwsAccount, status: DeploymentStatus, release: Release, settings: EC2Target
) -> Iterator[PlanStep]:
    live = _live(account)
    detail = f"{settings.instance_type}, {release.version}"
    if live is None:
        yield PlanStep("create", "machine", account.name, detail)
    elif _is_as_wished(status, release, settings):
        yield PlanStep("keep", "machine", live["InstanceId"], detail)
    else:
        yield PlanStep("replace", "machine", live["InstanceId"], f"with a new one: {detail}")
    for each in account.instances():
        if live is not None and each["InstanceId"] != live["InstanceId"]:
            yield PlanStep("remove", "machine", each["InstanceId"], "left over from an interrupted deployment")


def _point(account: AwsAccount, machine: Mapping[str, Any]) -> str:
    """Give a machine the address that stays."""
    address = account.address()
    assert address is not None, "the surroundings make it"
    account.ec2.associate_address(
        AllocationId=address["AllocationId"], InstanceId=machine["InstanceId"], AllowReassociation=True
    )
    return str(address["PublicIp"])


def _console(account: AwsAccount, machine: Mapping[str, Any]) -> str:
    """Return the last words of a machine, as far as AWS knows them already."""
    told = account.ec2.get_console_output(InstanceId=machine["InstanceId"]).get("Output", "")
    lines = [line for line in told.splitlines() if line.strip()]
    return f"the machine's console ends: {' | '.join(lines[-3:])}" if lines else ""


def _end_others(account: AwsAccount, machine: Mapping[str, Any]) -> None:
    """End all machines of the model but one."""
    _end(account, [each for each in account.instances() if each["InstanceId"] != machine["InstanceId"]])


def _end(account: AwsAccount, machines: Sequence[Mapping[str, Any]]) -> None:
    """End machines and wait until they are gone."""
    if named := [each["InstanceId"] for each in machines]:
        account.ec2.terminate_instances(InstanceIds=named)
        account.ec2.get_waiter("instance_terminated").wait(InstanceIds=named)
