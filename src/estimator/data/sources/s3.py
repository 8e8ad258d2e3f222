"""s3://bucket/key, a prefix that ends in / or a pattern -> local files, by boto3's own credentials and endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from estimator.core.text import join_names
from estimator.data.sources.address import Address
from estimator.data.sources.download import BLOCK_BYTES, Fetched, save
from estimator.errors import SourceError, needs_extra

HINTS = {
    "NoSuchBucket": "check the bucket's name, and AWS_ENDPOINT_URL if it is not at Amazon",
    "NoSuchKey": "check the key; a prefix ends in /",
    "404": "check the bucket's name and the key; a prefix ends in /",
    "AccessDenied": "these credentials may not read it",
    "403": "these credentials may not read it",
}
NO_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def fetch_objects(address: Address, scratch: Path, endings: tuple[str, ...]) -> Fetched:
    """Fetch an object, or all tables of a prefix or pattern in the order of their keys; see `fetching.fetch`.

    As in a folder, what lies deeper than the prefix, or than the pattern's own slashes, is left out.
    """
    with needs_extra("s3", "reading from S3"):
        import boto3
    bucket, _, key = address.url.partition("://")[2].partition("/")
    if "@" in bucket:
        raise SourceError(f"{address.name}: credentials do not stand in the address", hint=NO_CREDENTIALS)
    with _explained(address), closing(boto3.session.Session().client("s3")) as client:
        keys = _matching(client, bucket, key, endings) if _is_many(key) else [key]
        if not keys:
            raise SourceError(f"{address.name}: no table there", hint=f"endings: {join_names(endings)}")
        return dict(_fetched(client, bucket, found, scratch) for found in keys)


# A client is generated at run time and has no types, hence Any.
def _fetched(client: Any, bucket: str, key: str, scratch: Path) -> tuple[Path, str]:
    name = f"s3://{bucket}/{key}"
    answer = client.get_object(Bucket=bucket, Key=key)
    with closing(answer["Body"]) as body:
        return save(body.iter_chunks(BLOCK_BYTES), scratch, name, size=answer["ContentLength"]), name


def _is_many(key: str) -> bool:
    return key == "" or key.endswith("/") or any(sign in key for sign in "*?[")


def _matching(client: Any, bucket: str, pattern: str, endings: tuple[str, ...]) -> list[str]:
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"{pattern}*"
    start = wanted[: min(wanted.find(sign) for sign in "*?[" if sign in wanted)]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return sorted(key for key in keys if _fits(key, wanted) and key.lower().endswith(endings))


def _fits(key: str, pattern: str) -> bool:
    """Whether a key fits a pattern whose * stops at a slash, as in a file system."""
    parts, wanted = key.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        told = error.response["Error"]
        raise SourceError(
            f"{address.name}: S3 says {told['Code']}: {told.get('Message', '')}", hint=HINTS.get(told["Code"])
        ) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise SourceError(f"{address.name}: no credentials for S3", hint=NO_CREDENTIALS) from None
    except (exceptions.BotoCoreError, exceptions.HTTPClientError, ValueError) as error:
        raise SourceError(f"{address.name}: cannot be fetched: {address.scrubbed(str(error))}") from None
