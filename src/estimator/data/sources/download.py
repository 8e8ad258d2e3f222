"""Saving a download: streamed to disk, and an incomplete file never passes for a whole one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from estimator.errors import SourceError

BLOCK_BYTES = 1 << 20


def save_blocks(blocks: Iterable[bytes], scratch: Path, name: str, *, size_bytes: int | None) -> Path:
    """Write a file's blocks into a new folder of `scratch` and return its path.

    Raises
    ------
    SourceError: the file cannot be written, or is not `size_bytes` long.
    """
    folder = scratch / f"{sum(1 for _ in scratch.iterdir()):06}"
    path = folder / (PurePosixPath(name).name[-200:] or "table")
    unfinished = folder / "part"
    try:
        folder.mkdir()
        with unfinished.open("wb") as file:
            n_written = sum(file.write(block) for block in blocks)
    except OSError as error:
        is_network = isinstance(error, TimeoutError | ConnectionError)
        hint = "try again later" if is_network else "is there space in TMPDIR?"
        raise SourceError(f"{name}: cannot be downloaded: {error.strerror or error}", hint=hint) from None
    if size_bytes is not None and n_written != size_bytes:
        raise SourceError(f"{name}: the download stopped after {n_written:,} of {size_bytes:,} bytes", hint="try again")
    return unfinished.replace(path)
