"""The resources around an EC2 instance: role, security group, key pair and Elastic IP address."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import Action, PlanStep, Resource
from estimator.shipping.deployment.ec2.account import MODEL_TAG, AwsAccount, retry_on
from estimator.shipping.image.ecr import HOST
from estimator.shipping.image.registry import parse_reference

POLICY_NAME = "estimator"
TRUST_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
PULL_ACTIONS = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
# A terminated instance keeps its security group in use for a while.
RELEASE_TIMEOUT_SECONDS = 180.0
RELEASE_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class DesiredResources:
    """The desired state of the resources.

    `rules` are the ingress rules, as (port, network); `parameters` are the SSM parameters that the role can read. An
    instance that `expires` can release the model's Elastic IP address.
    """

    rules: frozenset[tuple[int, str]]
    image: str
    vpc: str
    public_key: Path | None = None
    parameters: tuple[str, ...] = ()
    expires: bool = False


def policy(account: AwsAccount, desired: DesiredResources) -> dict[str, Any]:
    """Return the policy of the instance's role: pull the image, read the parameters, release the address at expiry."""
    statements: list[dict[str, Any]] = []
    reference = parse_reference(desired.image)
    if host := HOST.fullmatch(reference.host):
        repository = f"arn:aws:ecr:{host['region']}:{host['account']}:repository/{reference.repository}"
        statements = [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": list(PULL_ACTIONS), "Resource": repository},
        ]
    if desired.parameters:
        names = [
            f"arn:aws:ssm:{account.region}:{account.number}:parameter/{name.lstrip('/')}" for name in desired.parameters
        ]
        statements.append({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": names})
    return {"Version": "2012-10-17", "Statement": [*statements, *(_release(account) if desired.expires else [])]}


def _release(account: AwsAccount) -> list[dict[str, Any]]:
    """Return the statements by which an instance releases its own address: only one with the tag of the model."""
    resource = f"arn:aws:ec2:{account.region}:{account.number}:{{}}/*".format
    return [
        {"Effect": "Allow", "Action": "ec2:DescribeAddresses", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["ec2:DisassociateAddress", "ec2:ReleaseAddress"],
            "Resource": resource("elastic-ip"),
            "Condition": {"StringEquals": {f"aws:ResourceTag/{MODEL_TAG}": account.model}},
        },
        # The other side of the association.
        {
            "Effect": "Allow",
            "Action": "ec2:DisassociateAddress",
            "Resource": [resource("instance"), resource("network-interface")],
        },
    ]


def steps(account: AwsAccount, desired: DesiredResources) -> Iterator[PlanStep]:
    """Yield the steps to the desired state."""
    new_policy = policy(account, desired)
    actions = [action for statement in new_policy["Statement"] for action in _as_list(statement["Action"])]
    step: Action = "create" if account.role() is None else "keep" if _policy(account) == new_policy else "change"
    yield PlanStep(step, "role", account.name, f"can {', '.join(actions) or 'do nothing'}")
    group = account.security_group()
    rules = ", ".join(f"port {port} from {network}" for port, network in sorted(desired.rules)) or "no ingress"
    step = "create" if group is None else "keep" if _rules(group) == desired.rules else "change"
    yield PlanStep(step, "security group", account.name, rules)
    pair = account.key_pair()
    if desired.public_key is not None or pair is not None:
        step = "remove" if desired.public_key is None else "create" if pair is None else "keep"
        yield PlanStep(step, "key pair", account.name, str(desired.public_key or ""))
    address = account.address()
    yield PlanStep(
        "create" if address is None else "keep", "address", account.name, (address or {}).get("PublicIp", "")
    )


def ensure(account: AwsAccount, desired: DesiredResources, note: Callable[[str], None]) -> str:
    """Create or change resources to the desired state; return the id of the security group."""
    _ensure_role(account, desired, note)
    group = _ensure_group(account, desired, note)
    _ensure_key_pair(account, desired, note)
    if account.address() is None:
        account.ec2.allocate_address(Domain="vpc", TagSpecifications=account.tag_specification("elastic-ip"))
        note(f"created address {account.name}")
    return group


def resources(account: AwsAccount) -> Iterator[Resource]:
    """Yield the resources that exist."""
    if account.role() is not None:
        yield Resource("role", account.name)
    if group := account.security_group():
        yield Resource("security group", group["GroupId"])
    if pair := account.key_pair():
        yield Resource("key pair", pair["KeyName"])
    for address in account.addresses():
        yield Resource("address", address["PublicIp"])
    for volume in account.free_volumes():
        yield Resource("volume", volume["VolumeId"], f"{volume['Size']} GB")


def remove(account: AwsAccount, note: Callable[[str], None]) -> None:
    """Remove all resources; there must be no instance any more."""
    for address in account.addresses():
        account.ec2.release_address(AllocationId=address["AllocationId"])
        note(f"removed address {address['PublicIp']}")
    for volume in account.free_volumes():
        account.ec2.delete_volume(VolumeId=volume["VolumeId"])
        note(f"removed volume {volume['VolumeId']}")
    if group := account.security_group():
        retry_on(
            lambda: account.ec2.delete_security_group(GroupId=group["GroupId"]),
            codes=("DependencyViolation",),
            timeout_seconds=RELEASE_TIMEOUT_SECONDS,
            pause_seconds=RELEASE_PAUSE_SECONDS,
        )
        note(f"removed security group {group['GroupId']}")
    if pair := account.key_pair():
        account.ec2.delete_key_pair(KeyName=pair["KeyName"])
        note(f"removed key pair {pair['KeyName']}")
    _remove_role(account, note)


def _ensure_role(account: AwsAccount, desired: DesiredResources, note: Callable[[str], None]) -> None:
    iam, name, new_policy = account.iam, account.name, policy(account, desired)
    if account.role() is None:
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(TRUST_POLICY),
            Tags=account.tag_list(),
            Description="Role of an instance that serves a model",
        )
        note(f"created role {name}")
    if _policy(account) != new_policy:
        if new_policy["Statement"]:
            iam.put_role_policy(RoleName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(new_policy))
        else:
            iam.delete_role_policy(RoleName=name, PolicyName=POLICY_NAME)
    profile = _profile(account)
    if profile is None:
        profile = iam.create_instance_profile(InstanceProfileName=name, Tags=account.tag_list())["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def _remove_role(account: AwsAccount, note: Callable[[str], None]) -> None:
    iam, name = account.iam, account.name
    if (profile := _profile(account)) is not None:
        for role in profile["Roles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role["RoleName"])
        iam.delete_instance_profile(InstanceProfileName=name)
    if account.role() is not None:
        if _policy(account) is not None:
            iam.delete_role_policy(RoleName=name, PolicyName=POLICY_NAME)
        iam.delete_role(RoleName=name)
        note(f"removed role {name}")


def _policy(account: AwsAccount) -> dict[str, Any] | None:
    try:
        response = account.iam.get_role_policy(RoleName=account.name, PolicyName=POLICY_NAME)
    except account.iam.exceptions.NoSuchEntityException:
        return None
    document: dict[str, Any] = response["PolicyDocument"]
    return document


def _profile(account: AwsAccount) -> dict[str, Any] | None:
    try:
        response = account.iam.get_instance_profile(InstanceProfileName=account.name)
    except account.iam.exceptions.NoSuchEntityException:
        return None
    profile: dict[str, Any] = response["InstanceProfile"]
    return profile


def _ensure_group(account: AwsAccount, desired: DesiredResources, note: Callable[[str], None]) -> str:
    group = account.security_group()
    if group is None:
        response = account.ec2.create_security_group(
            GroupName=account.name,
            Description=f"Clients of {account.model}",
            VpcId=desired.vpc,
            TagSpecifications=account.tag_specification("security-group"),
        )
        note(f"created security group {response['GroupId']}")
        group = {"GroupId": response["GroupId"], "IpPermissions": []}
    elif group["VpcId"] != desired.vpc:
        raise DeploymentError(
            f"security group {group['GroupId']} is in {group['VpcId']}, and deployment.subnet in {desired.vpc}",
            hint=f"estimator down {account.model} first",
        )
    rules, group_id = _rules(group), str(group["GroupId"])
    # New rules come first, so that clients with access before and after keep it in between.
    if new := desired.rules - rules:
        account.ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=_permissions(new))
    if old := rules - desired.rules:
        account.ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=_permissions(old))
    return group_id


def _rules(group: Mapping[str, Any]) -> frozenset[tuple[int, str]]:
    return frozenset(
        (rule["FromPort"], network)
        for rule in group["IpPermissions"]
        for network in [
            *(item["CidrIp"] for item in rule["IpRanges"]),
            *(item["CidrIpv6"] for item in rule.get("Ipv6Ranges", [])),
        ]
    )


def _permissions(rules: frozenset[tuple[int, str]]) -> list[dict[str, Any]]:
    """Return ingress rules in the form of AWS."""
    permissions: list[dict[str, Any]] = []
    for port, network in sorted(rules):
        ranges = {"Ipv6Ranges": [{"CidrIpv6": network}]} if ":" in network else {"IpRanges": [{"CidrIp": network}]}
        permissions.append({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **ranges})
    return permissions


def _ensure_key_pair(account: AwsAccount, desired: DesiredResources, note: Callable[[str], None]) -> None:
    pair = account.key_pair()
    if pair is not None and desired.public_key is None:
        account.ec2.delete_key_pair(KeyName=pair["KeyName"])
    if pair is None and desired.public_key is not None:
        account.ec2.import_key_pair(
            KeyName=account.name,
            PublicKeyMaterial=desired.public_key.read_bytes(),
            TagSpecifications=account.tag_specification("key-pair"),
        )
        note(f"created key pair {account.name} from {desired.public_key}")


def _as_list(actions: str | Sequence[str]) -> Sequence[str]:
    return [actions] if isinstance(actions, str) else actions
