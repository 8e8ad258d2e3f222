"""S3: an object, a prefix that ends in /, or a pattern; boto3 finds credentials and endpoint."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from estimator.core.s3 import CREDENTIALS_HINT, explained_errors
from estimator.core.text import join_names
from estimator.data.sources.address import Address
from estimator.data.sources.base import FileConnector
from estimator.data.sources.download import BLOCK_BYTES, save_blocks
from estimator.errors import SourceError, needs_extra


class S3(FileConnector):
    """s3://bucket/key, s3://bucket/prefix/ or s3://bucket/*.csv; objects are read in the order of their keys.

    As in a folder, what lies deeper than the prefix, or than the pattern's own slashes, is left out.
    """

    @classmethod
    def download(cls, address: Address, scratch: Path, endings: tuple[str, ...]) -> dict[Path, str]:
        with needs_extra("s3", "reading from S3"):
            import boto3
        bucket, _, key = address.url.partition("://")[2].partition("/")
        if "@" in bucket:
            raise SourceError(f"{address.name}: the address must not hold credentials", hint=CREDENTIALS_HINT)
        with _errors(address), closing(boto3.session.Session().client("s3")) as client:
            keys = _matching(client, bucket, key, endings) if _is_many(key) else [key]
            if not keys:
                raise SourceError(f"{address.name}: no object there is a table", hint=f"endings: {join_names(endings)}")
            return dict(_download(client, bucket, item, scratch) for item in keys)


# boto3 generates its clients at run time, without types, hence Any.
def _download(client: Any, bucket: str, key: str, scratch: Path) -> tuple[Path, str]:
    name = f"s3://{bucket}/{key}"
    response = client.get_object(Bucket=bucket, Key=key)
    with closing(response["Body"]) as body:
        blocks = body.iter_chunks(BLOCK_BYTES)
        encoding = response.get("ContentEncoding")
        return save_blocks(blocks, scratch, name, size_bytes=response["ContentLength"], encoding=encoding), name


def _is_many(key: str) -> bool:
    return key == "" or key.endswith("/") or any(sign in key for sign in "*?[")


def _matching(client: Any, bucket: str, pattern: str, endings: tuple[str, ...]) -> list[str]:
    glob = pattern if any(sign in pattern for sign in "*?[") else f"{pattern}*"
    start = glob[: min(glob.find(sign) for sign in "*?[" if sign in glob)]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return sorted(key for key in keys if _fits(key, glob) and key.lower().endswith(endings))


def _fits(key: str, pattern: str) -> bool:
    """Whether a key fits a pattern whose * stops at a slash and begins no hidden file, as in a file system."""
    parts, patterns = key.split("/"), pattern.split("/")
    is_hidden = parts[-1].startswith(".") and not patterns[-1].startswith(".")
    return len(parts) == len(patterns) and not is_hidden and all(map(fnmatchcase, parts, patterns))


def _errors(address: Address) -> AbstractContextManager[None]:
    return explained_errors(address.name, SourceError, problem="cannot be downloaded", scrubbed=address.scrubbed)
