"""The client of an image registry over HTTP.

Follows the OCI distribution specification 1.1 (https://github.com/opencontainers/distribution-spec).
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any

from estimator.errors import RegistryError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
# Docker's names of the same types.
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT_MANIFEST = {"Accept": ", ".join((MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX))}
HUB, HUB_HOST = "docker.io", "registry-1.docker.io"
MAX_ATTEMPTS = 4
RETRY_SECONDS = 0.5
TIMEOUT_SECONDS = 60.0

_REFERENCE = re.compile(
    r"(?:(?P<host>localhost|[^/]*[.:][^/]*)/)?(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image in a registry, by its digest if it has one, else by its tag."""

    host: str
    repository: str
    tag: str = "latest"
    digest: str | None = None

    @property
    def name(self) -> str:
        """The digest or tag, as the registry's API names the image."""
        return self.digest or self.tag

    @property
    def url(self) -> str:
        """The URL of the registry; only localhost is reached without TLS."""
        is_local = re.fullmatch(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?", self.host) is not None
        return f"{'http' if is_local else 'https'}://{HUB_HOST if self.host == HUB else self.host}"

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")


def parse_reference(text: str) -> ImageReference:
    """Parse an image reference; without a host it is one of Docker Hub.

    >>> str(parse_reference("python:3.11-slim"))
    'docker.io/library/python:3.11-slim'

    Raises
    ------
    RegistryError: the text is not an image reference.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise RegistryError(
            f"{text!r} is not an image reference", hint="expected HOST/NAME:TAG in lowercase, or HOST/NAME@sha256:..."
        )
    repository = match["repository"]
    if match["host"] is None and "/" not in repository:
        repository = f"library/{repository}"
    return ImageReference(match["host"] or HUB, repository, match["tag"] or "latest", match["digest"])


@dataclass
class Registry:
    """A client of one repository; `authorization` is the value of the HTTP header, None for anonymous access."""

    reference: ImageReference
    authorization: str | None = None
    retry_seconds: float = RETRY_SECONDS
    _token: str | None = field(default=None, repr=False)

    def digest(self) -> str | None:
        """Return the digest of the image that the reference names; None if there is no such image."""
        path = f"manifests/{self.reference.name}"
        status, headers, _ = self.request("HEAD", path, headers=ACCEPT_MANIFEST, expected=(200, 404))
        return headers.get("Docker-Content-Digest") if status == 200 else None

    def request(
        self,
        method: str,
        path: str,
        data: bytes | Path | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        expected: tuple[int, ...] = (200, 201, 202),
        max_attempts: int = MAX_ATTEMPTS,
    ) -> tuple[int, Message[str, str], bytes]:
        """Send a request, with retries after growing pauses; return status, headers and body.

        `path` is relative to the repository, or a URL; a `data` path is a file to upload.

        Raises
        ------
        RegistryError: the status is not an expected one, or all attempts failed.
        """
        url = path if "://" in path else f"{self.reference.url}/v2/{self.reference.repository}/{path}"
        problem = ""
        attempt = 0
        while attempt < max_attempts:
            try:
                status, response_headers, content = _send(method, url, data, {**(headers or {}), **self._credentials()})
            except (OSError, HTTPException) as error:
                problem = str(getattr(error, "reason", error))
            else:
                if status in expected:
                    return status, response_headers, content
                if status == 401 and self._fetch_token(response_headers):
                    continue
                problem = _reason(status, content)
                if status < 500 and status != 429:
                    raise RegistryError(f"{self.reference}: the registry reports {problem}", hint=_hint(status))
            attempt += 1
            if attempt < max_attempts:
                time.sleep(self.retry_seconds * 2**attempt)
        raise RegistryUnavailableError(
            f"{self.reference}: {problem}", hint="run the command again later: finished layers are not sent again"
        )

    def _credentials(self) -> dict[str, str]:
        value = self._token or self.authorization
        return {} if value is None else {"Authorization": value}

    def _fetch_token(self, headers: Message[str, str]) -> bool:
        """Fetch the bearer token that a 401 response asks for, once; return whether there is a new one."""
        scheme, _, parameters = headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() != "bearer" or self._token is not None:
            return False
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', parameters))
        realm = challenge.get("realm", "")
        if not realm.startswith("https://") and not self.reference.url.startswith("http://"):
            return False
        query = urllib.parse.urlencode({name: challenge[name] for name in ("service", "scope") if name in challenge})
        login = {} if self.authorization is None else {"Authorization": self.authorization}
        status, _, content = _send("GET", f"{realm}?{query}", None, login)
        if status != 200:
            return False
        response = json.loads(content)
        self._token = f"Bearer {response.get('token') or response['access_token']}"
        return True


class RegistryUnavailableError(RegistryError):
    """All attempts at a request failed, by the network or a server error."""


def docker_login(host: str, environment: Mapping[str, str]) -> str | None:
    """Return the Authorization header that `docker login` stored for a registry; None if there is none.

    The file is config.json in DOCKER_CONFIG or ~/.docker.

    Raises
    ------
    RegistryError: the file cannot be read.
    """
    folder = environment.get("DOCKER_CONFIG") or str(Path(environment.get("HOME", "")) / ".docker")
    path = Path(folder) / "config.json"
    try:
        logins = json.loads(path.read_text()).get("auths", {}) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise RegistryError(f"{path}: cannot be read: {error}") from None
    names = (host, f"https://{host}", *(("https://index.docker.io/v1/",) if host == HUB else ()))
    for name in names:
        if logins.get(name, {}).get("auth"):
            return f"Basic {logins[name]['auth']}"
    return None


def _send(
    method: str, url: str, data: bytes | Path | None, headers: Mapping[str, str]
) -> tuple[int, Message[str, str], bytes]:
    content = data.open("rb") if isinstance(data, Path) else data
    try:
        request = urllib.request.Request(url, content, dict(headers), method=method)  # noqa: S310 # http or https
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()
    finally:
        if not isinstance(content, bytes | None):
            content.close()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without sending credentials to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            request.remove_header("Authorization")
        return request


_OPENER = urllib.request.build_opener(_Redirects)


def _reason(status: int, content: bytes) -> str:
    try:
        errors = json.loads(content)["errors"]
        return f"{status}: {'; '.join(str(error.get('message') or error['code']) for error in errors)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{status}: {content[:200].decode(errors='replace').strip() or 'no reason given'}"


def _hint(status: int) -> str | None:
    if status in (401, 403):
        return "run `docker login HOST` first; for ECR, set AWS credentials"
    return "check that the repository exists" if status == 404 else None
