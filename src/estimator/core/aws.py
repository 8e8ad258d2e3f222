"""AWS by its own SDK: credentials come from its own chain, and what it refuses is told with a way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from estimator.errors import EstimatorError, needs_extra


def client(service: str, region: str | None = None) -> Any:
    """Return a client of a service, in a region or in the one that AWS's own chain names."""
    with needs_extra("deploy", "AWS"):
        import boto3
    return boto3.session.Session().client(service, region_name=region)


def default_region() -> str | None:
    """Return the region that AWS's own chain names, None when it names none."""
    with needs_extra("deploy", "AWS"):
        import boto3
    named: str | None = boto3.session.Session().region_name
    return named


@contextmanager
def explained_errors(place: str, kind: type[EstimatorError]) -> Iterator[None]:
    """Tell what AWS refuses as an error of a kind that names a place, and the way out."""
    with needs_extra("deploy", "AWS"):
        from botocore import exceptions
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise kind(
            f"{place}: AWS knows no credentials of yours: {error}", hint="aws configure, or set AWS_PROFILE"
        ) from None
    except exceptions.ClientError as error:
        code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
        raise kind(f"{place}: AWS says {code}: {message}", hint=_hint(code, message)) from None
    except exceptions.WaiterError as error:
        raise kind(f"{place}: AWS takes too long: {error}", hint="try again") from None
    except exceptions.BotoCoreError as error:
        raise kind(f"{place}: AWS cannot be asked: {error}", hint="is the network there?") from None


def error_code(error: Any) -> str:
    """Return AWS's word for what is wrong."""
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _hint(code: str, message: str) -> str | None:
    if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        return "log in to AWS again, for example with `aws sso login`"
    if code in ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "AuthFailure"):
        return "the credentials are of no account: check AWS_PROFILE and the environment"
    if "AccessDenied" in code or code == "UnauthorizedOperation" or "not authorized" in message:
        return "your user may not do this; docs/shipping.md lists what it needs"
    if code in ("InstanceLimitExceeded", "VcpuLimitExceeded", "AddressLimitExceeded"):
        return "ask AWS for a higher quota, or use another region"
    if code == "InsufficientInstanceCapacity":
        return "another deployment.instance_type or subnet"
    return None
