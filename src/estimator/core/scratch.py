"""A folder for what does not fit into memory: its disk is counted before it is used, and nothing is left behind."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from estimator.core.files import scratch_folder
from estimator.core.text import format_bytes
from estimator.errors import FileError

# Left free for the version, and for other programs.
SPARED_BYTES = 128_000_000


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder that exists as long as the work does; see `open_scratch`."""

    folder: Path

    @contextmanager
    def new_file(self, n_bytes: int, suffix: str = "") -> Iterator[Path]:
        """Yield the path of a file to write `n_bytes` to.

        Raises
        ------
        FileError: the disk has too little room, before or while it is written; a part of a file is removed.
        """
        free = shutil.disk_usage(self.folder).free
        if n_bytes > free - SPARED_BYTES:
            raise self._full(f"{format_bytes(n_bytes)} more are needed, {format_bytes(free)} are free")
        path = self.folder / f"{secrets.token_hex(8)}{suffix}"
        try:
            yield path
        except OSError as error:
            path.unlink(missing_ok=True)
            raise self._full(error.strerror or str(error)) from error

    def _full(self, reason: str) -> FileError:
        return FileError(
            f"{self.folder.parent}: training cannot write what does not fit into memory: {reason}",
            hint="set training.scratch to a folder on a larger disk, or raise training.memory_limit",
        )


@contextmanager
def open_scratch(parent: Path) -> Iterator[Scratch]:
    """Yield a new folder in `parent`; it is removed at the end, and after a crash by the next one there.

    Raises
    ------
    FileError: the folder cannot be created.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{parent}: cannot be written: {error.strerror}", hint="set training.scratch") from error
    with scratch_folder(parent) as folder:
        yield Scratch(folder)
