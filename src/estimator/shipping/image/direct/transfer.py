"""Push a layout to a registry, and pull a base image into one."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import RegistryError
from estimator.shipping.image.direct.layers import BLOCK_BYTES, Blob, ImageLayer
from estimator.shipping.image.direct.oci import LAYER, BaseImage, ImageLayout, blob_folder
from estimator.shipping.image.registry import (
    ACCEPT_MANIFEST,
    MANIFEST,
    MAX_ATTEMPTS,
    Registry,
    RegistryUnavailableError,
)

DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
Note = Callable[[str], None]


def push_layout(layout: ImageLayout, registry: Registry, note: Note = lambda text: None) -> str:
    """Upload the blobs that the registry does not have, then the manifest; return the digest.

    A push that was interrupted continues with the next call.

    Raises
    ------
    RegistryError: the registry reports an error, cannot be reached, or stores another digest.
    """
    for layer in layout.layers:
        is_new = _upload(registry, layer.blob, layout.path(layer.blob))
        note(f"{layer.created_by}: {layer.blob.size_bytes / 1e6:.1f} MB {'sent' if is_new else 'already there'}")
    _upload(registry, layout.config, layout.path(layout.config))
    manifest = layout.path(layout.manifest).read_bytes()
    reference = registry.reference
    headers = registry.request("PUT", f"manifests/{reference.tag}", manifest, {"Content-Type": MANIFEST})[1]
    digest = headers.get("Docker-Content-Digest", layout.digest)
    if digest != layout.digest:
        raise RegistryError(f"{reference}: the registry stored {digest} instead of {layout.digest}")
    return digest


def pull_base(registry: Registry, architecture: str, folder: Path, note: Note = lambda text: None) -> BaseImage:
    """Return an image for an architecture as a base; its layers are downloaded into a layout that may have some.

    Raises
    ------
    RegistryError: there is no such image, or a download does not have its digest.
    """
    reference = registry.reference
    manifest = _manifest(registry, reference.name, architecture)
    config = json.loads(_blob(registry, manifest["config"]["digest"]))
    blobs = blob_folder(folder)
    layers = []
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        if layer["mediaType"] not in (LAYER, DOCKER_LAYER):
            raise RegistryError(f"{reference}: unsupported layer type {layer['mediaType']}")
        path = blobs / layer["digest"].removeprefix("sha256:")
        if not path.exists():
            note(f"{reference}: {layer['size'] / 1e6:.1f} MB")
            write_atomic(path, _blob(registry, layer["digest"]))
        blob = Blob(layer["digest"], layer["size"], LAYER)
        layers.append(ImageLayer(blob, diff_id, _unpacked_bytes(path), f"base {reference}"))
    return BaseImage(tuple(layers), config.get("config") or {})


def _upload(registry: Registry, blob: Blob, path: Path) -> bool:
    """Upload a blob unless the registry has it; return whether it was uploaded."""
    if registry.request("HEAD", f"blobs/{blob.digest}", expected=(200, 404))[0] == 200:
        return False
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)}
    problem = ""
    for attempt in range(MAX_ATTEMPTS):
        # An interrupted upload starts again at a new URL.
        location = registry.request("POST", "blobs/uploads/", b"")[1]["Location"]
        url = urllib.parse.urljoin(f"{registry.reference.url}/v2/", location)
        target = f"{url}{'&' if '?' in url else '?'}digest={urllib.parse.quote(blob.digest)}"
        try:
            status, _, content = registry.request("PUT", target, path, headers, expected=(201, 404), max_attempts=1)
        except RegistryUnavailableError as error:
            problem = error.message
        else:
            if status == 201:
                return True
            problem = f"{registry.reference}: {content[:200].decode(errors='replace')}"
        time.sleep(registry.retry_seconds * 2**attempt)
    raise RegistryError(
        f"{blob.digest} cannot be sent: {problem}", hint="run the command again: finished layers are not sent again"
    )


def _manifest(registry: Registry, name: str, architecture: str) -> Mapping[str, Any]:
    """Return the manifest of an image, for an architecture if there are several."""
    reference = registry.reference
    content = registry.request("GET", f"manifests/{name}", headers=ACCEPT_MANIFEST)[2]
    if name.startswith("sha256:") and f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
        raise RegistryError(f"{reference}: the registry returned a different manifest than {name}")
    manifest: Mapping[str, Any] = json.loads(content)
    if "manifests" not in manifest:
        return manifest
    for entry in manifest["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return _manifest(registry, entry["digest"], architecture)
    raise RegistryError(f"{reference}: no image for linux/{architecture}")


def _blob(registry: Registry, digest: str) -> bytes:
    content = registry.request("GET", f"blobs/{digest}")[2]
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise RegistryError(f"{registry.reference}: {digest} is damaged")
    return content


def _unpacked_bytes(path: Path) -> int:
    size_bytes = 0
    with gzip.open(path) as content:
        while block := content.read(BLOCK_BYTES):
            size_bytes += len(block)
    return size_bytes
