"""Image layers as reproducible tar archives: the same files give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from estimator.core.files import temporary_file
from estimator.shipping.image.minimal_base import LayerFile

# Higher levels take seconds more and save less than a percent.
GZIP_LEVEL = 6
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a layout, named by its digest: `sha256:` and 64 hexadecimal digits."""

    digest: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer: its compressed blob, and the digest (`diff_id`) and size of the tar in it."""

    blob: Blob
    diff_id: str
    unpacked_bytes: int
    created_by: str


def files_below(folder: Path, prefix: str) -> list[LayerFile]:
    """Return all files of a folder, below a prefix in the image; links are resolved."""
    return [
        LayerFile(f"{prefix}/{path.relative_to(folder).as_posix()}", path, os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file()
    ]


def write_layer(
    files: Iterable[LayerFile],
    blobs: Path,
    created_by: str,
    *,
    epoch: int,
    media_type: str,
    folders: Mapping[str, int] | None = None,
) -> ImageLayer:
    """Write files as a layer into a folder of blobs.

    `epoch` is the time of all files, in seconds since 1970; `folders` are paths and modes of folders to create.
    """

    def write(target: BinaryIO) -> None:
        with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for name, mode in (folders or {}).items():
                archive.addfile(_entry(name, epoch, tarfile.DIRTYPE, mode))
            _add_files(archive, files, epoch)

    return pack_layer(write, blobs, created_by, media_type=media_type)


def _add_files(archive: tarfile.TarFile, files: Iterable[LayerFile], epoch: int) -> None:
    """Add files in the order of their names, each after its parent folders."""
    written: set[PurePosixPath] = set()
    for file in sorted(files, key=lambda file: file.name):
        for parent in reversed(PurePosixPath(file.name).parents[:-1]):
            if parent not in written:
                written.add(parent)
                archive.addfile(_entry(str(parent), epoch, tarfile.DIRTYPE, 0o755))
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        if file.is_link:
            link = _entry(file.name, epoch, tarfile.SYMTYPE, 0o777)
            link.linkname = content.decode()
            archive.addfile(link)
        else:
            entry = _entry(file.name, epoch, tarfile.REGTYPE, 0o755 if file.is_executable else 0o644)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def pack_layer(write: Callable[[BinaryIO], None], blobs: Path, created_by: str, *, media_type: str) -> ImageLayer:
    """Compress the tar that `write` writes as a layer into a folder of blobs."""
    with temporary_file(blobs) as temporary:
        with temporary.open("wb") as file:
            compressed = HashingWriter(file)
            with gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=GZIP_LEVEL, mtime=0, filename="") as zipped:
                unpacked = HashingWriter(zipped)
                write(unpacked)  # type: ignore[arg-type] # tarfile only calls write and flush
        temporary.replace(blobs / compressed.hexdigest)
    blob = Blob(f"sha256:{compressed.hexdigest}", compressed.size_bytes, media_type)
    return ImageLayer(blob, f"sha256:{unpacked.hexdigest}", unpacked.size_bytes, created_by)


class HashingWriter:
    """A file that computes the sha256 and the size of what is written to it."""

    def __init__(self, target: BinaryIO | gzip.GzipFile) -> None:
        self._target, self._hash, self.size_bytes = target, hashlib.sha256(), 0

    @property
    def hexdigest(self) -> str:
        """The sha256 in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Write bytes to the target."""
        self._hash.update(data)
        self.size_bytes += len(data)
        self._target.write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the target is flushed when it is closed."""


def _entry(name: str, epoch: int, entry_type: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = entry_type, mode, epoch
    return entry
