"""Layers of an image: in a fixed order, with fixed times and owners, so that the same files give the same bytes."""

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

# Of gzip: a level more costs seconds and saves hardly a percent.
LEVEL = 6
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in a layout, known by their digest, `sha256:` and 64 hexadecimal digits; `size` in bytes."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer: its blob as it travels, the digest and size in bytes of the tar in it, and what it holds in words."""

    blob: Blob
    diff_id: str
    unpacked_bytes: int
    created_by: str


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A file of a layer, or a link to what `content` names; `name` is its path from the root."""

    name: str
    content: Path | bytes
    is_program: bool = False
    is_link: bool = False


def files_below(folder: Path, prefix: str) -> list[LayerFile]:
    """Return all files of a folder, by where they are to be in the image; links become what they point at."""
    return [
        LayerFile(f"{prefix}/{path.relative_to(folder).as_posix()}", path, os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file()
    ]


def write_layer(
    files: Iterable[LayerFile], folder: Path, created_by: str, *, epoch: int, media_type: str,
    folders: Mapping[str, int] | None = None,
) -> ImageLayer:  # fmt: skip
    """Write files as a layer into a folder of blobs; their times are `epoch`, in seconds since 1970.

    `folders` are paths and modes of folders that are there also where nothing is in them.
    """

    def write(target: BinaryIO) -> None:
        with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            made: set[PurePosixPath] = set()
            for name, mode in (folders or {}).items():
                archive.addfile(_entry(name, epoch, tarfile.DIRTYPE, mode))
            for file in sorted(files, key=lambda file: file.name):
                for above in reversed(PurePosixPath(file.name).parents[:-1]):
                    if above not in made:
                        made.add(above)
                        archive.addfile(_entry(str(above), epoch, tarfile.DIRTYPE, 0o755))
                content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
                if file.is_link:
                    link = _entry(file.name, epoch, tarfile.SYMTYPE, 0o777)
                    link.linkname = content.decode()
                    archive.addfile(link)
                    continue
                entry = _entry(file.name, epoch, tarfile.REGTYPE, 0o755 if file.is_program else 0o644)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    return packed_layer(write, folder, created_by, media_type=media_type)


def packed_layer(write: Callable[[BinaryIO], None], folder: Path, created_by: str, *, media_type: str) -> ImageLayer:
    """Pack what `write` writes, a tar, as a layer into a folder of blobs."""
    with temporary_file(folder) as temporary:
        with temporary.open("wb") as raw:
            outer = HashingWriter(raw)
            with gzip.GzipFile(fileobj=outer, mode="wb", compresslevel=LEVEL, mtime=0, filename="") as zipped:
                inner = HashingWriter(zipped)
                write(inner)  # type: ignore[arg-type] # as much of a file as a tar needs
        temporary.replace(folder / outer.hexdigest)
    blob = Blob(f"sha256:{outer.hexdigest}", outer.size, media_type)
    return ImageLayer(blob, f"sha256:{inner.hexdigest}", inner.size, created_by)


class HashingWriter:
    """A file to write to that knows the sha256 and the number of the bytes it was given."""

    def __init__(self, target: BinaryIO | gzip.GzipFile) -> None:
        self._target, self._hash, self.size = target, hashlib.sha256(), 0

    @property
    def hexdigest(self) -> str:
        """The sha256 in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._hash.update(data)
        self.size += len(data)
        self._target.write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the target is flushed when it is closed."""


def _entry(name: str, epoch: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, epoch
    return entry
