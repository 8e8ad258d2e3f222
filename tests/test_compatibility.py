"""The stored version predicts and serves with the oldest packages that are allowed; `make test-compatibility`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

OLDEST = [
    match.groups()
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    if (match := re.match(r"([\w-]+)>=([\w.]+)", line))
]
SCRIPT = """
import json, sys
from importlib.metadata import version
from pathlib import Path
from estimator.store.artefact import check_golden, open_artefact
from tests.clients import Client, gateway

(folder,) = [path for path in Path(sys.argv[1]).iterdir() if path.is_dir()]
artefact = open_artefact(folder)
check_golden(artefact)
response = Client(gateway(artefact)).post("/v1/predict", artefact.read_json("golden.json")["rows"])
assert response.status_code == 200, response.text
assert Client(gateway(artefact))("GET", "/openapi.json").status_code == 200
print(json.dumps({name: version(name) for name in sys.argv[2:]}))
"""
pytestmark = pytest.mark.skipif("ESTIMATOR_TEST_COMPATIBILITY" not in os.environ, reason="downloads packages; minutes")


def stored_version_works(target: Path, *packages: str) -> str:
    """Install packages into a folder, predict and serve the stored version with them, and return what is printed."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), *packages]
    subprocess.run(install, check=True)
    names = [package.partition("==")[0] for package in packages]
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "tests/formats/version-2/penguins"), *names]
    path = os.pathsep.join([str(target), str(ROOT / "src"), str(ROOT)])
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.mark.parametrize(("name", "oldest"), OLDEST)
def test_the_oldest_allowed_package_works(tmp_path, name, oldest):
    assert f'"{name}": "{oldest}' in stored_version_works(tmp_path, f"{name}=={oldest}.*")


def test_all_oldest_allowed_packages_work_together(tmp_path):
    print(stored_version_works(tmp_path, *(f"{name}=={oldest}.*" for name, oldest in OLDEST)))
