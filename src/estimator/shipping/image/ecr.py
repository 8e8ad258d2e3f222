"""AWS's registry of images, ECR: a repository that is made when it is missing, and the token to be let in with.

Credentials come from AWS's own chain; the token is never written anywhere.
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
# Images without a tag cost money and are of no use; of the others the last fifty are kept.
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "drop what has no tag",
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
            "description": "keep the last fifty",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 50},
            "action": {"type": "expire"},
        },
    ]
}


def is_ecr(reference: ImageReference) -> bool:
    """Whether an image is in AWS's registry."""
    return HOST.fullmatch(reference.host) is not None


def authorization(reference: ImageReference) -> str:
    """Return what a repository of ECR is sent to let us in; good for half a day.

    Raises
    ------
    RegistryError: AWS does not give it.
    """
    with aws.explained_errors(str(reference), RegistryError):
        told = _client(reference).get_authorization_token()["authorizationData"][0]
    return f"Basic {told['authorizationToken']}"


def has_image(reference: ImageReference) -> bool:
    """Whether a repository of ECR has an image, by its digest.

    Raises
    ------
    RegistryError: AWS does not say.
    """
    with aws.explained_errors(str(reference), RegistryError):
        client = _client(reference)
        try:
            client.describe_images(repositoryName=reference.repository, imageIds=[{"imageDigest": reference.digest}])
        except (client.exceptions.ImageNotFoundException, client.exceptions.RepositoryNotFoundException):
            return False
        return True


def ensure_repository(reference: ImageReference, tags: dict[str, str], note: Callable[[str], None]) -> bool:
    """Make the repository of an image if there is none, scanned on push and tidied up; return whether it was made.

    Raises
    ------
    RegistryError: AWS refuses.
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
    found = HOST.fullmatch(reference.host)
    assert found is not None, "an address of ECR"
    return aws.client("ecr", found["region"])
