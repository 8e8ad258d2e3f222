"""What a container gets when it is run, as its serving section says: API keys, TLS files and a prediction log."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from estimator.config import Serving
from estimator.core.text import join_names
from estimator.data.sources.address import REFERENCE, SCHEME, SQLITE_FILE
from estimator.errors import ImageError

DATABASES = ("postgresql", "postgres")
# The only folder of a container that its server can write to without a mount.
TEMPORARY_FOLDER = "/tmp"  # noqa: S108 # inside
# What a folder mounted over it would hide.
CONTENT = (PurePosixPath("/model"), PurePosixPath("/usr/local/lib"))
USER_ID = 10001


@dataclass(frozen=True, slots=True)
class Mount:
    """A file that a server reads, or a folder that it writes to; `key` is the config key that names it.

    `source` is the path as the config says, `target` the absolute one in the container.
    """

    key: str
    source: str
    target: str
    is_folder: bool = False

    @property
    def option(self) -> str:
        """The option of `docker run`, in a POSIX shell."""
        here = "" if posixpath.isabs(self.source) else '"$PWD"/'
        return f"--volume {here}{shlex.quote(self.source)}:{shlex.quote(self.target)}{'' if self.is_folder else ':ro'}"


@dataclass(frozen=True, slots=True)
class ContainerInputs:
    """The environment variables and mounts without which a server does not start; `keys` are what needs them."""

    keys: tuple[str, ...]
    variables: tuple[str, ...]
    mounts: tuple[Mount, ...]

    @property
    def options(self) -> list[str]:
        """The options of `docker run`; the values of variables are those of the shell."""
        return [*(f"--env {name}" for name in self.variables), *(mount.option for mount in self.mounts)]

    @property
    def permissions(self) -> str | None:
        """A sentence about the permissions that the mounts need, None without mounts."""
        rights = [
            f"{verb} {join_names(mount.source for mount in self.mounts if mount.is_folder == is_folder)}"
            for verb, is_folder in (("read", False), ("write to", True))
            if any(mount.is_folder == is_folder for mount in self.mounts)
        ]
        return f"the container's user, {USER_ID}, must be able to {' and '.join(rights)}" if rights else None

    def to_data(self) -> dict[str, Any]:
        """Return them as JSON data."""
        return {"variables": list(self.variables), "mounts": [asdict(mount) for mount in self.mounts]}


def container_inputs(serving: Serving) -> ContainerInputs:
    """Return what a container needs to serve as a section says.

    Raises
    ------
    ImageError: no container can serve like that.
    """
    if (serving.tls_certificate is None) != (serving.tls_key is None):
        missing, given = ("tls_key", "tls_certificate") if serving.tls_key is None else ("tls_certificate", "tls_key")
        raise ImageError(
            f"serving.{missing}: expected a PEM file, as serving.{given} names one, but it is left out",
            hint=f"set serving.{missing}, or leave out both and terminate TLS in front of the container",
        )
    paths = {name: getattr(serving, name) for name in ("keys_file", "tls_certificate", "tls_key")}
    mounts = [Mount(f"serving.{name}", path, target_of(path)) for name, path in paths.items() if path is not None]
    log, variables = serving.prediction_log, [] if serving.api_key_env is None else [serving.api_key_env]
    keys = ["serving.api_key_env"] if variables else []
    if log is not None and is_outside(log):
        keys.append("serving.prediction_log")
        variables += REFERENCE.findall(log)
    elif log is not None:
        mounts += _log_mounts(log.removeprefix(SQLITE_FILE))
    keys += [mount.key for mount in mounts]
    return ContainerInputs(tuple(keys), tuple(dict.fromkeys(variables)), tuple(mounts))


def check_extras(serving: Serving, extras: Sequence[str]) -> None:
    """Reject an image without the extras that its serving section needs.

    Raises
    ------
    ImageError: one is missing.
    """
    log = serving.prediction_log
    needs = {
        "sql": ("prediction_log", log is not None and _scheme(log) in DATABASES),
        "traces": ("traces", serving.traces),
    }
    for extra, (key, is_needed) in needs.items():
        if is_needed and extra not in extras:
            raise ImageError(
                f"serving.{key}: needs the extra {extra!r}, which image.extras does not list",
                hint=f"image.extras: [{', '.join([*extras, extra])}]",
            )


def target_of(path: str) -> str:
    """Return the absolute path in a container, whose server starts in the root folder.

    >>> target_of("keys.json"), target_of("/etc/keys.json")
    ('/keys.json', '/etc/keys.json')
    """
    return posixpath.normpath(posixpath.join("/", path))


def is_outside(log: str) -> bool:
    """Whether a prediction log is a database, or a file whose path only the environment of the container knows."""
    scheme = _scheme(log.removeprefix(SQLITE_FILE))
    return scheme in DATABASES or (not scheme and REFERENCE.search(log) is not None)


def _log_mounts(path: str) -> list[Mount]:
    """Return the mount of the folder of a SQLite log, as SQLite writes further files next to it."""
    folder = posixpath.dirname(target_of(path))
    if _scheme(path) or PurePosixPath(folder).is_relative_to(TEMPORARY_FOLDER):
        return []
    if any(content.is_relative_to(folder) for content in CONTENT):
        raise ImageError(
            f"serving.prediction_log: {path}: the server in a container cannot write to {folder}",
            hint=f"name a folder that is mounted when the container is run: logs/{posixpath.basename(path)}",
        )
    return [Mount("serving.prediction_log", posixpath.dirname(path), folder, is_folder=True)]


def _scheme(address: str) -> str:
    match = SCHEME.match(address)
    return match[1].lower() if match else ""
