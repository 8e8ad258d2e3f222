"""A plug-in that pip installed: its kinds train, score and read, keep their promises, and a version outlives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from estimator import models
from estimator.checks import metrics as metric_checks
from estimator.checks import models as model_checks
from estimator.checks import sources as source_checks
from estimator.core.registry import Shelf
from estimator.data import sources
from estimator.data.sources.address import locate
from estimator.data.sources.sql import run_query
from estimator.errors import PluginError
from estimator.evaluation import metrics
from estimator.models.linear import Linear
from estimator.store.artefact import check_golden, open_artefact
from estimator.store.store import version_folder
from tests.clients import ESTIMATOR, Client, gateway

# Installs a package and starts the command line.
pytestmark = pytest.mark.slow
PACKAGE = Path(__file__).parent / "plugin"
CONFIG = {
    "name": "diabetes",
    "data": {"path": "sklearn://diabetes", "target": "target"},
    "model": {"kind": "kernel", "bandwidth": 2},
    "validation": {"folds": 2},
    "evaluation": {"metrics": ["median_ae"], "importance_repeats": 0, "bootstrap_samples": 100},
}


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which the plug-in is installed, without a network."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folder(site, tmp_path_factory) -> Path:
    """A folder with a config and the table as an Avro file."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    toy_rows(site, folder).write_avro(folder / "rows.avro")
    return folder


@pytest.fixture(scope="module")
def trained(site, folder) -> Path:
    """The folder of a version that the plug-in's kinds trained."""
    result = estimator(folder, "train", "--conf", "config.json", "--json", site=site)
    assert result.code == 0, result.err
    return version_folder(folder / "models" / "diabetes")


@pytest.fixture
def installed(site, monkeypatch):
    """Make the plug-in importable in this process."""
    monkeypatch.syspath_prepend(site)


