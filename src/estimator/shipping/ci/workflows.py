"""Workflow files that run `estimator ci` on GitHub, GitLab and Bitbucket."""

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

FILES = {"github": ".github/workflows/{model}.yml", "gitlab": ".gitlab-ci.yml", "bitbucket": "bitbucket-pipelines.yml"}


class _Template(Template):
    """A template whose placeholders are %%{name}, as the CI systems use dollars themselves."""

    delimiter = "%%"


def workflow(system: str, config: Config, conf: Path) -> str:
    """Return the workflow file of a system for a config, whose path is relative to the repository."""
    name = str(config.name)
    template = _Template(files("estimator.shipping.ci").joinpath(f"{system}.yml").read_text())
    return template.substitute(
        model=name,
        tag=name.lower(),
        conf=shlex.quote(conf.as_posix()),
        python=config.image.python or ".".join(platform.python_version_tuple()[:2]),
        release=version("estimator-lifepath"),
    )


def write_workflow(system: str, config: Config, conf: Path, root: Path, *, force: bool) -> Path:
    """Write the workflow file of a system into a repository; return its path.

    Raises
    ------
    ConfigError: the file exists, and `force` is false.
    """
    path = root / FILES[system].format(model=config.name)
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists", hint="--force overwrites it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, workflow(system, config, conf).encode())
    return path
