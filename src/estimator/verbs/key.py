"""key: the API keys of a server, in a file that holds their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from estimator.core.lock import locked
from estimator.serving.auth.keys import ApiKey, new_key, read_keys, without_key, write_keys
from estimator.serving.auth.keys import list_keys as describe_keys


def add(path: Path, name: str, scopes: Sequence[str], *, now: datetime, days: float | None) -> tuple[ApiKey, str]:
    """Add a key to a file; return it with its text, which is stored nowhere."""
    key, text = new_key(name, scopes, now=now, days=days)
    with locked(path):
        write_keys(path, [*read_keys(path), key])
    return key, text


def list_keys(path: Path, *, now: datetime) -> list[dict[str, Any]]:
    """Return the keys of a file without their hashes, as JSON-ready data."""
    return describe_keys(read_keys(path), now)


def revoke(path: Path, name: str) -> None:
    """Remove all keys of a name from a file."""
    with locked(path):
        write_keys(path, without_key(read_keys(path), name))
