"""Who is let in: a key, its scope and its rate, judged before anything else of a request is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from estimator.serving.auth.keys import Key, KeyRing

OPEN_PATHS = ("/healthz", "/readyz")
# Everything that is not named here asks for "predict".
SCOPES_BY_PATH = {"/v1/labels": "labels", "/metrics": "admin", "/metrics/grafana.json": "admin", "/monitor": "admin"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request is not let in: the status, why in a word for the counts, and what the client is told."""

    status: int
    reason: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


NO_KEY = Refusal(
    401, "key", "a key is needed: send it as X-API-Key or as a Bearer token", (("www-authenticate", "Bearer"),)
)
BAD_KEY = Refusal(401, "key", "the key opens nothing here, or has ended", (("www-authenticate", "Bearer"),))


@dataclass
class Bucket:
    """What is left of a key's rate: `tokens` requests at the time `at`, in seconds."""

    tokens: float
    at: float


@dataclass
class Gate:
    """Judges requests; without a ring everybody may come, and all share one rate.

    `rate` is requests per second and key, up to a second's worth at once (a token bucket); None for no limit.
    """

    ring: KeyRing | None = None
    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def judge(self, credential: bytes | None, path: str) -> Refusal | Key | None:
        """Return why a request is refused, or whose it is; None when no keys are asked for."""
        found: Key | None = None
        if self.ring is not None and path not in OPEN_PATHS:
            if not credential:
                return NO_KEY
            found = self.ring.find(credential)
            now = self.now()
            if found is None or found.is_over(now):
                return BAD_KEY
            scope = SCOPES_BY_PATH.get(path, "predict")
            if not found.may(scope, now):
                return Refusal(403, "scope", f"the key {found.name!r} may not do this: it needs the scope {scope!r}")
        if self.rate is not None and path not in OPEN_PATHS and self._bucket(found, self.rate).tokens < 1:
            seconds = max(1, round(1 / self.rate))
            message = f"more than {self.rate:g} requests a second; try again in {seconds} s"
            return Refusal(429, "rate", message, (("retry-after", str(seconds)),))
        return found

    def spend(self, key: Key | None) -> None:
        """Take a request from a key's rate."""
        if self.rate is not None:
            self._bucket(key, self.rate).tokens -= 1

    def give_back(self, key: Key | None) -> None:
        """Undo `spend` for a request that is going to be judged again."""
        if self.rate is not None:
            self._bucket(key, self.rate).tokens += 1

    def _bucket(self, key: Key | None, rate: float) -> Bucket:
        name, now, most = "" if key is None else key.name, self.clock(), max(rate, 1.0)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        return bucket


def credential_of(headers: dict[bytes, bytes]) -> bytes | None:
    """Return the key that a request's headers (names in lower case) hold."""
    if (given := headers.get(b"x-api-key")) is not None:
        return given
    kind, _, text = headers.get(b"authorization", b"").partition(b" ")
    return text.strip() if kind.lower() == b"bearer" else None
