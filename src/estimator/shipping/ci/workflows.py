"""Workflow files that run `estimator ci` on GitHub, GitLab and Bitbucket."""

from __future__ import annotations

import platform
import shlex
from importlib.resources import files
from pathlib import Path
from string import Template

from estimator.config import Config
from estimator.core.files import write_atomic
from estimator.errors import ConfigError
from estimator.shipping.image.wheels import PACKAGE, estimator_wheel

EXTRAS = "[train,deploy]"
WHEEL_FOLDER = ".ci"
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
        package=shlex.quote(_requirement(config.ci.package or f"{WHEEL_FOLDER}/{estimator_wheel()[0]}")),
    )


def _requirement(package: str) -> str:
    """Return what pip installs for a path in the repository or a URL.

    >>> _requirement("tools/estimator"), _requirement("https://example.com/e.whl")
    ('./tools/estimator[train,deploy]', 'estimator-lifepath[train,deploy] @ https://example.com/e.whl')
    """
    return f"{PACKAGE}{EXTRAS} @ {package}" if "://" in package else f"./{package}{EXTRAS}"


def write_workflow(system: str, config: Config, conf: Path, root: Path, *, force: bool) -> list[Path]:
    """Write the workflow file of a system into a repository; return the paths of what was written.

    Without `ci.package`, the second is a wheel of this very package, which the workflow installs.

    Raises
    ------
    ConfigError: the file exists, and `force` is false; or the path of `ci.package` is not in the repository.
    """
    path, package = root / FILES[system].format(model=config.name), config.ci.package
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists", hint="--force overwrites it")
    if package is not None and "://" not in package and not (root / package).exists():
        raise ConfigError(
            f"ci.package: expected a path in the repository or a URL, and {package!r} is not there",
            hint="paths are relative to the top of the repository; without ci.package, a wheel is written",
        )
    contents = {path: workflow(system, config, conf).encode()}
    if package is None:
        name, wheel = estimator_wheel()
        contents[root / WHEEL_FOLDER / name] = wheel
    for written, content in contents.items():
        written.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(written, content)
    return list(contents)
