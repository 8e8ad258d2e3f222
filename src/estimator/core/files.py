"""Atomic writes: whatever interrupts the process, a path holds its old content or all of the new one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from estimator.core.lock import is_at
from estimator.errors import FileError

# Names that begin like this are unfinished: readers of a folder skip them.
TEMPORARY_PREFIX = ".writing-"
TEMPORARY_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"\d+-[0-9a-f]{8}")


def write_atomic(path: Path, content: bytes | str, *, durable: bool = True, mode: int = 0o666) -> None:
    """Write a file so that readers find the old content or the new one, never a part of it.

    Missing folders are created. With `durable`, the content is on the disk when the call returns, even if the power
    fails afterwards. `mode` are the permissions of the file, less the umask. Text is encoded as UTF-8. A symbolic link
    is followed, and a pipe or device, such as /dev/stdout, is written to in place.

    Raises
    ------
    FileError: the file cannot be written; the old one is intact.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path.resolve() if path.is_symlink() else path, durable=durable, mode=mode) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from error


def write_folder_atomic(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files, which appears when all of them are on the disk.

    `files` maps names, which may hold subfolders, to content.

    Raises
    ------
    FileError: the folder cannot be written, or exists and is not empty; nothing is left behind.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(folder.parent, is_folder=True) as temporary:
            for name, content in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                _sync(path)
            temporary.rename(folder)
            _sync(folder.parent)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written: {error.strerror}") from error


@contextmanager
def atomic_path(path: Path, *, durable: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Yield the path of an empty file in the folder of `path`; it replaces `path` when the block succeeds.

    The temporary file is removed if the block fails. Errors of the operating system pass through.
    """
    with temporary_file(path.parent, mode=mode) as temporary:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)


@contextmanager
def temporary_file(folder: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yield the path of an empty file in a folder, for content that decides the final name.

    Rename the file within the block to keep it: what is still at the temporary path afterwards is removed.
    """
    with _temporary(folder, mode=mode) as temporary:
        yield temporary


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder of this user alone; those that killed processes have left are removed by the next.

    It is in `parent`, or in the folder of temporary files.
    """
    with _temporary(parent or Path(gettempdir()), is_folder=True, mode=0o600) as folder:
        yield folder


@contextmanager
def _temporary(folder: Path, *, is_folder: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Yield a new file or folder in a folder, locked for as long as its process works on it."""
    remove_unfinished(folder)
    path, handle = _created(folder, is_folder, mode)
    try:
        yield path
    finally:
        # While it is locked, and only by its name: what was renamed stays.
        _remove(path)
        os.close(handle)


def _created(folder: Path, is_folder: bool, mode: int) -> tuple[Path, int]:
    """Return the path of a new file or folder that no other process uses, and a handle that locks it."""
    while True:
        path = folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        if is_folder:
            # Who may read a folder may enter it.
            path.mkdir(mode | (mode & 0o444) >> 2)
        try:
            handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileNotFoundError:
            if folder.is_dir():
                continue
            raise
        # A file system without locks has none to look at, either: there, nothing is taken for unfinished.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if is_at(handle, path):
            return path, handle
        # Another process found it before it was locked, and removed it.
        os.close(handle)


def user_cache() -> Path:
    """Return the folder of what can be made again: ESTIMATOR_CACHE, else one in the user's own cache.

    Raises
    ------
    RuntimeError: the user has no home.
    """
    named = os.environ.get("ESTIMATOR_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "estimator"


def remove_unfinished(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder; those that still work hold a lock."""
    with contextlib.suppress(OSError):
        for path in list(folder.glob(f"{TEMPORARY_PREFIX}*")):
            if TEMPORARY_NAME.fullmatch(path.name):
                _remove_if_unlocked(path)


def _remove_if_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):
        # In a folder of all users, the name may be somebody else's pipe or link.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
