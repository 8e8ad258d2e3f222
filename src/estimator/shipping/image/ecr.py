"""AWS ECR: create a missing repository, and get a login token.

Credentials are those that boto3 finds; the token is not stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from estimator.core import aws
from estimator.errors import RegistryError
from estimator.shipping.image.registry import ImageReference

HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
# Stored images cost money: untagged ones are useless, and few of the others are ever rolled back to.
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "expire untagged images",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 7,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "keep the last fifty images",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 50},
            "action": {"type": "expire"},
        },
    ]
}


def is_ecr(reference: ImageReference) -> bool:
    """Whether an image is in ECR."""
    return HOST.fullmatch(reference.host) is not None


def authorization(reference: ImageReference) -> str:
    """Return the Authorization header for a repository, valid for twelve hours.

    Raises
    ------
    RegistryError: AWS reports an error.
    """
    with aws.explained_errors(str(reference), RegistryError):
        response = _client(reference).get_authorization_token()["authorizationData"][0]
    return f"Basic {response['authorizationToken']}"


def has_image(reference: ImageReference) -> bool:
    """Whether a repository has the image of a digest.

    Raises
    ------
    RegistryError: AWS reports an error.
    """
    with aws.explained_errors(str(reference), RegistryError):
        client = _client(reference)
        try:
            client.describe_images(repositoryName=reference.repository, imageIds=[{"imageDigest": reference.digest}])
        except (client.exceptions.ImageNotFoundException, client.exceptions.RepositoryNotFoundException):
            return False
        return True


def stored_digest(reference: ImageReference) -> tuple[bool, str | None]:
    """Return whether the repository of an image exists, and the digest that its tag has there, None without one.

    Raises
    ------
    RegistryError: AWS reports an error.
    """
    with aws.explained_errors(str(reference), RegistryError):
        client = _client(reference)
        tag = {"imageTag": reference.tag}
        try:
            found = client.describe_images(repositoryName=reference.repository, imageIds=[tag])
        except client.exceptions.RepositoryNotFoundException:
            return False, None
        except client.exceptions.ImageNotFoundException:
            return True, None
        return True, found["imageDetails"][0]["imageDigest"]


def ensure_repository(reference: ImageReference, tags: dict[str, str], note: Callable[[str], None]) -> bool:
    """Create the repository of an image if it is missing, with scans and a lifecycle policy; return whether it was.

    Raises
    ------
    RegistryError: AWS reports an error.
    """
    with aws.explained_errors(str(reference), RegistryError):
        client = _client(reference)
        try:
            client.create_repository(
                repositoryName=reference.repository,
                imageScanningConfiguration={"scanOnPush": True},
                tags=[{"Key": name, "Value": value} for name, value in tags.items()],
            )
        except client.exceptions.RepositoryAlreadyExistsException:
            return False
        client.put_lifecycle_policy(repositoryName=reference.repository, lifecyclePolicyText=json.dumps(LIFECYCLE))
    note(f"created repository {reference.repository}: scans on push, keeps its last fifty images")
    return True


def _client(reference: ImageReference) -> Any:
    match = HOST.fullmatch(reference.host)
    assert match is not None, "a host of ECR"
    return aws.client("ecr", match["region"])
