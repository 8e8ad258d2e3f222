"""AWS's registry of images, ECR: a repository that is made when it is missing, and the token to be let in with.

Credentials come from AWS's own chain; the token is never written anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from estimator.errors import RegistryError, needs_extra
from estimator.image.registry import Reference

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


def is_ecr(reference: Reference) -> bool:
    """Whether an image is in AWS's registry."""
    return HOST.fullmatch(reference.host) is not None


def authorization(reference: Reference) -> str:
    """Return what a repository of ECR is sent to let us in; good for half a day.

    Raises
    ------
    RegistryError: AWS does not give it.
    """
    with _told(reference):
        told = _client(reference).get_authorization_token()["authorizationData"][0]
    return f"Basic {told['authorizationToken']}"


def ensure_repository(reference: Reference, tags: dict[str, str], note: Callable[[str], None]) -> bool:
    """Make the repository of an image if there is none, scanned on push and tidied up; return whether it was made.

    Raises
    ------
    RegistryError: AWS refuses.
    """
    with _told(reference):
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
    note(f"repository {reference.repository}: made, scanned on push, keeps its last fifty images")
    return True


def _client(reference: Reference) -> Any:
    found = HOST.fullmatch(reference.host)
    assert found is not None, "an address of ECR"
    with needs_extra("deploy", "AWS"):
        import boto3
    return boto3.session.Session().client("ecr", region_name=found["region"])


@contextmanager
def _told(reference: Reference) -> Iterator[None]:
    """Tell what AWS refuses, and the way out."""
    with needs_extra("deploy", "AWS"):
        from botocore import exceptions
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise RegistryError(
            f"{reference}: AWS knows no credentials of yours: {error}", hint="aws configure, or set AWS_PROFILE"
        ) from None
    except exceptions.ClientError as error:
        code, message = (error.response.get("Error", {}).get(name, "") for name in ("Code", "Message"))
        raise RegistryError(f"{reference}: AWS says {code}: {message}", hint=_way_out(code, message)) from None
    except exceptions.BotoCoreError as error:
        raise RegistryError(f"{reference}: AWS cannot be asked: {error}", hint="is the network there?") from None


def _way_out(code: str, message: str) -> str | None:
    if code in ("ExpiredToken", "ExpiredTokenException"):
        return "log in to AWS again, for example with `aws sso login`"
    if code in ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"):
        return "the credentials are of no account: check AWS_PROFILE and the environment"
    if "AccessDenied" in code or "not authorized" in message:
        return (
            "your user may not do this: it needs ecr:GetAuthorizationToken, ecr:CreateRepository, "
            "ecr:PutLifecyclePolicy, ecr:TagResource, and to push"
        )
    return None
