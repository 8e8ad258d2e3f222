"""Paths, globs or a folder -> the source that reads them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from estimator.errors import SourceError, needs_extra
from estimator.sources import SHELF
from estimator.sources.base import Source
from estimator.wording import listing


def open_source(
    path: str | Sequence[str], *, kind: str | None = None, separator: str | None = None, folder: Path | None = None
) -> Source:
    """Return the source of one path, glob or folder, or of several; its kind is told by the ending or named.

    Relative paths are taken from `folder`.

    Raises
    ------
    SourceError: nothing matches, or the ending tells no kind.
    """
    wanted = [path] if isinstance(path, str) else list(path)
    files = [file for item in wanted for file in _files((folder or Path()) / item)]
    with needs_extra("batch", "reading a table"):
        found = SHELF.load(kind or _kind_of(files[0]))
    return found(tuple(files), separator)  # type: ignore[call-arg] # every kind takes paths and separator


def endings() -> dict[str, str]:
    """Return ending -> kind for every kind on the shelf."""
    return {ending: kind for kind in SHELF.names() for ending in SHELF.load(kind).endings}


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(item for item in path.iterdir() if item.name.lower().endswith(tuple(endings())))
        if not inside:
            raise SourceError(f"{path}: no table in this folder", hint=f"endings: {listing(endings())}")
        return inside
    found = [path] if path.is_file() else sorted(Path(item) for item in glob.glob(str(path)))  # noqa: PTH207 # absolute patterns
    if not found:
        raise SourceError(f"{path}: no such file, and no file matches it as a pattern", hint=_neighbours(path))
    return found


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    tables = [item.name for item in sorted(path.parent.iterdir()) if item.name.endswith(tuple(endings()))]
    return f"tables in {path.parent}: {listing(tables, limit=10)}"


def _kind_of(path: Path) -> str:
    for names in (SHELF.kinds, SHELF):
        for kind in names:
            if path.name.lower().endswith(SHELF.load(kind).endings):
                return kind
    raise SourceError(
        f"{path}: the ending tells no kind of source",
        hint=f"name it with data.kind, or use one of {listing(endings())}",
    )
