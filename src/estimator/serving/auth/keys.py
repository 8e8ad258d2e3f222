"""Who may ask for what: keys by name, kept as hashes in a file that may change while the server runs."""

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

from estimator.core.files import write_atomic
from estimator.core.text import did_you_mean, join_names
from estimator.errors import ServingError

SCOPES = ("predict", "labels", "admin")
PREFIX = "est_"
FEWEST_CHARACTERS = 8
# How often, in seconds, a file is looked at.
LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key's name, the SHA-256 of its characters, what it may do, and when it ends (ISO 8601, UTC), None for never.

    Keys are 256 random bits, which nobody can guess from a hash however fast it is.
    """

    name: str
    sha256: str
    scopes: tuple[str, ...] = ("predict",)
    created: str = ""
    expires: str | None = None

    def may(self, scope: str, now: datetime) -> bool:
        """Whether the key opens what asks for a scope; admin opens everything."""
        return (scope in self.scopes or "admin" in self.scopes) and not self.is_over(now)

    def is_over(self, now: datetime) -> bool:
        """Whether the key has ended."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


def new_key(name: str, scopes: Sequence[str], *, now: datetime, days: float | None = None) -> tuple[Key, str]:
    """Return a key and its characters, which are not kept anywhere.

    Raises
    ------
    ServingError: a scope that does not exist.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ServingError(f"no scope called {scope!r}", hint=did_you_mean(scope, SCOPES))
    text = PREFIX + secrets.token_urlsafe(32)
    ends = None if days is None else datetime.fromtimestamp(now.timestamp() + days * 86400, UTC)
    return Key(
        name, digest(text.encode()), tuple(scopes), now.isoformat(timespec="seconds"),
        None if ends is None else ends.isoformat(timespec="seconds"),
    ), text  # fmt: skip


def given_key(name: str, text: str) -> Key:
    """Return a key of somebody's own characters, as an environment variable holds them; it may do everything.

    Raises
    ------
    ServingError: it is too short.
    """
    if len(text) < FEWEST_CHARACTERS:
        told = "not set" if not text else f"shorter than {FEWEST_CHARACTERS} characters"
        raise ServingError(f"the variable {name} should hold the key, but it is {told}")
    return Key(f"${name}", digest(text.encode()), ("admin",))


def digest(key: bytes) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file, none when it is not there.

    Raises
    ------
    ServingError: it is no file of keys; the message says where.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = [Key(**{**item, "scopes": tuple(item["scopes"])}) for item in content["keys"]]
        for key in found:
            _check(key)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServingError(
            f"{path}: is no file of keys: {error}", hint="`estimator key add NAME` writes one"
        ) from error
    return found


def _check(key: Key) -> None:
    if len(bytes.fromhex(key.sha256)) != hashlib.sha256().digest_size:
        raise ValueError(f"the sha256 of {key.name!r} is none")
    if unknown := set(key.scopes) - set(SCOPES):
        raise ValueError(f"{key.name!r} has the scope {sorted(unknown)[0]!r}; there are {', '.join(SCOPES)}")
    key.is_over(datetime.now(UTC))


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Write a file of keys in one step, readable by its owner alone."""
    write_atomic(path, json.dumps({"keys": [asdict(key) for key in keys]}, indent=2), mode=0o600)


def without_key(keys: Sequence[Key], name: str) -> list[Key]:
    """Return the keys without those of a name.

    Raises
    ------
    ServingError: there is none.
    """
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise ServingError(f"no key is called {name!r}", hint=f"keys: {join_names(key.name for key in keys)}")
    return left


class KeyRing:
    """The keys that open a server: fixed ones, and those of a file, read again within a second of a change.

    A file that cannot be read leaves the keys as they were, and `fault` says why.
    """

    def __init__(
        self, fixed: Collection[Key] = (), path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed, self._path, self._clock = tuple(fixed), path, clock
        self._known: Mapping[str, Key] = {}
        self._looked = -LOOK_AGAIN
        self._seen: tuple[int, int] | None = None
        self.fault: str | None = None
        self._use(read_keys(path) if path is not None else [])

    @property
    def is_empty(self) -> bool:
        """Whether nothing opens the server."""
        return not self._known

    def find(self, given: bytes) -> Key | None:
        """Return the key that was given, or None; it may have ended, or not be enough for what is asked."""
        if self._path is not None and self._clock() - self._looked >= LOOK_AGAIN:
            self._look()
        return self._known.get(digest(given))

    def _look(self) -> None:
        assert self._path is not None
        self._looked = self._clock()
        try:
            told = self._path.stat()
        except OSError:
            told = None
        seen = None if told is None else (told.st_mtime_ns, told.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._use(read_keys(self._path))
            self.fault = None
        except ServingError as error:
            self.fault = error.message

    def _use(self, keys: Sequence[Key]) -> None:
        self._known = {key.sha256: key for key in (*self._fixed, *keys)}


def shown(keys: Sequence[Key], now: datetime) -> list[dict[str, Any]]:
    """Return keys for people: no hash, and whether each has ended."""
    return [
        {name: value for name, value in asdict(key).items() if name != "sha256"} | {"expired": key.is_over(now)}
        for key in keys
    ]
