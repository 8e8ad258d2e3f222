"""Everything in an AWS account that costs money and has estimator's tag: what it is, how old, and its list price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from estimator.core import aws
from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import PREFIX, Price, Resource
from estimator.shipping.deployment.ec2.account import INSTANCE_STATES, MODEL_TAG
from estimator.shipping.deployment.ec2.prices import price_of

# Where the regions of an account are listed, if its configuration names no region.
FIRST_REGION = "us-east-1"
MAX_THREADS = 8


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model costs in a region: its instances, volumes and addresses.

    `version`, `since` and `expires` are those of the newest instance, None if only other resources are left.
    """

    model: str
    region: str
    version: str | None
    since: datetime | None
    expires: datetime | None
    resources: tuple[Resource, ...]
    price: Price


def costs(region: str | None) -> tuple[list[ModelCost], list[str]]:
    """Return what costs money in a region, or in all regions of the account, and a sentence for each unread region.

    Raises
    ------
    DeploymentError: AWS reports an error in every region.
    """
    if region is not None:
        return _costs_in(region, aws.clients("ec2", [region])[0]), []
    with aws.explained_errors("AWS", DeploymentError):
        first = aws.clients("ec2", [aws.default_region() or FIRST_REGION])[0]
        regions = sorted(item["RegionName"] for item in first.describe_regions()["Regions"])
    found, notes = list[ModelCost](), list[str]()
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        for item in pool.map(_costs_or_error, regions, aws.clients("ec2", regions)):
            if isinstance(item, DeploymentError):
                notes.append(f"not read: {item.message}")
            else:
                found += item
    if len(notes) == len(regions):
        raise DeploymentError(notes[0].removeprefix("not read: "), hint="docs/how-to/deploy.md lists the permissions")
    return found, notes


def _costs_or_error(region: str, client: Any) -> list[ModelCost] | DeploymentError:
    try:
        return _costs_in(region, client)
    except DeploymentError as error:
        return error


def _costs_in(region: str, client: Any) -> list[ModelCost]:
    tagged = {"Name": "tag-key", "Values": [MODEL_TAG]}
    alive = {"Name": "instance-state-name", "Values": list(INSTANCE_STATES)}
    with aws.explained_errors(region, DeploymentError):
        instances = [
            instance
            for page in client.get_paginator("describe_instances").paginate(Filters=[tagged, alive])
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        ]
        volumes = [
            volume
            for page in client.get_paginator("describe_volumes").paginate(Filters=[tagged])
            for volume in page["Volumes"]
        ]
        addresses = client.describe_addresses(Filters=[tagged])["Addresses"]
    by_model = tuple(_by_model(items) for items in (instances, volumes, addresses))
    models = sorted({model for group in by_model for model in group})
    return [_cost_of(model, region, *(group[model] for group in by_model)) for model in models]


def _by_model(items: Sequence[Mapping[str, Any]]) -> Mapping[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        groups[_tags(item)[MODEL_TAG]].append(item)
    return groups


def _cost_of(
    model: str,
    region: str,
    instances: Sequence[Mapping[str, Any]],
    volumes: Sequence[Mapping[str, Any]],
    addresses: Sequence[Mapping[str, Any]],
) -> ModelCost:
    newest = max(instances, key=lambda instance: instance["LaunchTime"], default=None)
    tags = {} if newest is None else _tags(newest)
    expires = tags.get(f"{PREFIX}expires")
    running = [instance for instance in instances if instance["State"]["Name"] in ("pending", "running")]
    # An instance without an elastic address has one that AWS gave it.
    public = {item["PublicIp"] for item in addresses} | {item.get("PublicIpAddress") for item in running} - {None}
    known = [volume["Size"] for volume in volumes if volume["VolumeType"] == "gp3"]
    price = price_of(
        region,
        instance_types=[instance["InstanceType"] for instance in running],
        disks_gb=known,
        n_addresses=len(public),
    )
    others = [f"disk of type {volume['VolumeType']}" for volume in volumes if volume["VolumeType"] != "gp3"]
    return ModelCost(
        model,
        region,
        tags.get(f"{PREFIX}version"),
        None if newest is None else newest["LaunchTime"],
        None if expires is None else datetime.fromisoformat(expires),
        tuple(_resources(instances, volumes, addresses)),
        Price(price.hourly, price.as_of, (*price.unknown, *dict.fromkeys(others))),
    )


def _resources(
    instances: Sequence[Mapping[str, Any]], volumes: Sequence[Mapping[str, Any]], addresses: Sequence[Mapping[str, Any]]
) -> Iterator[Resource]:
    for item in instances:
        yield Resource("instance", item["InstanceId"], f"{item['InstanceType']}, {item['State']['Name']}")
    for item in volumes:
        yield Resource("volume", item["VolumeId"], f"{item['Size']} GB, {item['State']}")
    for item in addresses:
        yield Resource("address", item["PublicIp"], "" if "AssociationId" in item else "not used")


def _tags(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item["Tags"]}
