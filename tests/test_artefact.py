"""A version's folder: written atomically, and opened only if nothing changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from estimator.errors import ArtefactError
from estimator.graph.builder import DOUBLE, Graph, Output
from estimator.graph.session import Session
from estimator.store.artefact import check_golden, open_artefact, write_artefact
from estimator.store.store import version_folder


@pytest.fixture
def version(store, tmp_path) -> Path:
    return Path(shutil.copytree(version_folder(store / "penguins"), tmp_path / "version"))


def changed(version: Path, **entries: object) -> Path:
    path = version / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return version


def test_version_holds_its_files(version):
    names = {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}
    assert names >= {
        "manifest.json", "model.onnx", "schema.json", "config.yml", "config.resolved.json",
        "report.html", "learning_curves.json", "golden.json", "profile.json", "state/features.json",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_golden_rows_are_predicted_again(version):
    assert check_golden(open_artefact(version)) == 20


@pytest.mark.parametrize("file", ["model.onnx", "schema.json", "golden.json", "report.html"])
def test_changed_file_is_rejected(version, file):
    path = version / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ArtefactError, match=f"{file}: changed since the version was written"):
        open_artefact(version)


def test_missing_file_is_rejected(version):
    (version / "schema.json").unlink()
    with pytest.raises(ArtefactError, match="the file is missing"):
        open_artefact(version)


def test_future_format_is_rejected(version):
    with pytest.raises(ArtefactError, match="format 99 is from a later estimator"):
        open_artefact(changed(version, format=99))


def test_earlier_format_is_rejected(version):
    with pytest.raises(ArtefactError, match="format 1 was written by an earlier pre-release") as caught:
        open_artefact(changed(version, format=1))
    assert caught.value.hint == "train it again: estimator train --conf config.yml"


@pytest.mark.parametrize("path", ["../../etc/hostname", "/etc/hostname"])
def test_path_outside_the_folder_is_rejected(version, path):
    files = json.loads((version / "manifest.json").read_text())["files"]
    with pytest.raises(ArtefactError, match="outside the version's folder"):
        open_artefact(changed(version, files={**files, path: "0" * 64}))


def test_link_out_of_the_folder_is_rejected(version):
    (version / "report.html").unlink()
    (version / "report.html").symlink_to("/etc/hostname")
    with pytest.raises(ArtefactError, match="outside the version's folder"):
        open_artefact(version)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 2}', '{"format": "2", "files": {}}'])
def test_foreign_folder_is_rejected(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtefactError, match="manifest"):
        open_artefact(tmp_path)


def test_changed_golden_predictions_are_rejected(version):
    golden = json.loads((version / "golden.json").read_text())
    golden["predictions"][0] = [0.5, 0.25, 0.25]
    content = json.dumps(golden).encode()
    (version / "golden.json").write_bytes(content)
    files = json.loads((version / "manifest.json").read_text())["files"]
    changed(version, files={**files, "golden.json": hashlib.sha256(content).hexdigest()})
    with pytest.raises(ArtefactError, match="predictions for the golden rows differ"):
        check_golden(open_artefact(version))


def test_interrupted_write_leaves_nothing(tmp_path):
    class Stop(BaseException):
        pass

    class Files(dict):
        def items(self):
            yield "model.onnx", b"half"
            raise Stop

        def __iter__(self):
            raise Stop

    with pytest.raises(Stop):
        write_artefact(tmp_path / "models", "v1", {"name": "m"}, Files())
    assert not list(tmp_path.rglob("*.onnx"))


def test_unwritable_store_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="cannot be written"):
        write_artefact(tmp_path / "file" / "models", "v1", {}, {})


def test_report_loads_nothing_external(store):
    for page in store.rglob("report.html"):
        text = page.read_text()
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text
        assert "default-src 'none'" in text


def test_profile_describes_the_training_rows(store):
    artefact = open_artefact(version_folder(store / "house_pricing_model"))
    profile = artefact.read_json("profile.json")
    assert profile["rows"] == artefact.manifest["data"]["rows"] - artefact.manifest["data"]["rows_held_out"]
    assert profile["target"] == "MEDV"
    assert len(profile["columns"]) == 14


def test_a_graph_that_onnxruntime_cannot_run_is_named():
    graph = Graph()
    graph.input("x", DOUBLE)
    content = graph.finish([Output("y", graph("Identity", "x"), DOUBLE, rank=2)])
    with pytest.raises(ArtefactError, match=r"onnxruntime \d+\.\d+\S* cannot run the graph") as raised:
        Session(content.replace(b"Identity", b"Idontity"))
    assert "install the onnxruntime that trained the version" in str(raised.value.hint)
