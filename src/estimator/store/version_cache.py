"""Copies of remote versions on this machine, which never get old: a file whose hash is right stays right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.core.files import user_cache, write_atomic, write_folder_atomic
from estimator.core.lock import locked
from estimator.errors import ArtefactError, FileError, StoreError
from estimator.store.artefact import MANIFEST, check_manifest
from estimator.store.signature import SIGNATURE, is_signature, read_signature, sign

# A download by another process is waited for.
TIMEOUT_SECONDS = 600.0
# It names the store whose versions a cache holds.
ADDRESS = "address"
CACHE_HINT = "set ESTIMATOR_CACHE to a folder that can be written"
# Names of files -> their content, without those that do not exist.
Download = Callable[[Iterable[str]], Mapping[str, bytes]]


def caches() -> Path:
    """Return the folder of the copies of all remote stores.

    Raises
    ------
    StoreError: the user has no home.
    """
    try:
        return user_cache() / "store"
    except RuntimeError:
        raise StoreError(
            "this user has no home, so there is no folder to copy versions into", hint=CACHE_HINT
        ) from None


def cache_folder(endpoint: str, url: str) -> Path:
    """Return the folder of the copies of a remote store.

    Raises
    ------
    StoreError: the user has no home.
    """
    return caches() / hashlib.sha256(f"{endpoint} {url}".encode()).hexdigest()[:16]


def cached_address(folder: Path) -> str | None:
    """Return the address of the store that a version's folder is a copy of; None for any other folder."""
    root = folder.parent.parent
    try:
        return (root / ADDRESS).read_text() if root.parent == caches() else None
    except (OSError, StoreError):
        return None


@dataclass(frozen=True, slots=True)
class CachedVersion:
    """The folder of a version in a cache; `url` is that of the store it is copied from."""

    cache: Path
    model: str
    version: str
    url: str

    @property
    def folder(self) -> Path:
        """The version's folder on this machine."""
        return self.cache / self.model / self.version

    @property
    def signature(self) -> bytes:
        """The signature in the folder, b"" for none."""
        return read_signature(self.folder)

    def create(self, files: Mapping[str, bytes]) -> None:
        """Write a new version, which appears when all of its files are on the disk.

        Raises
        ------
        ArtefactError: the folder cannot be written.
        """
        self._write(self.cache / ADDRESS, self.url.encode())
        try:
            write_folder_atomic(self.folder, files)
        except FileError as error:
            raise ArtefactError(error.message, hint=CACHE_HINT) from error

    def fill(self, download: Download) -> None:
        """Copy what is missing or damaged, and leave the folder complete; one process at a time.

        Raises
        ------
        ArtefactError: the remote version is damaged, or the folder cannot be written.
        """
        self._write(self.cache / ADDRESS, self.url.encode())
        with locked(self.folder, purpose="copying it", timeout_seconds=TIMEOUT_SECONDS, error_type=ArtefactError):
            manifest = self._own_manifest()
            if manifest is None:
                manifest = self._copied_manifest(download)
            files = manifest["files"]
            if wrong := [name for name in files if not self._is_whole(name, files[name])]:
                contents = download(wrong)
                for name in wrong:
                    self._write(self.folder / name, self._checked(name, contents.get(name), files[name]))

    def sign(self) -> None:
        """Sign the version with this user's key."""
        sign(self.folder, (self.folder / MANIFEST).read_bytes())

    def _own_manifest(self) -> dict[str, Any] | None:
        """Return the manifest in the folder if this user's key proves that it is whole."""
        content = _content(self.folder / MANIFEST)
        if content is None or not is_signature(self.signature, content):
            return None
        manifest: dict[str, Any] = json.loads(content)
        return manifest

    def _copied_manifest(self, download: Download) -> dict[str, Any]:
        """Copy the manifest and the signature, which may have been written later; return the manifest."""
        contents = download([MANIFEST, SIGNATURE])
        if MANIFEST not in contents:
            raise ArtefactError(f"{self._place(MANIFEST)}: the file is missing")
        try:
            manifest = json.loads(contents[MANIFEST])
        except (ValueError, RecursionError) as error:
            raise ArtefactError(f"{self._place(MANIFEST)}: cannot be read: {error}") from error
        check_manifest(self._place("").rstrip("/"), manifest)
        for name in manifest["files"]:
            if not (self.folder / name).resolve().is_relative_to(self.folder.resolve()):
                raise ArtefactError(f"{self._place(MANIFEST)}: lists {name!r}, which is outside the version's folder")
        for name in (SIGNATURE, MANIFEST):
            content = contents.get(name)
            if content is not None and content != _content(self.folder / name):
                self._write(self.folder / name, content)
        return dict(manifest)

    def _is_whole(self, name: str, expected: str) -> bool:
        content = _content(self.folder / name)
        return content is not None and hashlib.sha256(content).hexdigest() == expected

    def _checked(self, name: str, content: bytes | None, expected: str) -> bytes:
        if content is None:
            raise ArtefactError(f"{self._place(name)}: the file is missing")
        if hashlib.sha256(content).hexdigest() != expected:
            raise ArtefactError(
                f"{self._place(name)}: changed since the version was written (its hash differs)",
                hint="restore the object, or train the version again",
            )
        return content

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_atomic(path, content, durable=False)
        except FileError as error:
            raise ArtefactError(error.message, hint=CACHE_HINT) from error

    def _place(self, name: str) -> str:
        return f"{self.url}/{self.model}/{self.version}/{name}"


def _content(path: Path) -> bytes | None:
    """Return what a file holds, None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None
