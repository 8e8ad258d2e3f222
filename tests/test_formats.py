"""Versions and configs of every released format can be used by this release.

`python -m tests.test_formats` writes the folder of the present format, once `FORMAT` was raised.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from estimator import verbs
from estimator.config import Config
from estimator.config.document import read_document
from estimator.config.sections import model_data
from estimator.drift import DriftReference
from estimator.store.artefact import FORMAT, check_golden, open_artefact
from estimator.store.signature import SIGNATURE
from estimator.store.store import Store, describe_models, version_folder
from tests.clients import Client, gateway
from tests.conftest import EXAMPLES

FORMATS = Path(__file__).parent / "formats"
# A store with one version per format, written by the release that introduced the format.
STORES = sorted(FORMATS.glob("version-*"))
CONFIGS = sorted(FORMATS.glob("config-*"))
CONFIG = """name: penguins
data: {path: penguins.csv, target: species}
model: {kind: linear}
evaluation: {importance_repeats: 0}
"""
ROW = {
    "bill_length_mm": 39.1, "bill_depth_mm": 18.7, "flipper_length_mm": 181, "body_mass_g": 3750,
    "island": "Torgersen", "sex": "male", "year": 2007,
}  # fmt: skip
MAX_BYTES = 200_000
# What differs from one machine to the next: its folders and its user.
LOCAL = re.compile(r"/(tmp|home|root|Users|work|var|mnt|opt)/|[A-Z]:\\\\")


def train_example(store: Path, folder: Path) -> Path:
    """Train the version of which there is one in every format, with its files in `folder`, and return where it is."""
    shutil.copy(EXAMPLES / "penguins" / "penguins.csv", folder)
    (folder / "config.yml").write_text(CONFIG)
    verbs.train.train(folder / "config.yml", verbs.Context(["validation.folds=3"], store_path=str(store)))
    # On every other machine it is somebody else's.
    (version_folder(store / "penguins") / SIGNATURE).unlink()
    return version_folder(store / "penguins")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    return train_example(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("example"))


@pytest.fixture(params=STORES, ids=lambda path: path.name)
def version(request) -> Path:
    return version_folder(request.param / "penguins")


def keys(value: Any) -> Any:
    """Return the keys of JSON data at every depth."""
    if isinstance(value, Mapping):
        return {name: keys(item) for name, item in value.items()}
    return [keys(item) for item in value[:1]] if isinstance(value, list) else None


def test_version_is_opened(version):
    artefact = open_artefact(version)
    assert f"version-{artefact.manifest['format']}" == version.parent.parent.name
    assert check_golden(artefact) == 20


def test_version_predicts_a_row(version):
    artefact = open_artefact(version)
    predictions = artefact.predictor.predict_batch(artefact.schema.read_rows([ROW]))
    assert predictions.values.tolist() == ["Adelie"]
    assert predictions.sets.tolist() == [[True, False, False]]


def test_version_is_served(version):
    client = Client(gateway(open_artefact(version)))
    (prediction,) = client.post("/v1/predict", [ROW]).json()["predictions"]
    assert prediction["prediction"] == "Adelie"
    assert client("GET", "/v1/schema").status_code == 200
    assert client.post("/v1/predict", [{**ROW, "year": "x"}]).status_code == 422


def test_version_becomes_a_page(version, tmp_path):
    page = verbs.page.page(open_artefact(version), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == page.content


def test_config_of_a_version_is_read(version):
    config = verbs.context.config_of(open_artefact(version))
    assert (config.data.target, verbs.context.kind_of(config), config.validation.folds) == ("species", "linear", 3)


def test_drift_is_measured_against_a_version(version):
    artefact = open_artefact(version)
    reference = DriftReference.from_data(artefact.read_json("profile.json")["reference"])
    assert reference.columns


@pytest.mark.parametrize("store", STORES, ids=lambda path: path.name)
def test_store_is_listed(store):
    (model,) = describe_models(Store(store))
    assert (model["name"], list(model["aliases"])) == ("penguins", ["live"])
    (change,) = Store(store).history("penguins")
    assert (change.action, change.alias, change.version) == ("train", "live", model["versions"][0]["version"])


@pytest.mark.parametrize("store", STORES, ids=lambda path: path.name)
def test_store_is_small_and_of_no_machine(store):
    files = [path for path in store.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    for path in files:
        assert not LOCAL.search(path.read_bytes().decode("latin-1")), path
    assert {change.user for change in Store(store).history("penguins")} == {"maintainer"}


@pytest.mark.slow
def test_format_has_the_keys_of_a_new_version(fresh):
    """Renaming, adding or removing a key raises FORMAT and adds a folder; a new key of the config needs neither."""
    stored = version_folder(FORMATS / f"version-{FORMAT}" / "penguins")
    files = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    assert files == {path.relative_to(stored) for path in stored.rglob("*") if path.is_file()}
    for file in sorted(file for file in files if file.suffix == ".json" and file.name != "config.resolved.json"):
        assert keys(json.loads((stored / file).read_bytes())) == keys(json.loads((fresh / file).read_bytes())), file


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_is_resolved(path):
    config = verbs.Context().config(path)
    resolved = model_data(config, verbs.context.kind_of(config))
    assert missing(read_document(path).values, resolved) == []


def test_config_of_the_format_has_every_section():
    values = read_document(FORMATS / f"config-{FORMAT}.yml").values
    assert list(values) == [field.alias or name for name, field in Config.model_fields.items()]


def missing(written: Any, resolved: Any, place: str = "") -> list[str]:
    """Return the places where a resolved config has another value than the file."""
    if isinstance(written, Mapping) and isinstance(resolved, Mapping):
        pairs = [(name, value, resolved.get(name, "nothing")) for name, value in written.items()]
        return [item for name, *both in pairs for item in missing(*both, f"{place}.{name}")]
    if isinstance(written, list) and isinstance(resolved, list) and len(written) == len(resolved):
        pairs = zip(written, resolved, strict=True)
        return [item for index, both in enumerate(pairs) for item in missing(*both, f"{place}.{index}")]
    # A name of Keras gets that object's settings.
    value = resolved["name"] if isinstance(resolved, Mapping) and isinstance(written, str) else resolved
    return [] if written == value else [f"{place}: {written!r} became {resolved!r}"]


if __name__ == "__main__":
    os.environ["LOGNAME"] = "maintainer"
    target = FORMATS / f"version-{FORMAT}"
    shutil.rmtree(target, ignore_errors=True)
    with TemporaryDirectory() as example:
        sys.stdout.write(f"{train_example(target, Path(example))}\n")
