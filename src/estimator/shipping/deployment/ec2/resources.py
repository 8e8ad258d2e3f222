"""What a machine of EC2 stands in: a role, a security group, a key pair and an address, made once and removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import Action, PlanStep, Resource
from estimator.shipping.deployment.ec2.account import AwsAccount, until_taken
from estimator.shipping.image.ecr import HOST
from estimator.shipping.image.registry import parse_reference

POLICY = "estimator"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}  # fmt: skip
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
# AWS needs a while until nothing holds a group any more.
PATIENCE, PAUSE = 180.0, 2.0


@dataclass(frozen=True)
class DesiredResources:
    """What the surroundings are to be: the ports and who may reach them, a public key, and what the role may read.

    `rules` are pairs of a port and a network; `parameters` are names of SSM.
    """

    rules: frozenset[tuple[int, str]]
    image: str
    vpc: str
    public_key: Path | None = None
    parameters: tuple[str, ...] = ()


def policy(account: AwsAccount, wish: DesiredResources) -> dict[str, Any]:
    """Return what the machine's role may do: fetch this image and read these parameters, nothing else."""
    statements: list[dict[str, Any]] = []
    reference = parse_reference(wish.image)
    if found := HOST.fullmatch(reference.host):
        repository = f"arn:aws:ecr:{found['region']}:{found['account']}:repository/{reference.repository}"
        statements = [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": list(PULL), "Resource": repository},
        ]
    if wish.parameters:
        names = [
            f"arn:aws:ssm:{account.region}:{account.number}:parameter/{name.lstrip('/')}" for name in wish.parameters
        ]
        statements.append({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": names})
    return {"Version": "2012-10-17", "Statement": statements}


def steps(account: AwsAccount, wish: DesiredResources) -> Iterator[PlanStep]:
    """Yield what would be done for the surroundings."""
    wanted = policy(account, wish)
    may = ", ".join(action for each in wanted["Statement"] for action in _listed(each["Action"])) or "nothing"
    found: Action = "create" if account.role() is None else "keep" if _policy(account) == wanted else "change"
    yield PlanStep(found, "role", account.name, f"may {may}")
    group = account.security_group()
    allowed = ", ".join(f"port {port} from {network}" for port, network in sorted(wish.rules)) or "no ingress"
    found = "create" if group is None else "keep" if _rules(group) == wish.rules else "change"
    yield PlanStep(found, "security group", account.name, allowed)
    pair = account.key_pair()
    if wish.public_key is not None or pair is not None:
        found = "remove" if wish.public_key is None else "create" if pair is None else "keep"
        yield PlanStep(found, "key pair", account.name, str(wish.public_key or ""))
    address = account.address()
    yield PlanStep(
        "create" if address is None else "keep", "address", account.name, (address or {}).get("PublicIp", "")
    )


def ensure(account: AwsAccount, wish: DesiredResources, note: Callable[[str], None]) -> str:
    """Make or change what is not as wished; return the security group's id."""
    _ensure_role(account, wish, note)
    group = _ensure_group(account, wish, note)
    _ensure_key_pair(account, wish, note)
    if account.address() is None:
        account.ec2.allocate_address(Domain="vpc", TagSpecifications=account.tagged("elastic-ip"))
        note(f"created address {account.name}")
    return group


def resources(account: AwsAccount) -> Iterator[Resource]:
    """Yield what is there of the surroundings."""
    if account.role() is not None:
        yield Resource("role", account.name)
    if group := account.security_group():
        yield Resource("security group", group["GroupId"])
    if pair := account.key_pair():
        yield Resource("key pair", pair["KeyName"])
    if address := account.address():
        yield Resource("address", address["PublicIp"])


def remove(account: AwsAccount, note: Callable[[str], None]) -> None:
    """Remove the surroundings, once no machine stands in them."""
    if address := account.address():
        account.ec2.release_address(AllocationId=address["AllocationId"])
        note(f"removed address {address['PublicIp']}")
    if group := account.security_group():
        until_taken(
            lambda: account.ec2.delete_security_group(GroupId=group["GroupId"]),
            codes=("DependencyViolation",), seconds=PATIENCE, pause=PAUSE,
        )  # fmt: skip
        note(f"removed security group {group['GroupId']}")
    if pair := account.key_pair():
        account.ec2.delete_key_pair(KeyName=pair["KeyName"])
        note(f"removed key pair {pair['KeyName']}")
    _remove_role(account, note)


def _ensure_role(account: AwsAccount, wish: DesiredResources, note: Callable[[str], None]) -> None:
    iam, name, wanted = account.iam, account.name, policy(account, wish)
    if account.role() is None:
        iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=account.tag_list(),
            Description="What a machine that serves a model may do",
        )  # fmt: skip
        note(f"created role {name}")
    if _policy(account) != wanted:
        if wanted["Statement"]:
            iam.put_role_policy(RoleName=name, PolicyName=POLICY, PolicyDocument=json.dumps(wanted))
        else:
            iam.delete_role_policy(RoleName=name, PolicyName=POLICY)
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
            iam.delete_role_policy(RoleName=name, PolicyName=POLICY)
        iam.delete_role(RoleName=name)
        note(f"removed role {name}")


def _policy(account: AwsAccount) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = account.iam.get_role_policy(RoleName=account.name, PolicyName=POLICY)["PolicyDocument"]
    except account.iam.exceptions.NoSuchEntityException:
        return None
    return found


def _profile(account: AwsAccount) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = account.iam.get_instance_profile(InstanceProfileName=account.name)["InstanceProfile"]
    except account.iam.exceptions.NoSuchEntityException:
        return None
    return found


def _ensure_group(account: AwsAccount, wish: DesiredResources, note: Callable[[str], None]) -> str:
    group = account.security_group()
    if group is None:
        made: str = account.ec2.create_security_group(
            GroupName=account.name, Description=f"Who may ask {account.model}", VpcId=wish.vpc,
            TagSpecifications=account.tagged("security-group"),
        )["GroupId"]  # fmt: skip
        note(f"created security group {made}")
        group = {"GroupId": made, "IpPermissions": []}
    elif group["VpcId"] != wish.vpc:
        raise DeploymentError(
            f"security group {group['GroupId']} is in {group['VpcId']}, and deployment.subnet in {wish.vpc}",
            hint=f"estimator down {account.model} first",
        )
    have, found = _rules(group), str(group["GroupId"])
    # First who may come, then who may no longer: nobody who stays is shut out in between.
    if new := wish.rules - have:
        account.ec2.authorize_security_group_ingress(GroupId=found, IpPermissions=_permissions(new))
    if old := have - wish.rules:
        account.ec2.revoke_security_group_ingress(GroupId=found, IpPermissions=_permissions(old))
    return found


def _rules(group: Mapping[str, Any]) -> frozenset[tuple[int, str]]:
    return frozenset(
        (rule["FromPort"], network)
        for rule in group["IpPermissions"]
        for network in [
            *(item["CidrIp"] for item in rule["IpRanges"]),
            *(item["CidrIpv6"] for item in rule.get("Ipv6Ranges", [])),
        ]
    )


def _permissions(rules: Sequence[tuple[int, str]] | frozenset[tuple[int, str]]) -> list[dict[str, Any]]:
    return [
        {
            "IpProtocol": "tcp", "FromPort": port, "ToPort": port,
            **({"Ipv6Ranges": [{"CidrIpv6": network}]} if ":" in network else {"IpRanges": [{"CidrIp": network}]}),
        }
        for port, network in sorted(rules)
    ]  # fmt: skip


def _ensure_key_pair(account: AwsAccount, wish: DesiredResources, note: Callable[[str], None]) -> None:
    pair = account.key_pair()
    if pair is not None and wish.public_key is None:
        account.ec2.delete_key_pair(KeyName=pair["KeyName"])
    if pair is None and wish.public_key is not None:
        account.ec2.import_key_pair(
            KeyName=account.name, PublicKeyMaterial=wish.public_key.read_bytes(),
            TagSpecifications=account.tagged("key-pair"),
        )  # fmt: skip
        note(f"created key pair {account.name} from {wish.public_key}")


def _listed(actions: str | Sequence[str]) -> Sequence[str]:
    return [actions] if isinstance(actions, str) else actions
