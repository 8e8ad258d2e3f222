"""Stand-ins for what a container gets when it is run, with which a test starts its server as its section says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from estimator.config import ENVIRONMENT_PREFIX, Serving
from estimator.core.files import scratch_folder
from estimator.data.sources.address import SQLITE_FILE
from estimator.errors import ImageError, ServingError
from estimator.serving.auth.keys import ApiKey, new_key, read_keys, write_keys
from estimator.shipping.image.container_inputs import (
    TEMPORARY_FOLDER,
    ContainerInputs,
    Mount,
    container_inputs,
    is_outside,
    target_of,
)

PATHS = ("keys_file", "tls_certificate", "tls_key", "prediction_log")
KEYS, CERTIFICATE, TLS_KEY = "serving.keys_file", "serving.tls_certificate", "serving.tls_key"


def _new_key() -> tuple[ApiKey, str]:
    return new_key("smoke test", ["admin"], now=datetime.now(UTC))


@dataclass(frozen=True)
class StandIns:
    """A made API key, key file, certificate and log; of the section, only `rate_limit` does not apply in a test."""

    serving: Serving
    _key: tuple[ApiKey, str] = field(default_factory=_new_key, repr=False)

    @property
    def inputs(self) -> ContainerInputs:
        """What they stand for."""
        return container_inputs(self.serving)

    @property
    def key(self) -> str | None:
        """The API key for requests, None if the server requires none."""
        is_required = self.serving.api_key_env is not None or self.serving.keys_file is not None
        return self._key[1] if is_required else None

    def environment(self, root: Path | None = None) -> dict[str, str]:
        """Return the server's variables; `root` is where the files are if it is not the server's own root folder."""
        changed: dict[str, Any] = {} if self.serving.rate_limit is None else {"rate_limit": None}
        if self.serving.prediction_log is not None and is_outside(self.serving.prediction_log):
            changed["prediction_log"] = f"{TEMPORARY_FOLDER}/predictions.db"
        if root is not None:
            paths = {name: changed.get(name) or getattr(self.serving, name) or "" for name in PATHS}
            files = {name: path.removeprefix(SQLITE_FILE) for name, path in paths.items()}
            changed |= {name: f"{root}{target_of(path)}" for name, path in files.items() if path and "://" not in path}
        variables = {f"{ENVIRONMENT_PREFIX}SERVING__{name.upper()}": json.dumps(changed[name]) for name in changed}
        if self.serving.traces:
            variables["OTEL_SDK_DISABLED"] = "true"
        if self.serving.api_key_env is not None:
            variables[self.serving.api_key_env] = self._key[1]
        return variables

    def write(self, root: Path) -> None:
        """Write the files below the root folder of an image; those that it has stay, with a key more in its key file.

        Raises
        ------
        ImageError: the key file of the image is not one, or has no keys; or there is no program to make a certificate.
        """
        mounts = {mount.key: (mount, _within(root, mount.target)) for mount in self.inputs.mounts}
        for mount, path in mounts.values():
            (path if mount.is_folder else path.parent).mkdir(parents=True, exist_ok=True)
        tls = [mounts[key][1] for key in (CERTIFICATE, TLS_KEY) if key in mounts]
        if tls and not any(path.exists() for path in tls):
            _write_certificate(*tls)
        if KEYS in mounts:
            mount, path = mounts[KEYS]
            write_keys(path, [*(_stored_keys(mount, path) if path.exists() else []), self._key[0]])
        for mount, path in mounts.values():
            # The server's user is neither the owner nor in the group.
            if path.exists():
                path.chmod(0o777 if mount.is_folder else 0o644)


def _within(root: Path, target: str) -> Path:
    """Return the path of a file of a root folder, whose symbolic links do not lead out of it."""
    root = root.resolve()
    path = root / target.lstrip("/")
    resolved = path.resolve()
    # An absolute link means the root folder of the image.
    return resolved if resolved.is_relative_to(root) else root / resolved.relative_to("/")


def _stored_keys(mount: Mount, path: Path) -> list[ApiKey]:
    """Return the keys that an image has itself; ImageError if it has none."""
    try:
        keys = read_keys(path)
    except ServingError as error:
        message = error.message.removeprefix(f"{path}: ")
        raise ImageError(f"{mount.key}: {mount.target} in the image: {message}", hint=error.hint) from None
    if all(key.is_expired(datetime.now(UTC)) for key in keys):
        raise ImageError(
            f"{mount.key}: {mount.target} in the image has no valid keys",
            hint="add one with `estimator key add`, or leave the file out of the image and mount it",
        )
    return keys


def _write_certificate(certificate: Path, key: Path) -> None:
    """Write a certificate that is its own authority, and its key; both may be one file."""
    with scratch_folder() as scratch:
        files = ["-out", str(scratch / "certificate.pem"), "-keyout", str(scratch / "key.pem")]
        options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = ["openssl", "req", *options, "-subj", "/CN=localhost", *files]
        try:
            subprocess.run(command, capture_output=True, check=True)  # noqa: S603 # no shell, and our own arguments
        except (OSError, subprocess.CalledProcessError) as error:
            raise ImageError(
                f"{CERTIFICATE}: the test of the image needs a certificate, and openssl cannot make one: {error}",
                hint="install openssl, or leave out serving.tls_certificate and terminate TLS in front of the image",
            ) from None
        key.write_bytes((scratch / "key.pem").read_bytes())
        content = (scratch / "certificate.pem").read_bytes()
        certificate.write_bytes(content + key.read_bytes() if certificate == key else content)
