"""The present, for the edges that hand it in."""

from __future__ import annotations

import getpass
import os
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def iso(moment: datetime) -> str:
    """Return a moment as ISO 8601 with a Z.

    >>> iso(datetime(2026, 11, 22, 10, 15, tzinfo=UTC))
    '2026-11-22T10:15:00Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def who() -> str:
    """Return the user's name for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


seconds = time.perf_counter
