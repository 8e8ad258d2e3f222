"""API keys: their names, scopes and hashes, in a file that may change while the server runs."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from estimator.core.clock import SECONDS_PER_DAY
from estimator.core.credentials import find_credentials
from estimator.core.files import write_atomic
from estimator.core.text import did_you_mean, join_names
from estimator.errors import ServingError

SCOPES = ("predict", "explain", "labels", "admin")
PREFIX = "est_"
MIN_CHARACTERS = 8
FILE_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's name, the SHA-256 of its text, its scopes, and its creation and expiry (ISO 8601, UTC; None for never).

    A key has 256 random bits, so a plain hash cannot be reversed by guessing.
    """

    name: str
    sha256: str
    scopes: tuple[str, ...] = ("predict",)
    created: str = ""
    expires: str | None = None

    def allows(self, scope: str, now: datetime) -> bool:
        """Return whether the key has a scope; admin includes all of them."""
        return (scope in self.scopes or "admin" in self.scopes) and not self.is_expired(now)

    def is_expired(self, now: datetime) -> bool:
        """Return whether the key has expired."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


def new_key(name: str, scopes: Sequence[str], *, now: datetime, days: float | None = None) -> tuple[ApiKey, str]:
    """Return a key that expires after `days`, and its text, which is not stored anywhere.

    Raises
    ------
    ServingError: a scope does not exist, or the name is a key itself.
    """
    if any(find_credentials(name)):
        raise ServingError("the name of a key looks like a key", hint="name who uses it; the log shows the name")
    for scope in scopes:
        if scope not in SCOPES:
            raise ServingError(f"unknown scope {scope!r}", hint=did_you_mean(scope, SCOPES))
    text = PREFIX + secrets.token_urlsafe(32)
    expiry = None if days is None else datetime.fromtimestamp(now.timestamp() + days * SECONDS_PER_DAY, UTC)
    key = ApiKey(
        name,
        digest(text.encode()),
        tuple(scopes),
        created=now.isoformat(timespec="seconds"),
        expires=None if expiry is None else expiry.isoformat(timespec="seconds"),
    )
    return key, text


def environment_key(variable: str, text: str) -> ApiKey:
    """Return the key whose text an environment variable holds; it has all scopes.

    Raises
    ------
    ServingError: the text is missing or too short.
    """
    if len(text) < MIN_CHARACTERS:
        problem = "is not set" if not text else f"is shorter than {MIN_CHARACTERS} characters"
        raise ServingError(f"expected an API key in the environment variable {variable}, but it {problem}")
    return ApiKey(f"${variable}", digest(text.encode()), ("admin",))


def digest(key: bytes) -> str:
    """Return the hash by which a key is stored."""
    return hashlib.sha256(key).hexdigest()


def read_keys(path: Path) -> list[ApiKey]:
    """Return the keys of a file, an empty list if it does not exist.

    Raises
    ------
    ServingError: the file is not a key file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = [ApiKey(**{**item, "scopes": tuple(item["scopes"])}) for item in content["keys"]]
        for key in keys:
            _check(key)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServingError(
            f"{path}: not a key file: {error}", hint="create one with `estimator key add NAME`"
        ) from error
    return keys


def _check(key: ApiKey) -> None:
    if len(bytes.fromhex(key.sha256)) != hashlib.sha256().digest_size:
        raise ValueError(f"key {key.name!r}: sha256: expected 64 hexadecimal digits, got {key.sha256!r:.80}")
    if unknown := set(key.scopes) - set(SCOPES):
        raise ValueError(f"key {key.name!r}: expected scopes among {', '.join(SCOPES)}, got {sorted(unknown)[0]!r}")
    key.is_expired(datetime.now(UTC))


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Write a key file, readable by its owner only."""
    write_atomic(path, json.dumps({"keys": [asdict(key) for key in keys]}, indent=2), mode=0o600)


def without_key(keys: Sequence[ApiKey], name: str) -> list[ApiKey]:
    """Return the keys except those of this name.

    Raises
    ------
    ServingError: no key has this name.
    """
    others = [key for key in keys if key.name != name]
    if len(others) == len(keys):
        raise ServingError(f"no key named {name!r}", hint=f"keys: {join_names(key.name for key in keys)}")
    return others


class KeyRing:
    """The keys that a server accepts: fixed ones, and those of a file, reloaded within a second of a change.

    A file that becomes invalid leaves the keys as they were, and `error` says why.
    """

    def __init__(
        self, fixed: Collection[ApiKey] = (), path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed, self._path, self._clock = tuple(fixed), path, clock
        self._by_hash: Mapping[str, ApiKey] = {}
        self._checked_at = -FILE_CHECK_SECONDS
        # The modification time and inode of the file that was read last.
        self._file_state: tuple[int, int] | None = None
        self.error: str | None = None
        self._use(read_keys(path) if path is not None else [])

    @property
    def is_empty(self) -> bool:
        """Whether there are no keys, so that no request has access."""
        return not self._by_hash

    def find(self, text: bytes) -> ApiKey | None:
        """Return the key with this text, which may have expired; None if it is unknown."""
        if self._path is not None and self._clock() - self._checked_at >= FILE_CHECK_SECONDS:
            self._reload_if_changed(self._path)
        return self._by_hash.get(digest(text))

    def named(self, name: str) -> list[ApiKey]:
        """Return the keys of this name as the file has them now; there are two while clients change over."""
        if self._path is not None:
            self._reload_if_changed(self._path)
        return [key for key in self._by_hash.values() if key.name == name]

    def _reload_if_changed(self, path: Path) -> None:
        self._checked_at = self._clock()
        try:
            status = path.stat()
        except OSError:
            status = None
        state = None if status is None else (status.st_mtime_ns, status.st_ino)
        if state == self._file_state:
            return
        self._file_state = state
        try:
            self._use(read_keys(path))
            self.error = None
        except ServingError as error:
            self.error = error.message

    def _use(self, keys: Sequence[ApiKey]) -> None:
        self._by_hash = {key.sha256: key for key in (*self._fixed, *keys)}


def list_keys(keys: Sequence[ApiKey], now: datetime) -> list[dict[str, Any]]:
    """Return keys for display: without their hashes, and with `expired`."""
    return [
        {name: value for name, value in asdict(key).items() if name != "sha256"} | {"expired": key.is_expired(now)}
        for key in keys
    ]
