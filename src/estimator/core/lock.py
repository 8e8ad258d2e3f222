"""One lock for every file that two processes may change; the system releases it when its holder dies."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from estimator.errors import EstimatorError, FileError

logger = logging.getLogger("estimator.lock")
TIMEOUT_SECONDS = 30.0
# A wait that is shorter is not worth a word.
SILENT_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.002, 0.05


@contextmanager
def locked(
    path: Path,
    *,
    purpose: str = "changing it",
    name: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    error_type: type[EstimatorError] = FileError,
) -> Iterator[None]:
    """Let one process at a time, and one thread of it, change a file, which need not exist.

    `purpose` completes "another process is ...", `name` is what messages call the file. A wait of more than a second is
    said in the log. With a timeout of 0 there is no wait. A lock cannot be taken again by the thread that holds it.

    Raises
    ------
    EstimatorError: of `error_type`: another process holds the lock for too long, or the folder cannot be written.
    """
    lock = FileLock(path, purpose=purpose, name=name, timeout_seconds=timeout_seconds, error_type=error_type)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


class FileLock:
    """The lock of `locked`, for those who take and release it by calls. Mutable: it holds an open file.

    The lock is the system's on a hidden file next to the path, which names the holder and is removed at the end. All
    names of a file, such as symbolic links, share one lock.
    """

    def __init__(
        self,
        path: Path,
        *,
        purpose: str = "changing it",
        name: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        error_type: type[EstimatorError] = FileError,
    ) -> None:
        self._name, self._purpose = name or str(path), purpose
        self._timeout_seconds, self._error_type = timeout_seconds, error_type
        target = path.resolve()
        self._file = target.with_name(f".{target.name}.lock")
        self._handle = -1

    def acquire(self) -> bool:
        """Wait for the lock and take it; return True.

        Raises
        ------
        EstimatorError: another process holds the lock for too long, or the folder cannot be written.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._waited_for()
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        except OSError as error:
            self.release()
            raise self._error_type(f"{self._name}: cannot be written: {error.strerror}") from error
        return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._handle != -1:
            handle, self._handle = self._handle, -1
            try:
                # Removed while it is locked: a process that has opened it sees that it is no longer the lock.
                self._file.unlink(missing_ok=True)
            finally:
                os.close(handle)

    def _waited_for(self) -> int:
        """Return the handle of the locked file."""
        began, pause, is_said = time.monotonic(), FIRST_PAUSE_SECONDS, False
        while (handle := _locked_handle(self._file)) is None:
            waited = time.monotonic() - began
            if waited >= self._timeout_seconds:
                raise self._error_type(self._sentence(), hint="wait until it ends, and try again")
            if waited >= SILENT_SECONDS and not is_said:
                logger.warning("%s; waiting for it", self._sentence())
                is_said = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return handle

    def _sentence(self) -> str:
        try:
            pid, host = self._file.read_text().split()
        except (OSError, ValueError):
            return f"{self._name}: another process is {self._purpose}"
        where = "" if host == socket.gethostname() else f" on {host}"
        return f"{self._name}: another process is {self._purpose}: process {pid}{where}"


def _locked_handle(path: Path) -> int | None:
    """Return a handle that holds the system's lock on a file, which is created; None if another has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_at(handle, path):
            return handle
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one at a path, and not one that was removed or replaced since."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