def estimator(folder: Path, *words: str, site: Path | None = None) -> Result:
    """Run the command line in a folder, with or without the plug-in."""
    paths = [str(path) for path in (site, *sys.path) if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([*ESTIMATOR, *words], cwd=folder, env=environment, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


def toy_rows(site: Path, scratch: Path) -> pl.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        connector = Shelf("connector", sources.SCHEMES).load("sklearn")
        return run_query(connector, locate("sklearn://diabetes", {}), "", folder=scratch, scratch=scratch).frame()


def test_plugin_trains_a_version(trained):
    manifest = open_artefact(trained).manifest
    assert manifest["model"] == {"kind": "kernel"}
    assert list(manifest["metrics"])[:2] == ["median_ae", "rmse"]
    assert manifest["metrics"]["median_ae"]["value"] < manifest["baseline"]["median_ae"]["value"]
    assert list(manifest["data"]["files"]) == ["sklearn://diabetes"]
    assert manifest["parity"]["largest_relative"] < 1e-12
    assert manifest["libraries"]["estimator-plugin-example"] == "1.0"


def test_plugin_scores_a_version(site, folder, trained):
    result = estimator(
        folder, "evaluate", "--model", "diabetes", "--input", "rows.avro", "--include-learned", "--json", site=site
    )
    report = json.loads(result.out)
    assert report["rows"] == 442
    assert 30 < report["metrics"]["median_ae"]["value"] < 60


def test_plugin_reads_rows_to_predict(site, folder, trained):
    words = ("predict", "--model", "diabetes", "--input", "rows.avro", "--output", "predictions.parquet")
    assert estimator(folder, *words, site=site).code == 0
    rows = pl.read_avro(folder / "rows.avro").drop("target").to_dicts()
    artefact = open_artefact(trained)
    expected = artefact.predictor.predict_batch(artefact.schema.read_rows(rows)).values
    assert pl.read_parquet(folder / "predictions.parquet")["prediction"].to_list() == pytest.approx(expected)


def test_plugin_reads_a_table_to_explore(site, folder):
    result = estimator(folder, "explore", "rows.avro", "--target", "target", "--json", site=site)
    assert json.loads(result.out)["profile"]["rows"] == 442


def test_schema_of_the_config_has_the_plugin(site, folder):
    document = json.loads(estimator(folder, "schema", site=site).out)
    settings = {item["properties"]["kind"]["const"]: item for item in document["properties"]["model"]["anyOf"]}
    assert settings["kernel"]["properties"]["bandwidth"]["exclusiveMinimum"] == 0


def test_misspelled_kinds_name_the_plugin(site, folder):
    words = ("--set", "model.kind=kernal", "--set", "evaluation.metrics=[median_a]", "--set", "data.kind=avo")
    result = estimator(folder, "train", "--conf", "config.json", *words, site=site)
    assert result.code == 1
    for message in (
        "no model called 'kernal' (did you mean 'kernel'?)",
        "no metric called 'median_a' (did you mean 'median_ae'?",
        "no source called 'avo' (did you mean 'avro'?; known: csv, parquet, arrow, excel, sql, avro)",
    ):
        assert message in result.err


def test_version_predicts_without_the_plugin(trained):
    artefact = open_artefact(trained)
    assert "estimator_plugin_example.kernel" not in artefact.read("model.onnx").decode("latin-1")
    assert check_golden(artefact) == 20
    golden = artefact.read_json("golden.json")
    response = Client(gateway(artefact)).post("/v1/predict", golden["rows"])
    assert [row["prediction"] for row in response.json()["predictions"]] == pytest.approx(golden["predictions"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("verify", "diabetes"), "no model called 'kernel'"),
        (("evaluate", "--model", "diabetes", "--input", "rows.csv"), "no metric called 'median_ae'"),
    ],
)
def test_missing_plugin_is_named(folder, trained, words, message):
    pl.read_avro(folder / "rows.avro").write_csv(folder / "rows.csv")
    result = estimator(folder, *words)
    assert result.code == 1
    assert f"error: diabetes {trained.name}: " in result.err
    assert message in result.err
    assert (
        "hint: it was trained with packages that are not installed: pip install estimator-plugin-example" in result.err
    )


@pytest.mark.parametrize("promise", model_checks.PROMISES, ids=lambda promise: promise.__name__)
def test_model_keeps_its_promises(installed, promise):
    promise(Shelf("model", models.KINDS).load("kernel")())


@pytest.mark.parametrize("promise", metric_checks.PROMISES, ids=lambda promise: promise.__name__)
def test_metric_keeps_its_promises(installed, promise):
    promise(Shelf("metric", metrics.KINDS).load("median_ae")())


@pytest.mark.parametrize("promise", source_checks.PROMISES, ids=lambda promise: promise.__name__)
def test_source_keeps_its_promises(installed, promise, tmp_path):
    kind = Shelf("source", sources.KINDS).load("avro")
    promise(source_checks.example(kind, tmp_path, pl.DataFrame.write_avro))


@pytest.mark.parametrize("promise", source_checks.FILE_PROMISES, ids=lambda promise: promise.__name__)
def test_file_source_keeps_its_promises(installed, promise, tmp_path):
    promise(Shelf("source", sources.KINDS).load("avro"), tmp_path, pl.DataFrame.write_avro)


def register(folder: Path, package: str, entry: str) -> None:
    """Put a package's entry point for the shelf of models into a folder on the path."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[estimator.model]\n{entry}\n")


def test_package_of_a_kind_is_known(installed):
    shelf = Shelf("metric", metrics.KINDS, metrics.SHELF.aliases)
    packages = [shelf.package_of(name) for name in ("median_ae", "mae", "acc", "nothing")]
    assert packages == ["estimator-plugin-example", None, None, None]


def test_broken_plugin_harms_only_itself(installed, tmp_path, monkeypatch):
    register(tmp_path, "broken", "aaa = nowhere:Model")
    monkeypatch.syspath_prepend(tmp_path)
    shelf = Shelf("model", models.KINDS)
    assert "aaa" in shelf.names()
    assert shelf.name_of(shelf.load("kernel")) == "kernel"
    with pytest.raises(PluginError, match=r"'broken' registers the model 'aaa'.*No module named 'nowhere'"):
        shelf.load("aaa")


def test_plugin_cannot_replace_a_shipped_kind(tmp_path, monkeypatch):
    register(tmp_path, "greedy", "linear = json:JSONDecoder\nlm = json:JSONDecoder")
    monkeypatch.syspath_prepend(tmp_path)
    shelf = Shelf("model", models.KINDS, {"lm": "linear"})
    assert shelf.load("linear") is shelf.load("lm") is Linear
    assert shelf.names() == list(models.KINDS)


def test_kind_of_two_plugins_is_an_error(tmp_path, monkeypatch):
    for package in ("first", "second"):
        register(tmp_path, package, "twice = json:JSONDecoder")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"more than one package registers the model 'twice': '\w+', '\w+'") as caught:
        Shelf("model", models.KINDS).load("twice")
    assert "pip uninstall" in caught.value.hint


def test_plugin_that_is_not_a_class_is_an_error(tmp_path, monkeypatch):
    register(tmp_path, "odd", "odd = json:dumps")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="expected a class, got <function dumps"):
        Shelf("model", models.KINDS).load("odd")
