"""S3 through boto3, which finds credentials and endpoint: objects below an address, and errors that say what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from estimator.core.credentials import redacted
from estimator.errors import EstimatorError, needs_extra

SCHEME = "s3://"
CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
BUCKET_HINT = "check the bucket's name, and AWS_ENDPOINT_URL if it is not on AWS"
HINTS = {
    "NoSuchBucket": BUCKET_HINT,
    "NoSuchKey": "check the key; a prefix ends in /",
    "404": "check the bucket's name and the key; a prefix ends in /",
    "AccessDenied": "these credentials may not read it",
    "403": "these credentials may not read it",
    "InvalidAccessKeyId": CREDENTIALS_HINT,
    "SignatureDoesNotMatch": CREDENTIALS_HINT,
    "NotImplemented": "this server has no conditional writes: use another, or a folder as the store",
    "ExpiredToken": "log in to AWS again, for example with `aws sso login`",
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 5, 60, 3


class S3Object(NamedTuple):
    """What an object holds, and the tag by which a server knows this content of it."""

    content: bytes
    etag: str


class S3Entry(NamedTuple):
    """An object in a listing: its key and when it was written, in seconds since 1970."""

    key: str
    written_at: float


class S3Folder:
    """The objects below an address such as s3://bucket/prefix; keys are relative to it.

    Mutable: it holds a connection, of its own in each process. Every method raises an error of `error_type`, whose
    message begins with the address, if the server cannot be reached or rejects the request.
    """

    def __init__(self, url: str, error_type: type[EstimatorError]) -> None:
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        if "@" in bucket:
            raise error_type("s3://: the address must not hold credentials", hint=CREDENTIALS_HINT)
        if not _BUCKET.fullmatch(bucket):
            raise error_type(f"{url}: expected an address such as s3://bucket/models, got the bucket {bucket!r}")
        self.bucket, self.prefix = bucket, prefix.strip("/")
        self.url = f"{SCHEME}{bucket}/{self.prefix}".rstrip("/")
        self._error_type = error_type
        self._connection: tuple[int, Any] | None = None

    @property
    def endpoint(self) -> str:
        """The address of the server."""
        with self._errors(""):
            return str(self._client.meta.endpoint_url)

    def entries(self, prefix: str = "") -> Iterator[S3Entry]:
        """Yield the objects whose keys begin with a prefix, in the order of their keys."""
        with self._errors(prefix, "listed (s3:ListBucket)"):
            start = self._key("")
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._key(prefix))
            for page in pages:
                for item in page.get("Contents", []):
                    yield S3Entry(item["Key"].removeprefix(start), item["LastModified"].timestamp())

    def read(self, key: str, known: S3Object | None = None) -> S3Object | None:
        """Return an object, None if there is none; `known`, without sending it again, if it is still that."""
        condition = {} if known is None else {"IfNoneMatch": known.etag}
        with self._errors(key, "read (s3:GetObject; without s3:ListBucket, what is missing looks like this, too)"):
            try:
                response = self._client.get_object(Bucket=self.bucket, Key=self._key(key), **condition)
            except self._client.exceptions.ClientError as error:
                code = _code(error)
                if code in ("304", "NotModified"):
                    return known
                if code in ("NoSuchKey", "404"):
                    return None
                raise
            with closing(response["Body"]) as body:
                return S3Object(body.read(), response["ETag"])

    def write(self, key: str, content: bytes, *, replaces: S3Object | None) -> bool:
        """Write an object if it is still `replaces`, or if there is none for None; whether it was written.

        A request that was repeated after a lost response may find its own object, and return False.
        """
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces.etag}
        with self._errors(key, "written (s3:PutObject, s3:GetObject)"):
            try:
                self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content, **condition)
            except self._client.exceptions.ClientError as error:
                # Somebody else's object, a write at the same time, or one that was removed.
                if _status(error) in (409, 412) or (_code(error) == "NoSuchKey" and replaces is not None):
                    return False
                raise
        return True

    def remove(self, key: str) -> None:
        """Remove an object, if there is one."""
        with self._errors(key, "removed (s3:DeleteObject)"):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def replace(self, key: str, content: bytes) -> None:
        """Write an object, whatever was there."""
        with self._errors(key, "written (s3:PutObject)"):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=content)

    @property
    def _client(self) -> Any:
        """The client of boto3, which has no types. Connections must not be shared with a forked process."""
        if self._connection is None or self._connection[0] != os.getpid():
            self._connection = os.getpid(), _connected()
        return self._connection[1]

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _errors(self, key: str, right: str = "") -> Iterator[None]:
        denied = f"these credentials do not let it be {right}" if right else None
        with needs_extra("s3", "a store on S3"):
            import boto3  # noqa: F401 # what follows needs it
        with explained_errors(f"{self.url}/{key}".rstrip("/"), self._error_type, denied=denied):
            yield


@contextmanager
def explained_errors(
    name: str,
    error_type: type[EstimatorError],
    *,
    problem: str = "cannot be reached",
    denied: str | None = None,
    scrubbed: Callable[[str], str] = redacted,
) -> Iterator[None]:
    """Turn errors of S3 into one sentence and a hint; `denied` is the hint where a permission is missing.

    `problem` is what is said where no server responds, and `scrubbed` removes secrets from a library's message.
    """
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code, message = _code(error), error.response["Error"].get("Message", "")
        hint = denied if denied and code in ("AccessDenied", "403") else HINTS.get(code)
        raise error_type(f"{name}: S3 reports {code}: {message}", hint=hint) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise error_type(f"{name}: no AWS credentials found", hint=CREDENTIALS_HINT) from None
    except exceptions.ProfileNotFound as error:
        raise error_type(f"{name}: {scrubbed(str(error))}", hint=CREDENTIALS_HINT) from None
    except (exceptions.BotoCoreError, exceptions.HTTPClientError, ValueError) as error:
        raise error_type(
            f"{name}: {problem}: {scrubbed(str(error))}", hint="check the network, and AWS_ENDPOINT_URL if it is set"
        ) from None


def _connected() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        # Servers other than AWS's may not know the newer checksums; the hashes of a version are checked in any case.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)


def _code(error: Any) -> str:
    return str(error.response["Error"]["Code"])


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
