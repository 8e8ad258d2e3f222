"""Atomic writes: whatever interrupts the process, a path holds its old content or all of the new one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from estimator.errors import FileError

# Names that begin like this are unfinished: readers of a folder skip them.
TEMPORARY_PREFIX = ".writing-"


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
        with atomic_path(path.resolve() if path.is_symlink() else path, durable=durable) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from error


def write_folder_atomic(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files, which appears when all of them are on the disk.

    `files` maps names, which may hold subfolders, to content.

    Raises
    ------
    FileError: the folder cannot be written, or exists and is not empty; nothing is left behind.
    """
    temporary = temporary_path(folder.parent)
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            _sync(path)
        temporary.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_path(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; the file written there replaces `path` when the block succeeds.

    The temporary file is removed if the block fails. Errors of the operating system pass through.
    """
    with temporary_file(path.parent) as temporary:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Yield an unused path in a folder, for a file whose final name depends on its content.

    Rename the file within the block to keep it: what is still at the temporary path afterwards is removed.
    """
    temporary = temporary_path(folder)
    try:
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def temporary_path(folder: Path) -> Path:
    """Return a path in a folder that no other process or thread uses."""
    return folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"


def _sync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
