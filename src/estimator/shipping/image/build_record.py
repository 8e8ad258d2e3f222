"""The record of a built image, image.json, which `push` and `deploy` read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import ImageError

RECORD = "image.json"


def write_record(record: Mapping[str, Any], folder: Path) -> None:
    """Write the record of the image built in a folder."""
    write_atomic(folder / RECORD, json.dumps(record, indent=2).encode())


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the image built in a folder, with "pushed" once it was pushed.

    Raises
    ------
    ImageError: no image was built there, or the record cannot be read.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise ImageError(f"{folder}: contains no built image", hint="estimator image VERSION") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {error}", hint="estimator image VERSION") from None
    if not isinstance(record, dict) or not record.keys() >= {"name", "tag", "builder", "layout"}:
        raise ImageError(f"{path}: is not a record of a built image", hint="estimator image VERSION")
    return record
