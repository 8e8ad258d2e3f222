"""A registry of images over HTTP: pull a base, push an image, know it by its digest.

Follows the OCI distribution specification 1.1 (https://github.com/opencontainers/distribution-spec).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import RegistryError
from estimator.shipping.image.direct.layers import BLOCK, Blob, ImageLayer
from estimator.shipping.image.direct.oci import INDEX, LAYER, MANIFEST, BaseImage, ImageLayout

# Docker's own names of the same things.
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
HUB, HUB_HOST = "docker.io", "registry-1.docker.io"
TRIES, PAUSE, PATIENCE = 4, 0.5, 60.0

_REFERENCE = re.compile(
    r"(?:(?P<host>localhost|[^/]*[.:][^/]*)/)?(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image in a registry: by tag, or by digest when there is one."""

    host: str
    repository: str
    tag: str = "latest"
    digest: str | None = None

    @property
    def url(self) -> str:
        """Where the registry answers: over TLS, but on this machine itself."""
        is_here = re.fullmatch(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?", self.host) is not None
        return f"{'http' if is_here else 'https'}://{HUB_HOST if self.host == HUB else self.host}"

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")


def parse_reference(text: str) -> ImageReference:
    """Return the reference that a text such as "registry.example.com/team/app:v1" is; Docker Hub's without a host.

    >>> str(parse_reference("python:3.11-slim"))
    'docker.io/library/python:3.11-slim'

    Raises
    ------
    RegistryError: it is none.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise RegistryError(
            f"{text!r} is not an image reference", hint="expected HOST/NAME:TAG in lowercase, or HOST/NAME@sha256:..."
        )
    repository = found["repository"]
    if found["host"] is None and "/" not in repository:
        repository = f"library/{repository}"
    return ImageReference(found["host"] or HUB, repository, found["tag"] or "latest", found["digest"])


@dataclass
class Registry:
    """Calls to a repository of a registry; `authorization` is what it is sent to be let in."""

    reference: ImageReference
    authorization: str | None = None
    pause: float = PAUSE
    _token: str | None = field(default=None, repr=False)

    def push(self, layout: ImageLayout, note: Note = lambda text: None) -> str:
        """Send what the registry has not; return the digest. A push that broke off goes on with the next call.

        Raises
        ------
        RegistryError: it is refused, the registry cannot be reached, or has kept something else.
        """
        for layer in layout.layers:
            sent = self._send(layer.blob, layout.path(layer.blob))
            note(f"{layer.created_by}: {layer.blob.size / 1e6:.1f} MB {'sent' if sent else 'already there'}")
        self._send(layout.config, layout.path(layout.config))
        content = layout.path(layout.manifest).read_bytes()
        reference, headers = self.reference, {"Content-Type": MANIFEST}
        told = self._call("PUT", f"manifests/{reference.tag}", content, headers)[1]
        kept = told.get("Docker-Content-Digest", layout.digest)
        if kept != layout.digest:
            raise RegistryError(f"{reference}: the registry stored {kept} instead of {layout.digest}")
        return layout.digest

    def digest(self) -> str | None:
        """Return the digest that the reference means now; None when there is no such image."""
        accept = {"Accept": ", ".join((MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX))}
        name = self.reference.digest or self.reference.tag
        status, told, _ = self._call("HEAD", f"manifests/{name}", headers=accept, fine=(200, 404))
        return told.get("Docker-Content-Digest") if status == 200 else None

    def pull_base(self, architecture: str, folder: Path, note: Note = lambda text: None) -> BaseImage:
        """Return an image for an architecture as a base, its layers copied into a layout that may have some of them.

        Raises
        ------
        RegistryError: there is none, or what arrives is not what it says it is.
        """
        manifest = self._manifest(self.reference.digest or self.reference.tag, architecture)
        config = json.loads(self._blob(manifest["config"]["digest"]))
        layers = []
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for told, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            if told["mediaType"] not in (LAYER, DOCKER_LAYER):
                raise RegistryError(f"{self.reference}: unsupported layer type {told['mediaType']}")
            path = blobs / told["digest"].removeprefix("sha256:")
            if not path.exists():
                note(f"{self.reference}: {told['size'] / 1e6:.1f} MB")
                self._fetch(told["digest"], path)
            blob = Blob(told["digest"], told["size"], LAYER)
            layers.append(ImageLayer(blob, diff_id, _unpacked_size(path), f"base {self.reference}"))
        return BaseImage(tuple(layers), config.get("config") or {})

    def _manifest(self, name: str, architecture: str) -> Mapping[str, Any]:
        accept = {"Accept": ", ".join((MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX))}
        content = self._call("GET", f"manifests/{name}", headers=accept)[2]
        if name.startswith("sha256:") and f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
            raise RegistryError(f"{self.reference}: the registry returned a different manifest than {name}")
        found: Mapping[str, Any] = json.loads(content)
        if "manifests" not in found:
            return found
        for each in found["manifests"]:
            if each.get("platform", {}).get("architecture") == architecture and each["platform"].get("os") == "linux":
                return self._manifest(each["digest"], architecture)
        raise RegistryError(f"{self.reference}: no image for linux/{architecture}")

    def _blob(self, digest: str) -> bytes:
        content = self._call("GET", f"blobs/{digest}")[2]
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise RegistryError(f"{self.reference}: {digest} is damaged")
        return content

    def _fetch(self, digest: str, path: Path) -> None:
        write_atomic(path, self._blob(digest))

    def _send(self, blob: Blob, path: Path) -> bool:
        """Send a blob unless it is there; return whether it was sent."""
        if self._call("HEAD", f"blobs/{blob.digest}", fine=(200, 404))[0] == 200:
            return False
        for attempt in range(TRIES):
            place = self._call("POST", "blobs/uploads/", b"")[1]["Location"]
            url = urllib.parse.urljoin(f"{self.reference.url}/v2/", place)
            target = f"{url}{'&' if '?' in url else '?'}digest={urllib.parse.quote(blob.digest)}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
            # An upload that broke off is begun anew: its place is gone with it.
            status, _, told = self._call("PUT", target, path, headers, fine=(201, 404), tries=1, may_break=True)
            if status == 201:
                return True
            time.sleep(self.pause * 2**attempt)
        raise RegistryError(f"{self.reference}: {blob.digest} cannot be sent: {told[:200].decode(errors='replace')}",
                            hint="run the command again: finished layers are not sent again")  # fmt: skip

    def _call(
        self, method: str, path: str, data: bytes | Path | None = None, headers: Mapping[str, str] | None = None, *,
        fine: tuple[int, ...] = (200, 201, 202), tries: int = TRIES, may_break: bool = False,
    ) -> tuple[int, Message[str, str], bytes]:  # fmt: skip
        """Return status, headers and body; failed calls are retried with growing pauses."""
        url = path if "://" in path else f"{self.reference.url}/v2/{self.reference.repository}/{path}"
        problem = ""
        attempt = 0
        while attempt < tries:
            try:
                status, told, content = _asked(method, url, data, {**(headers or {}), **self._identity()})
            except (OSError, HTTPException) as error:
                problem = str(getattr(error, "reason", error))
            else:
                if status in fine:
                    return status, told, content
                if status == 401 and self._may_enter(told):
                    continue
                problem = _reason(status, content)
                if status < 500 and status != 429:
                    raise RegistryError(f"{self.reference}: the registry reports {problem}", hint=_way_out(status))
            attempt += 1
            if attempt < tries:
                time.sleep(self.pause * 2**attempt)
        if may_break:
            return 404, Message(), problem.encode()
        raise RegistryError(
            f"{self.reference}: {problem}", hint="run the command again later: finished layers are not sent again"
        )

    def _identity(self) -> dict[str, str]:
        given = self._token or self.authorization
        return {} if given is None else {"Authorization": given}

    def _may_enter(self, told: Message[str, str]) -> bool:
        """Get the token that a registry asks for, once."""
        kind, _, words = told.get("WWW-Authenticate", "").partition(" ")
        if kind.lower() != "bearer" or self._token is not None:
            return False
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', words))
        realm = challenge.get("realm", "")
        if not realm.startswith("https://") and not self.reference.url.startswith("http://"):
            return False
        query = urllib.parse.urlencode({name: challenge[name] for name in ("service", "scope") if name in challenge})
        headers = {} if self.authorization is None else {"Authorization": self.authorization}
        status, _, content = _asked("GET", f"{realm}?{query}", None, headers)
        if status != 200:
            return False
        found = json.loads(content)
        self._token = f"Bearer {found.get('token') or found['access_token']}"
        return True


def docker_login(host: str, environment: Mapping[str, str]) -> str | None:
    """Return what `docker login` has kept for a registry, in DOCKER_CONFIG or ~/.docker; None when it kept nothing.

    Raises
    ------
    RegistryError: the file cannot be read.
    """
    home = environment.get("DOCKER_CONFIG") or str(Path(environment.get("HOME", "")) / ".docker")
    path = Path(home) / "config.json"
    try:
        known = json.loads(path.read_text()).get("auths", {}) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise RegistryError(f"{path}: cannot be read: {error}") from None
    names = (host, f"https://{host}", *(("https://index.docker.io/v1/",) if host == HUB else ()))
    for name in names:
        if known.get(name, {}).get("auth"):
            return f"Basic {known[name]['auth']}"
    return None


def _asked(
    method: str, url: str, data: bytes | Path | None, headers: Mapping[str, str]
) -> tuple[int, Message[str, str], bytes]:
    content = data.open("rb") if isinstance(data, Path) else data
    try:
        request = urllib.request.Request(url, content, dict(headers), method=method)  # noqa: S310 # http or https
        with _OPENER.open(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()
    finally:
        if not isinstance(content, bytes | None):
            content.close()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without sending credentials to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            found.remove_header("Authorization")
        return found


_OPENER = urllib.request.build_opener(_Redirects)


def _reason(status: int, content: bytes) -> str:
    try:
        faults = json.loads(content)["errors"]
        return f"{status}: {'; '.join(str(fault.get('message') or fault['code']) for fault in faults)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{status}: {content[:200].decode(errors='replace').strip() or 'no reason given'}"


def _way_out(status: int) -> str | None:
    if status in (401, 403):
        return "run `docker login HOST` first; for ECR, set AWS credentials"
    return "check that the repository exists" if status == 404 else None


def _unpacked_size(path: Path) -> int:
    size = 0
    with gzip.open(path) as content:
        while block := content.read(BLOCK):
            size += len(block)
    return size
