"""The present, for the edges that hand it in: when it is, who acts, and a token that no other moment has."""

from __future__ import annotations

import getpass
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime

seconds = time.perf_counter


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is done and by whom; the random token keeps two of the same second apart."""

    time: datetime
    who: str
    token: str

    @classmethod
    def now(cls) -> Moment:
        """Return the present moment in UTC, to the second."""
        return cls(datetime.now(UTC).replace(microsecond=0), _user(), secrets.token_hex(3))

    @property
    def iso(self) -> str:
        """ISO 8601 with a Z.

        >>> Moment(datetime(2026, 11, 22, 10, 15, tzinfo=UTC), "me", "3f2a91").iso
        '2026-11-22T10:15:00Z'
        """
        return self.time.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def version(self) -> str:
        """A name for a version, sortable by age.

        >>> Moment(datetime(2026, 11, 22, 10, 15, tzinfo=UTC), "me", "3f2a91").version
        '2026-11-22T10-15-00Z-3f2a91'
        """
        return f"{self.time.strftime('%Y-%m-%dT%H-%M-%SZ')}-{self.token}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
