"""A folder for what does not fit into memory: its disk is counted before it is used, and nothing is left behind."""

from __future__ import annotations

import errno
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from estimator.core.files import remove_unfinished, scratch_folder
from estimator.core.text import format_bytes
from estimator.errors import FileError

# Left free for the version, and for other programs.
SPARED_BYTES = 128_000_000
ELSEWHERE = "set training.scratch to a folder on a larger disk, or raise training.memory_limit"


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder that exists as long as the work does; see `scratch_on_demand`."""

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
            problem = f"{format_bytes(n_bytes)} more are needed, {format_bytes(free)} are free"
            raise self._unwritable(problem, hint=ELSEWHERE)
        path = self.folder / f"{secrets.token_hex(8)}{suffix}"
        try:
            yield path
        except OSError as error:
            path.unlink(missing_ok=True)
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise self._unwritable(error.strerror or str(error), hint=ELSEWHERE if is_full else None) from error

    def _unwritable(self, problem: str, *, hint: str | None) -> FileError:
        folder = self.folder.parent
        return FileError(f"{folder}: training cannot write what does not fit into memory: {problem}", hint=hint)


@contextmanager
def scratch_on_demand(parent: Path) -> Iterator[Callable[[], Scratch]]:
    """Yield a function that creates a folder in `parent`; what it created is removed at the end, also by SIGTERM.

    What killed processes have left in `parent` is removed at once.
    """
    parent = parent.expanduser().absolute()
    remove_unfinished(parent)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_opened(parent))


@contextmanager
def _opened(parent: Path) -> Iterator[Scratch]:
    is_new = not parent.exists()
    with ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if is_new:
                stack.callback(_remove_empty, parent)
            folder = stack.enter_context(scratch_folder(parent))
        except OSError as error:
            problem = "is no folder" if parent.is_file() else f"cannot be written: {error.strerror}"
            raise FileError(f"{parent}: {problem}", hint="set training.scratch to a folder of your own") from error
        with _ended_by_sigterm():
            yield Scratch(folder)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Context manager: SIGTERM ends the program as an exception does, so that it cleans up."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
