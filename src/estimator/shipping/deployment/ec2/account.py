"""An account of AWS and a region, as the deployment of a model sees it: what is there by our tags, and a lock."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from estimator.core import aws
from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import PREFIX

MODEL = f"{PREFIX}model"
# A lock that is older was left by a process that is gone.
LOCK_TIME = timedelta(minutes=30)
ALIVE = ("pending", "running", "stopping", "stopped")


@dataclass(frozen=True)
class AwsAccount:
    """One model in one region: its clients, its name there, and the tags of all that is made."""

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
        """The account's own number."""
        found: str = aws.client("sts", self.region).get_caller_identity()["Account"]
        return found

    @property
    def name(self) -> str:
        """What the model's things are called, in this region: as IAM takes it, which knows no regions."""
        name = f"estimator-{self.model}-{self.region}"
        return name if len(name) <= 64 else f"{name[:55]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    def tagged(self, kind: str, **more: str) -> list[dict[str, Any]]:
        """Return how a new thing of EC2 is tagged."""
        return [{"ResourceType": kind, "Tags": self.tag_list({"Name": self.name, **more})}]

    def tag_list(self, more: Mapping[str, str] | None = None) -> list[dict[str, str]]:
        """Return our tags, the user's and more, in AWS's form."""
        return [{"Key": key, "Value": value} for key, value in {**self.tags, MODEL: self.model, **(more or {})}.items()]

    def ours(self) -> list[dict[str, Any]]:
        """Return the filter that finds what is tagged with the model."""
        return [{"Name": f"tag:{MODEL}", "Values": [self.model]}]

    def instances(self) -> list[dict[str, Any]]:
        """Return the model's machines that are not ended, the oldest first."""
        filters = [*self.ours(), {"Name": "instance-state-name", "Values": list(ALIVE)}]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        found = [each for page in pages for group in page["Reservations"] for each in group["Instances"]]
        return sorted(found, key=lambda each: (each["LaunchTime"], each["InstanceId"]))

    def address(self) -> dict[str, Any] | None:
        """Return the model's fixed address."""
        found: list[dict[str, Any]] = self.ec2.describe_addresses(Filters=self.ours())["Addresses"]
        return found[0] if found else None

    def security_group(self) -> dict[str, Any] | None:
        """Return the model's security group."""
        found: list[dict[str, Any]] = self.ec2.describe_security_groups(Filters=self.ours())["SecurityGroups"]
        return found[0] if found else None

    def key_pair(self) -> dict[str, Any] | None:
        """Return the model's key pair."""
        found: list[dict[str, Any]] = self.ec2.describe_key_pairs(Filters=self.ours())["KeyPairs"]
        return found[0] if found else None

    def role(self) -> dict[str, Any] | None:
        """Return the model's role, None also when one of that name is not ours."""
        try:
            found: dict[str, Any] = self.iam.get_role(RoleName=self.name)["Role"]
        except self.iam.exceptions.NoSuchEntityException:
            return None
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        if tags.get(MODEL) != self.model:
            raise DeploymentError(
                f"role {self.name}: exists, but was not created by estimator", hint="remove it, or rename the model"
            )
        return found

    @contextmanager
    def lock(self, who: str, note: Any) -> Iterator[None]:
        """Keep everybody else who may change this account from the model, for a block.

        The lock is a parameter of SSM, which AWS makes once only.
        """
        name, now = f"/estimator/{self.model}/lock", datetime.now(UTC)
        own = {"who": who, "since": now.isoformat(timespec="seconds"), "host": socket.gethostname(), "pid": os.getpid()}
        told = json.dumps(own)
        for tries_again in (True, False):
            try:
                self.ssm.put_parameter(Name=name, Value=told, Type="String", Overwrite=False, Tags=self.tag_list())
                break
            except self.ssm.exceptions.ParameterAlreadyExists:
                holder = json.loads(self.ssm.get_parameter(Name=name)["Parameter"]["Value"])
                if not (tries_again and _is_left_behind(holder, now)):
                    raise DeploymentError(
                        f"{self.model}: {holder['who']} has been deploying since {holder['since']}",
                        hint="wait until it ends; to remove a stale lock: "
                        f"aws ssm delete-parameter --region {self.region} --name {name}",
                    ) from None
                note(f"a lock of {holder['who']} from {holder['since']} is stale and was removed")
                self.ssm.delete_parameter(Name=name)
        try:
            yield
        finally:
            self.ssm.delete_parameter(Name=name)


def _is_left_behind(holder: Mapping[str, Any], now: datetime) -> bool:
    """Whether a lock is older than any deployment takes, or of a process of this machine that is gone."""
    if now - datetime.fromisoformat(holder["since"]) > LOCK_TIME:
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


def until_taken(call: Any, *, codes: tuple[str, ...], seconds: float, pause: float) -> Any:
    """Call again while AWS refuses with one of some words: it learns slowly of what has just been made or ended."""
    from botocore.exceptions import ClientError

    began = time.monotonic()
    while True:
        try:
            return call()
        except ClientError as error:
            if aws.error_code(error) not in codes or time.monotonic() - began > seconds:
                raise
            time.sleep(pause)
