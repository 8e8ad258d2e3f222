"""Access to the server: API key, scope and rate limit, checked before anything else of a request is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from estimator.serving.auth.keys import ApiKey, KeyRing

PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/sign-in", "/sign-out"})
# All other paths need the scope "predict".
SCOPES_BY_PATH = {"/v1/labels": "labels", "/metrics": "admin", "/metrics/grafana.json": "admin", "/monitor": "admin"}


@dataclass(frozen=True, slots=True)
class Rejection:
    """The response to a request without access: status, reason (one word, for the metrics), message and headers."""

    status: int
    reason: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


_CHALLENGE = (("www-authenticate", "Bearer"),)
NO_KEY = Rejection(401, "key", "API key missing: send it as X-API-Key or as a Bearer token", _CHALLENGE)
BAD_KEY = Rejection(401, "key", "API key unknown or expired", _CHALLENGE)


@dataclass
class TokenBucket:
    """The requests that a key has left: `tokens` at the time `updated`, in seconds. Mutable: requests take tokens."""

    tokens: float
    updated: float


@dataclass
class Access:
    """Checks requests against a key ring and a rate limit; without a ring, everyone has access and one rate limit.

    `rate` is in requests per second and key, with bursts of up to one second's worth; None for no limit.
    """

    ring: KeyRing | None = None
    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _buckets: dict[str, TokenBucket] = field(default_factory=dict)

    def check(self, credential: bytes | None, path: str) -> Rejection | ApiKey | None:
        """Return why a request is rejected, or its key; None when no key is required."""
        key: ApiKey | None = None
        if self.ring is not None and path not in PUBLIC_PATHS:
            if not credential:
                return NO_KEY
            key = self.ring.find(credential)
            now = self.now()
            if key is None or key.is_expired(now):
                return BAD_KEY
            scope = scope_of(path)
            if not key.allows(scope, now):
                return Rejection(403, "scope", f"API key {key.name!r} lacks the scope {scope!r}")
        if self.rate is not None and path not in PUBLIC_PATHS and self._bucket(key, self.rate).tokens < 1:
            return _rate_exceeded(self.rate)
        return key

    def check_session(self, key: ApiKey, path: str) -> Rejection | ApiKey:
        """Return why a request of a browser that signed in with a key is rejected, or the key."""
        if self.rate is not None and path not in PUBLIC_PATHS and self._bucket(key, self.rate).tokens < 1:
            return _rate_exceeded(self.rate)
        return key

    def spend(self, key: ApiKey | None) -> None:
        """Take one request from a key's rate."""
        if self.rate is not None:
            self._bucket(key, self.rate).tokens -= 1

    def refund(self, key: ApiKey | None) -> None:
        """Undo `spend` for a request that is going to be checked again."""
        if self.rate is not None:
            self._bucket(key, self.rate).tokens += 1

    def _bucket(self, key: ApiKey | None, rate: float) -> TokenBucket:
        name, now, capacity = "" if key is None else key.name, self.clock(), max(rate, 1.0)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(capacity, now)
        bucket.tokens = min(capacity, bucket.tokens + (now - bucket.updated) * rate)
        bucket.updated = now
        return bucket


def _rate_exceeded(rate: float) -> Rejection:
    retry_seconds = max(1, round(1 / rate))
    message = f"rate limit of {rate:g} requests per second exceeded; try again in {retry_seconds} s"
    return Rejection(429, "rate_limit", message, (("retry-after", str(retry_seconds)),))


def scope_of(path: str) -> str:
    """Return the scope that a path needs.

    >>> scope_of("/v1/predict"), scope_of("/v1/models/houses/explain"), scope_of("/metrics")
    ('predict', 'explain', 'admin')
    """
    return "explain" if path.endswith("/explain") else SCOPES_BY_PATH.get(path, "predict")


def credential_of(headers: dict[bytes, bytes]) -> bytes | None:
    """Return the API key in a request's headers, whose names are lower case.

    >>> credential_of({b"authorization": b"Bearer secret"}), credential_of({})
    (b'secret', None)
    """
    if (key := headers.get(b"x-api-key")) is not None:
        return key
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None
