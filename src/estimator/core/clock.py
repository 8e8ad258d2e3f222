"""The present, for the edges that hand it in: when it is, who acts, and a token that no other moment has."""

from __future__ import annotations

import getpass
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is done and by whom; the random token keeps two of the same second apart."""

    time: datetime
    user: str
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


def parse_time(text: str, now: float) -> float:
    """Return a time in seconds since 1970: ISO 8601, in UTC unless it says otherwise, or how long ago, such as 7d.

    >>> parse_time("12h", 100_000.0), parse_time("1970-01-02", 0.0)
    (56800.0, 86400.0)

    Raises
    ------
    ValueError: it is neither.
    """
    if found := re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhdw])", text.strip()):
        return now - float(found[1]) * SECONDS_PER_UNIT[found[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a time such as 2026-11-22T10:15, or 7d, 12h, 30m ago, got {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def format_time(at: float) -> str:
    """Return seconds since 1970 as people read them, in UTC.

    >>> format_time(86_400.0)
    '1970-01-02 00:00 UTC'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
