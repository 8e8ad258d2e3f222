"""What a deployment keeps in a folder: files in YAML, and a lock for one deployment at a time."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import DeploymentError, needs_extra


def write_yaml(path: Path, documents: Sequence[Mapping[str, Any]], *, opening: str) -> None:
    """Write documents in block style below a comment; the file is there whole or as it was."""
    with needs_extra("deploy", "writing YAML"):
        from ruamel.yaml import YAML
    writer = YAML()
    writer.explicit_start = len(documents) > 1
    writer.width = 110
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump_all(documents, text)
    write_atomic(path, f"# {opening}\n{text.getvalue()}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder for one process, for a block; the lock ends with the process, however it ends.

    Raises
    ------
    DeploymentError: another has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DeploymentError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DeploymentError(f"{folder}: another process is deploying there", hint="wait for it") from None
    try:
        yield
    finally:
        os.close(handle)
