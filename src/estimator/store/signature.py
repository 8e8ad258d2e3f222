"""Signatures of versions: by a key of one's own, versions made here are distinguished from somebody else's.

The key is in no version and in no store: a store that was handed over would bring its own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from estimator.core.files import temporary_file, write_atomic
from estimator.errors import ArtefactError, FileError

# The file in a version's folder. The manifest, which holds the hash of every other file, is what is signed.
SIGNATURE = "signature"
KEY_VARIABLE = "ESTIMATOR_SIGNING_KEY"
KEY_BYTES = 32
# Of SHA-256, in hexadecimal digits.
SIGNATURE_BYTES = 64
_PURPOSE = b"estimator version\n"


def key_file() -> Path:
    """Return the file of the key: ESTIMATOR_SIGNING_KEY, else one in the user's own config folder."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    try:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    except RuntimeError:
        # A user without a home: nothing can be kept in this folder.
        folder = Path(os.devnull)
    return folder / "estimator" / "signing.key"


def signature_of(manifest: bytes) -> bytes | None:
    """Return the signature of a version's manifest; None where the key cannot be kept, as without a home.

    A key is made when there is none.
    """
    key = _read_key() or _made_key()
    return None if key is None else _signature(key, manifest)


def is_signed(folder: Path, manifest: bytes) -> bool:
    """Whether a version's folder holds the signature of its manifest by the present key."""
    return is_signature(read_signature(folder), manifest)


def is_signature(signature: bytes, manifest: bytes) -> bool:
    """Whether it is the signature of a manifest by the present key; b"" is none."""
    key = _read_key()
    return key is not None and signature != b"" and hmac.compare_digest(signature, _signature(key, manifest))


def read_signature(folder: Path) -> bytes:
    """Return the signature in a version's folder, b"" if there is none that can be read."""
    path = folder / SIGNATURE
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            # The file may be anything; a signature is no longer than this.
            return file.read(SIGNATURE_BYTES)
    except OSError:
        return b""


def sign(folder: Path, manifest: bytes) -> None:
    """Sign a version that was made elsewhere, or before there were signatures.

    Raises
    ------
    ArtefactError: the key or the version's folder cannot be written.
    """
    signature = signature_of(manifest)
    if signature is None:
        raise ArtefactError(
            f"{key_file()}: the signing key cannot be written", hint=f"name another file in {KEY_VARIABLE}"
        )
    try:
        write_atomic(folder / SIGNATURE, signature)
    except FileError as error:
        raise ArtefactError(
            error.message, hint="copy the version to a folder of your own, and sign it there"
        ) from error


def _signature(key: bytes, manifest: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + manifest, hashlib.sha256).hexdigest().encode()


def _read_key() -> bytes | None:
    path = key_file()
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError:
        # There is none, or it is another user's: then all versions are somebody else's.
        return None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ArtefactError(
            f"{path}: expected {2 * KEY_BYTES} hexadecimal digits, the key that signs versions",
            hint="restore the file; without it, a new key is made, and `estimator sign` signs your versions again",
        )
    return key


def _made_key() -> bytes | None:
    path = key_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary_file(path.parent, mode=0o600) as temporary, temporary.open("w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            # Of two processes that make a key at once, the first one's counts.
            with suppress(FileExistsError):
                os.link(temporary, path)
    except OSError:
        return None
    return _read_key()
