"""YAML files of builds and deployments."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import needs_extra


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
