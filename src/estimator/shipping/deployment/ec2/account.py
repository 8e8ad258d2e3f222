"""A model's resources in an AWS account and region, found by their tags, and the deployment lock."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from estimator.core import aws
from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import PREFIX

MODEL_TAG = f"{PREFIX}model"
# No deployment takes longer: an older lock was left by a process that was killed.
MAX_LOCK_AGE = timedelta(minutes=30)
INSTANCE_STATES = ("pending", "running", "stopping", "stopped")


@dataclass(frozen=True)
class AwsAccount:
    """One model in one region: the clients of AWS, the name of all resources, and their tags."""

    region: str
    model: str
    tags: Mapping[str, str]

    @cached_property
    def ec2(self) -> Any:
        return aws.client("ec2", self.region)

    @cached_property
    def iam(self) -> Any:
        return aws.client("iam", self.region)

    @cached_property
    def ssm(self) -> Any:
        return aws.client("ssm", self.region)

    @cached_property
    def number(self) -> str:
        """The number of the account."""
        number: str = aws.client("sts", self.region).get_caller_identity()["Account"]
        return number

    @property
    def name(self) -> str:
        """The name of all resources; it has the region, as names of IAM are shared by all regions."""
        name = f"estimator-{self.model}-{self.region}"
        return name if len(name) <= 64 else f"{name[:55]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    def tag_specification(self, resource_type: str, **more: str) -> list[dict[str, Any]]:
        """Return the TagSpecifications of a new resource of EC2."""
        return [{"ResourceType": resource_type, "Tags": self.tag_list({"Name": self.name, **more})}]

    def tag_list(self, more: Mapping[str, str] | None = None) -> list[dict[str, str]]:
        """Return the tags of deployment.tags, the model's and more, in the form of AWS."""
        tags = {**self.tags, MODEL_TAG: self.model, **(more or {})}
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    def model_filter(self) -> list[dict[str, Any]]:
        """Return the filter for resources of the model."""
        return [{"Name": f"tag:{MODEL_TAG}", "Values": [self.model]}]

    def instances(self) -> list[dict[str, Any]]:
        """Return the model's instances that are not terminated, the oldest first."""
        filters = [*self.model_filter(), {"Name": "instance-state-name", "Values": list(INSTANCE_STATES)}]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        reservations = [reservation for page in pages for reservation in page["Reservations"]]
        instances = [instance for reservation in reservations for instance in reservation["Instances"]]
        return sorted(instances, key=lambda instance: (instance["LaunchTime"], instance["InstanceId"]))

    def addresses(self) -> list[dict[str, Any]]:
        """Return the model's Elastic IP addresses, normally one."""
        return list(self.ec2.describe_addresses(Filters=self.model_filter())["Addresses"])

    def address(self) -> dict[str, Any] | None:
        """Return the model's Elastic IP address."""
        return next(iter(self.addresses()), None)

    def free_volumes(self) -> list[dict[str, Any]]:
        """Return the model's volumes that no instance has, which normally are deleted with their instance."""
        filters = [*self.model_filter(), {"Name": "status", "Values": ["available"]}]
        return list(self.ec2.describe_volumes(Filters=filters)["Volumes"])

    def security_group(self) -> dict[str, Any] | None:
        """Return the model's security group."""
        return next(iter(self.ec2.describe_security_groups(Filters=self.model_filter())["SecurityGroups"]), None)

    def key_pair(self) -> dict[str, Any] | None:
        """Return the model's key pair."""
        return next(iter(self.ec2.describe_key_pairs(Filters=self.model_filter())["KeyPairs"]), None)

    def role(self) -> dict[str, Any] | None:
        """Return the model's role; DeploymentError if a role of that name was not created for the model."""
        try:
            role: dict[str, Any] = self.iam.get_role(RoleName=self.name)["Role"]
        except self.iam.exceptions.NoSuchEntityException:
            return None
        tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])}
        if tags.get(MODEL_TAG) != self.model:
            raise DeploymentError(
                f"role {self.name}: exists, but was not created by estimator", hint="remove it, or rename the model"
            )
        return role

    @contextmanager
    def lock(self, user: str, note: Callable[[str], None]) -> Iterator[None]:
        """Lock the model's deployment, in the whole account, while the context is open.

        The lock is an SSM parameter: AWS creates a name only once.
        """
        name, now = f"/estimator/{self.model}/lock", datetime.now(UTC)
        host, pid = socket.gethostname(), os.getpid()
        value = json.dumps({"user": user, "since": now.isoformat(timespec="seconds"), "host": host, "pid": pid})
        for may_retry in (True, False):
            try:
                self.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=False, Tags=self.tag_list())
                break
            except self.ssm.exceptions.ParameterAlreadyExists:
                holder = json.loads(self.ssm.get_parameter(Name=name)["Parameter"]["Value"])
                if not (may_retry and _is_stale(holder, now)):
                    raise DeploymentError(
                        f"{self.model}: {holder['user']} has been deploying since {holder['since']}",
                        hint="wait until it ends; to remove a stale lock: "
                        f"aws ssm delete-parameter --region {self.region} --name {name}",
                    ) from None
                note(f"a lock of {holder['user']} from {holder['since']} is stale and was removed")
                self.ssm.delete_parameter(Name=name)
        try:
            yield
        finally:
            self.ssm.delete_parameter(Name=name)


def _is_stale(holder: Mapping[str, Any], now: datetime) -> bool:
    """Whether a lock is too old, or of a process of this machine that no longer runs."""
    if now - datetime.fromisoformat(holder["since"]) > MAX_LOCK_AGE:
        return True
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def retry_on(call: Callable[[], Any], *, codes: tuple[str, ...], timeout_seconds: float, pause_seconds: float) -> Any:
    """Call until AWS no longer returns one of some error codes: resources become visible only after a while."""
    from botocore.exceptions import ClientError

    started_at = time.monotonic()
    while True:
        try:
            return call()
        except ClientError as error:
            if aws.error_code(error) not in codes or time.monotonic() - started_at > timeout_seconds:
                raise
            time.sleep(pause_seconds)
