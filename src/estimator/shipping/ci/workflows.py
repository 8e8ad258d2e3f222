"""The workflow files that hold every push to `estimator ci`, for the systems that run them."""

from __future__ import annotations

import platform
import shlex
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from estimator.config import Config
from estimator.core.files import write_atomic
from estimator.errors import ConfigError

FILES = {
    "github": ".github/workflows/{model}.yml", "gitlab": ".gitlab-ci.yml", "bitbucket": "bitbucket-pipelines.yml",
}  # fmt: skip


class _Template(Template):
    """Leaves the dollars to the systems whose files these are."""

    delimiter = "%%"


def workflow(system: str, config: Config, conf: Path) -> str:
    """Return the workflow of a system for a config, whose path is relative to the repository."""
    python = config.image.python or ".".join(platform.python_version_tuple()[:2])
    name = str(config.name)
    return _Template(files("estimator.shipping.ci").joinpath(f"{system}.yml").read_text()).substitute(
        model=name, tag=name.lower(), conf=shlex.quote(conf.as_posix()), python=python,
        release=version("estimator-lifepath"),
    )  # fmt: skip


def write_workflow(system: str, config: Config, conf: Path, root: Path, *, force: bool) -> Path:
    """Write the workflow of a system into a repository.

    Raises
    ------
    ConfigError: there is such a file.
    """
    path = root / FILES[system].format(model=config.name)
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists", hint="--force overwrites it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, workflow(system, config, conf).encode())
    return path
