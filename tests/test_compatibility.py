"""Stored versions predict and serve with the oldest and newest packages that are allowed; `make test-compatibility`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_formats import STORES

OLDEST = [
    match.groups()
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    if (match := re.match(r"([\w-]+)>=([\w.]+)", line))
]
NAMES = [name for name, _ in OLDEST]
# Prints the versions of packages, and by store why the version in it cannot be used, or null.
SCRIPT = """
import json, sys
from importlib.metadata import version
from pathlib import Path
from estimator.store.artefact import check_golden, open_artefact
from tests.clients import Client, gateway

def check(store):
    (folder,) = [path for path in (store / "penguins").iterdir() if path.is_dir()]
    artefact = open_artefact(folder)
    check_golden(artefact)
    client = Client(gateway(artefact))
    response = client.post("/v1/predict", artefact.read_json("golden.json")["rows"])
    assert response.status_code == 200, response.text
    assert client("GET", "/openapi.json").status_code == 200

names, *stores = sys.argv[1:]
errors = {}
for store in map(Path, stores):
    try:
        check(store)
        errors[store.name] = None
    except Exception as error:
        errors[store.name] = f"{type(error).__name__}: {error}"
print(json.dumps([{name: version(name) for name in names.split()}, errors]))
"""
pytestmark = pytest.mark.skipif("ESTIMATOR_TEST_COMPATIBILITY" not in os.environ, reason="downloads packages; minutes")
WIDTH = max(len(f"oldest {name}") for name in NAMES)


def check(
    report: Callable[[str], None], packages: str, python: Path | str, folders: list[Path], names: list[str]
) -> dict[str, str]:
    """Use the stored versions with the packages of a Python and of folders before them; return their versions.

    `report` gets a row of the table that the end of the run prints: whether each stored format works.
    """
    command = [python, "-c", SCRIPT, " ".join(names), *STORES]
    path = os.pathsep.join(map(str, [*folders, ROOT]))
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    failed = {}, {store.name: ended.stderr[-3000:] for store in STORES}
    versions, errors = failed if ended.returncode else json.loads(ended.stdout)
    states = [f"{name} {'fails' if error else 'works'}" for name, error in errors.items()]
    report("  ".join([packages.ljust(WIDTH), *states, ", ".join(map(" ".join, versions.items()))]))
    assert errors == dict.fromkeys(errors)
    return versions


def parsed(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def installed(target: Path, *packages: str) -> list[Path]:
    """Install packages into a folder; return it and that of this package."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), *packages]
    subprocess.run(install, check=True)
    return [target, ROOT / "src"]


@pytest.mark.parametrize(("name", "oldest"), OLDEST)
def test_the_oldest_allowed_package_works(report_figure, tmp_path, name, oldest):
    folders = installed(tmp_path, f"{name}=={oldest}.*")
    assert check(report_figure, f"oldest {name}", sys.executable, folders, [name])[name].startswith(oldest)


def test_all_oldest_allowed_packages_work_together(report_figure, tmp_path):
    folders = installed(tmp_path, *(f"{name}=={oldest}.*" for name, oldest in OLDEST))
    versions = check(report_figure, "all oldest", sys.executable, folders, NAMES)
    assert all(versions[name].startswith(oldest) for name, oldest in OLDEST)


def test_the_newest_allowed_packages_work_together(report_figure, tmp_path):
    """In an environment of its own, as pip makes it today: nothing is pinned, and no extra is there."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    python = tmp_path / "bin" / "python"
    # The client of the tests is in no extra.
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", str(ROOT), "httpx"], check=True)
    versions = check(report_figure, "all newest", python, [], NAMES)
    assert all(parsed(versions[name]) >= parsed(oldest) for name, oldest in OLDEST)
