"""AWS through boto3, which finds the credentials; errors are explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from estimator.errors import EstimatorError, needs_extra


def client(service: str, region: str | None = None) -> Any:
    """Return a client of a service, in a region or in the default one."""
    with needs_extra("deploy", "AWS"):
        import boto3
    return boto3.session.Session().client(service, region_name=region)


def clients(service: str, regions: Sequence[str]) -> list[Any]:
    """Return a client of a service in each region, of one session, which reads the description of the service once."""
    with needs_extra("deploy", "AWS"):
        import boto3
    session = boto3.session.Session()
    return [session.client(service, region_name=region) for region in regions]


def default_region() -> str | None:
    """Return the region of the environment or of the AWS config, None if there is none."""
    with needs_extra("deploy", "AWS"):
        import boto3
    region: str | None = boto3.session.Session().region_name
    return region


@contextmanager
def explained_errors(subject: str, kind: type[EstimatorError]) -> Iterator[None]:
    """Turn errors of AWS into an error of a kind whose message starts with `subject`, with a hint."""
    with needs_extra("deploy", "AWS"):
        from botocore import exceptions
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise kind(
            f"{subject}: no AWS credentials found: {error}", hint="run `aws configure`, or set AWS_PROFILE"
        ) from None
    except exceptions.ClientError as error:
        code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
        raise kind(f"{subject}: AWS reports {code}: {message}", hint=_hint(code, message)) from None
    except exceptions.WaiterError as error:
        raise kind(f"{subject}: AWS did not finish in time: {error}", hint="try again") from None
    except exceptions.BotoCoreError as error:
        raise kind(f"{subject}: AWS cannot be reached: {error}", hint="check the network") from None


def error_code(error: Any) -> str:
    """Return the error code of AWS."""
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _hint(code: str, message: str) -> str | None:
    if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        return "log in to AWS again, for example with `aws sso login`"
    if code in ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "AuthFailure"):
        return "AWS does not know these credentials: check AWS_PROFILE and the environment"
    if "AccessDenied" in code or code == "UnauthorizedOperation" or "not authorized" in message:
        return "your user lacks a permission; docs/how-to/deploy.md lists those it needs"
    if code in ("InstanceLimitExceeded", "VcpuLimitExceeded", "AddressLimitExceeded"):
        return "request a higher quota from AWS, or use another region"
    if code == "InsufficientInstanceCapacity":
        return "another deployment.instance_type or subnet"
    return None
