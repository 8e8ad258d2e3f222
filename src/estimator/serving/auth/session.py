"""Sessions of browsers: signing in with a key of scope admin, and the cookie that then stands for it."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address, ip_network
from math import ceil

from estimator.serving.auth.access import BAD_KEY, Rejection
from estimator.serving.auth.keys import ApiKey, KeyRing

SCOPE = "admin"
SESSION_SECONDS = 12 * 3600
SECRET_BYTES = 32
# Failed attempts to sign in, per client address.
MAX_FAILURES, FAILURE_SECONDS = 5, 60.0
MAX_ADDRESSES = 10_000
_TOKEN = re.compile(r"([0-9]{1,12})\.((?:[0-9a-f]{2})+)\.[0-9a-f]{64}")


@dataclass
class Sessions:
    """Signs browsers in and knows them again; one per process. Mutable: it counts failures, in this process only.

    A session is a token that any worker with the same `secret` can check, and that ends with its key.
    """

    ring: KeyRing
    now: Callable[[], datetime]
    secret: bytes
    clock: Callable[[], float] = time.monotonic
    # Client address -> number of failures, and when the first of them was.
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def start(self, text: str, client: str) -> tuple[ApiKey, str] | Rejection:
        """Return the key with this text and the token of a new session, or why there is none."""
        address, now = _network(client), self.now()
        count, since = self._failures.get(address, (0, self.clock()))
        seconds_left = since + FAILURE_SECONDS - self.clock()
        if seconds_left <= 0:
            count, since = 0, self.clock()
        elif count >= MAX_FAILURES:
            message = f"too many failed sign-ins from this address; try again in {ceil(seconds_left)} s"
            return Rejection(429, "rate_limit", message, (("retry-after", str(ceil(seconds_left))),))
        key = self.ring.find(text.encode())
        if key is not None and key.allows(SCOPE, now):
            self._failures.pop(address, None)
            return key, session_token(key, int(now.timestamp()) + SESSION_SECONDS, self.secret)
        if len(self._failures) >= MAX_ADDRESSES:
            self._failures.clear()
        self._failures[address] = count + 1, since
        if key is None or key.is_expired(now):
            return BAD_KEY
        return Rejection(403, "scope", f"API key {key.name!r} lacks the scope {SCOPE!r}, which opens pages")

    def find(self, token: str) -> ApiKey | None:
        """Return the key of a session, None when it has ended, as it does at once with its key or the key's scope."""
        parts, now = _TOKEN.fullmatch(token), self.now()
        if parts is None or int(parts[1]) <= now.timestamp():
            return None
        for key in self.ring.named(bytes.fromhex(parts[2]).decode(errors="replace")):
            if hmac.compare_digest(token, session_token(key, int(parts[1]), self.secret)) and key.allows(SCOPE, now):
                return key
        return None


def session_token(key: ApiKey, expires: int, secret: bytes) -> str:
    """Return the token of a session that ends at a time, in seconds since 1970: time, name, and an HMAC of both.

    It is keyed by the secret of the server and the stored hash: it is worth nothing once the key is revoked, and a
    reader of stored hashes cannot make one.
    """
    content = f"{expires}.{key.name.encode().hex()}"
    return (
        f"{content}.{hmac.digest(secret + bytes.fromhex(key.sha256), b'session ' + content.encode(), 'sha256').hex()}"
    )


def new_secret() -> bytes:
    """Return a secret that sessions are signed with; they end when it is forgotten, as at a restart."""
    return secrets.token_bytes(SECRET_BYTES)


def _network(client: str) -> str:
    """Return what counts as one address: of IPv6 a /64, as one machine has all addresses of it."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ip_network((address, 64), strict=False))
