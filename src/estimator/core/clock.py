"""The clock: the present moment, and times as people write and read them."""

from __future__ import annotations

import getpass
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

SECONDS_PER_DAY = 86_400
# Units of a time that is given as an age, such as 7d.
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": SECONDS_PER_DAY, "w": 7 * SECONDS_PER_DAY}


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens and who does it; the random token distinguishes two moments of the same second."""

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
        """A version's name; names sort by age.

        >>> Moment(datetime(2026, 11, 22, 10, 15, tzinfo=UTC), "me", "3f2a91").version
        '2026-11-22T10-15-00Z-3f2a91'
        """
        return f"{self.time.strftime('%Y-%m-%dT%H-%M-%SZ')}-{self.token}"


def parse_time(text: str, now: float) -> float:
    """Return a time in seconds since 1970, from ISO 8601 (UTC unless it has an offset) or an age such as 7d.

    >>> parse_time("12h", 100_000.0), parse_time("1970-01-02", 0.0)
    (56800.0, 86400.0)

    Raises
    ------
    ValueError: the text is neither.
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhdw])", text.strip()):
        return now - float(match[1]) * SECONDS_PER_UNIT[match[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"expected a time such as 2026-11-22T10:15, or an age such as 7d, 12h or 30m, got {text!r}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def format_time(timestamp: float) -> str:
    """Return seconds since 1970 as a date and time in UTC.

    >>> format_time(86_400.0)
    '1970-01-02 00:00 UTC'
    """
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso_time(timestamp: float) -> str:
    """Return seconds since 1970 in ISO 8601, in UTC, for programs.

    >>> iso_time(86_400.25)
    '1970-01-02T00:00:00.250Z'
    """
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
