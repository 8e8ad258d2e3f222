"""Saving a download: streamed to disk, and an incomplete file never passes for a whole one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from estimator.errors import SourceError

BLOCK_BYTES = 1 << 20


def save_blocks(
    blocks: Iterable[bytes], scratch: Path, name: str, *, size_bytes: int | None, encoding: str | None = None
) -> Path:
    """Write a file's blocks into a new folder of `scratch` and return its path.

    `encoding` is the Content-Encoding they were sent with. What is packed by it is unpacked, unless the name says that
    the file itself is.

    Raises
    ------
    SourceError: the file cannot be written, is not `size_bytes` long, or has another encoding than gzip.
    """
    if encoding not in (None, "", "identity", "gzip", "x-gzip"):
        raise SourceError(f"{name}: sent with the content encoding {encoding!r}", hint="send it plain or as gzip")
    is_packed = encoding in ("gzip", "x-gzip") and not name.lower().endswith(".gz")
    folder = scratch / f"{sum(1 for _ in scratch.iterdir()):06}"
    path = folder / (PurePosixPath(name).name[-200:] or "table")
    unfinished = folder / "part"
    try:
        folder.mkdir()
        with unfinished.open("wb") as file:
            n_read = _copy(blocks, file, zlib.decompressobj(wbits=31) if is_packed else None)
    except (zlib.error, EOFError) as error:
        raise SourceError(f"{name}: sent as gzip, but is damaged: {error}", hint="try again") from None
    except OSError as error:
        is_network = isinstance(error, TimeoutError | ConnectionError)
        hint = "try again later" if is_network else "is there space in TMPDIR?"
        raise SourceError(f"{name}: cannot be downloaded: {error.strerror or error}", hint=hint) from None
    if size_bytes is not None and n_read != size_bytes:
        raise SourceError(f"{name}: the download stopped after {n_read:,} of {size_bytes:,} bytes", hint="try again")
    return unfinished.replace(path)


def _copy(blocks: Iterable[bytes], file: IO[bytes], unpacker: zlib._Decompress | None) -> int:
    """Write blocks to a file, unpacked, and return how many bytes were read."""
    n_read = 0
    for block in blocks:
        n_read += len(block)
        file.write(block if unpacker is None else unpacker.decompress(block))
    if unpacker is not None and not unpacker.eof:
        raise EOFError("it ends too early")
    return n_read
