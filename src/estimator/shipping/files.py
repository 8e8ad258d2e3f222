"""Files of builds and deployments: YAML, and a lock on a folder."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import EstimatorError, needs_extra


def write_yaml(path: Path, documents: Sequence[Mapping[str, Any]], *, comment: str) -> None:
    """Write documents to a YAML file, atomically, below a comment."""
    with needs_extra("deploy", "writing YAML"):
        from ruamel.yaml import YAML
    writer = YAML()
    writer.explicit_start = len(documents) > 1
    writer.width = 110
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump_all(documents, text)
    write_atomic(path, f"# {comment}\n{text.getvalue()}")


@contextmanager
def folder_lock(folder: Path, *, purpose: str, error_type: type[EstimatorError]) -> Iterator[None]:
    """Lock a folder against other processes while the context is open; the lock ends with the process.

    `purpose` completes "another process is ...".

    Raises
    ------
    EstimatorError: of `error_type`: another process holds the lock, or the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise error_type(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error_type(
                f"{folder}: another process is {purpose}", hint="wait until it ends, or use another --folder"
            ) from None
        yield
    finally:
        os.close(handle)
