"""Files from afar -> whole files in a private folder, in streams; half a file is never taken for one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from estimator.data.sources.address import Address
from estimator.errors import SourceError

# Scheme -> function of an address, a folder to fetch into and the endings of tables.
FETCHERS = {
    "s3": "estimator.data.sources.s3:fetch_objects",
    "http": "estimator.data.sources.web:fetch_page",
    "https": "estimator.data.sources.web:fetch_page",
}
BLOCK_BYTES = 1 << 20
Fetched = dict[Path, str]
Fetcher = Callable[[Address, Path, tuple[str, ...]], Fetched]


def fetch(address: Address, scratch: Path, endings: tuple[str, ...]) -> Fetched:
    """Fetch the files of an address into folders of their own; return each file with what it is called in messages.

    Raises
    ------
    SourceError: they cannot be reached, or arrive only in part.
    """
    module, _, name = FETCHERS[address.scheme].partition(":")
    fetcher: Fetcher = getattr(importlib.import_module(module), name)
    return fetcher(address, scratch, endings)


def save(blocks: Iterable[bytes], scratch: Path, name: str, *, size: int | None) -> Path:
    """Write the blocks of the file `name` into a folder of its own; `size` is how many bytes it should have."""
    folder = scratch / f"{sum(1 for _ in scratch.iterdir()):06}"
    path = folder / (PurePosixPath(name).name[-200:] or "table")
    part = folder / "part"
    try:
        folder.mkdir()
        with part.open("wb") as file:
            written = sum(file.write(block) for block in blocks)
    except OSError as error:
        raise SourceError(f"{name}: cannot be fetched: {error.strerror or error}", hint=_way_out(error)) from None
    if size is not None and written != size:
        raise SourceError(f"{name}: the download broke off after {written:,} of {size:,} bytes", hint="try again")
    return part.replace(path)


def _way_out(error: OSError) -> str:
    return "try again later" if isinstance(error, TimeoutError | ConnectionError) else "is there room in TMPDIR?"
