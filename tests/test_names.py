"""Columns of any name go from `init` to the prediction log, and names that only look the same are distinguished."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config.reader import resolve
from estimator.core.names import look_alike
from estimator.data.schema import Column, Schema
from estimator.data.schema.file import from_data, to_data
from estimator.data.schema.frames import read_frame, with_schema_names
from estimator.data.sources.opener import open_files
from estimator.errors import ConfigError, RowError, SourceError
from estimator.prediction_log import open_log
from estimator.serving.model_page.page import build_model_page
from estimator.serving.telemetry.recorder import RequestRecorder
from estimator.store.artefact import Artefact, open_artefact
from estimator.training.prepare import OUTPUTS, prepare
from estimator.verbs.context import SHELVES, Context
from tests.clients import Client, gateway

NAMES = [
    "n" * 1200, "price.per.m2", "x[0]", 'he said "hi"', "it's", "café", "🏠 size", " leading", "trailing ", "Case",
    "case", "id", "__index__", "two\nlines", "tab\there", "no\xa0break", "no break", "a:b", "a,b", "a;b", "#hash",
    "null", "true", "1", "0.5", "-", "{}", "__proto__", "constructor", "' OR 1=1 --", "%s", "{{ x }}", "</script>",
    "<b>", "\\", "/", "..", "NA", "~", "*", "^.*$", "&amp;", "-->", "? ", "! tag", "'", '"', "`", "zero\u200bwidth",
    "цена", "día.1", "date",
]  # fmt: skip
DECOMPOSED = [normalize("NFD", name) for name in NAMES]


def table(names: list[str], *, n_rows: int = 120) -> str:
    made, text = random.Random(1), io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*names, "y"])
    for row in range(n_rows):
        cells = [round(made.gauss(0, 1), 3) for _ in names[:-1]]
        writer.writerow([*cells, f"2020-01-{1 + row % 28:02}", round(sum(cells[:5]) + made.gauss(0, 0.1), 3)])
    return text.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the table, and what `init` wrote for it."""
    path = tmp_path_factory.mktemp("names")
    (path / "t.csv").write_text(table(NAMES))
    (path / "nfd.csv").write_text(table(DECOMPOSED))
    verbs.init.init(str(path / "t.csv"), "y", Context(), conf=path / "c.yml", force=False)
    return path


@pytest.fixture(scope="module")
def version(folder) -> Artefact:
    """A version trained by the config and schema that `init` wrote; all columns are features."""
    settings = ["model.kind=linear", "evaluation.importance_repeats=1", "validation.folds=2"]
    context = Context([*settings, "evaluation.bootstrap_samples=100"], store_path=str(folder / "models"))
    return open_artefact(verbs.train.train(folder / "c.yml", context).artefact.folder)


@pytest.fixture(scope="module")
def expected(version, folder) -> list[float]:
    predictions: list[float] = version.predictor.predict_table(open_files(str(folder / "t.csv")).frame())["prediction"]
    return list(predictions)


def test_every_name_is_a_feature(version):
    assert [column.name for column in version.schema.features] == NAMES


@pytest.mark.parametrize("name", ["t.csv", "nfd.csv"])
def test_files_with_accents_written_in_two_ways_are_predicted(version, folder, tmp_path, expected, name):
    verbs.predict.predict(version, str(folder / name), str(tmp_path / "p.csv"), keep=["*", "^.*$", "café"])
    predicted = pl.read_csv(tmp_path / "p.csv")
    assert predicted["prediction"].to_list() == pytest.approx(expected, abs=1e-9)
    assert predicted.columns[:3] == ["*", "^.*$", "café"]


@pytest.mark.parametrize("names", [NAMES, DECOMPOSED], ids=["NFC", "NFD"])
def test_rows_and_tables_over_http_are_predicted_and_logged(version, tmp_path, expected, names):
    recorder = RequestRecorder(connect_log=lambda: open_log("log.db", tmp_path, {}))
    client = Client(gateway(version, recorder=recorder))
    content = table(names).encode()
    rows = [
        {name: value if name == "date" else float(value) for name, value in row.items() if name != "y"}
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]
    response = client.post("/v1/predict", rows).json()
    assert "predictions" in response, str(response)[:500]
    assert [item["prediction"] for item in response["predictions"]] == pytest.approx(expected, abs=1e-9)
    sent = client("POST", "/v1/predict", content=content, headers={"content-type": "text/csv"})
    assert [item["prediction"] for item in sent.json()["predictions"]] == pytest.approx(expected, abs=1e-9)
    recorder.close()
    log = open_log("log.db", tmp_path, {})
    record = log.find(response["predictions"][0]["id"])
    assert record is not None
    assert list(record.inputs) == NAMES


def test_private_columns_are_not_logged_under_another_spelling(version, tmp_path):
    serving = version.config["serving"] | {"private_columns": ["café"]}
    recorder = RequestRecorder(connect_log=lambda: open_log("log.db", tmp_path, {}))
    config = resolve({**version.config, "serving": serving}, SHELVES)
    client = Client(gateway(version, serving=config.serving, recorder=recorder))
    row = {normalize("NFD", name): value for name, value in version.read_json("golden.json")["rows"][0].items()}
    identifier = client.post("/v1/predict", [row]).json()["predictions"][0]["id"]
    recorder.close()
    record = open_log("log.db", tmp_path, {}).find(identifier)
    assert record is not None
    assert set(NAMES) - set(record.inputs) == {"café"}


def test_the_page_predicts_files_with_such_names(version, folder, visit_file, tmp_path, expected):
    (tmp_path / "page.html").write_bytes(build_model_page(version).content)
    page = visit_file(tmp_path / "page.html")
    page.wait_for_selector("body[data-ready]")
    for name in ("t.csv", "nfd.csv"):
        content = (folder / name).read_bytes()
        page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})
        with page.expect_download() as download:
            page.click("#batch-result a")
        predicted = pl.read_csv(Path(download.value.path()))
        assert predicted["prediction"].to_list() == pytest.approx(expected, abs=1e-6)


def test_explore_evaluate_and_page_take_such_names(version, folder, tmp_path):
    explored = verbs.explore.explore(folder / "c.yml", Context(), page=tmp_path / "e.html")
    assert {column.name for column in explored.profile.columns} >= set(NAMES)
    assert verbs.evaluate.evaluate(version, table=str(folder / "t.csv"))


SCHEMA = Schema(
    (Column("total price", "number"), Column("café", "number"), Column("цена", "number")), Column("y", "number")
)
TWINS = {
    "total\u00a0price": ("total price", "a no-break space (U+00A0)"),
    "total  price": ("total price", "blanks"),
    "Total Price": ("total price", "case"),
    "total price ": ("total price", "blanks at its ends"),
    "total\u200b price": ("total price", "a zero width space (U+200B)"),
    "tоtal price": ("total price", "a cyrillic small letter o (U+043E)"),
    "цeна": ("цена", "a cyrillic small letter ie (U+0435)"),
}


@pytest.mark.parametrize("name", TWINS)
def test_name_that_looks_the_same_is_distinguished(name):
    twin, difference = TWINS[name]
    assert look_alike(name, ["y", "café", "total price", "цена"]) == (twin, difference)
    row = {"total price": 1, "café": 2, "цена": 3}
    row = {name if key == twin else key: value for key, value in row.items()}
    for read in (lambda: SCHEMA.read_rows([row]), lambda: read_frame(SCHEMA, pl.DataFrame([row]))):
        with pytest.raises(RowError) as error:
            read()
        assert f"did you mean {twin!r}? it differs by {difference}" in str(
            [item.message for item in error.value.faults]
        )


def test_accents_may_be_written_in_two_ways_but_a_column_is_given_once():
    row = {"total price": 1, "cafe\u0301": 2, "цена": 3}
    assert SCHEMA.read_rows([row]).feed["café"].tolist() == [[2.0]]
    with pytest.raises(RowError, match=r"given twice, as 'caf\\xe9', 'cafe\\u0301'"):
        SCHEMA.read_rows([{"total price": 1, "café": 2, "cafe\u0301": 4, "цена": 3}])
    assert with_schema_names(SCHEMA, pl.DataFrame({"cafe\u0301": [1], "café": [2]})).columns == ["cafe\u0301", "café"]


def test_a_schema_file_may_write_accents_as_two_characters():
    data = json.loads(normalize("NFD", json.dumps(to_data(SCHEMA), ensure_ascii=False)))
    assert [column.name for column in from_data(data, source="s.yml").columns] == ["total price", "café", "цена"]


def test_two_columns_of_one_name_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("café,cafe\u0301,y\n1,2,3\n")
    with pytest.raises(SourceError, match="'café' more than once"):
        open_files(str(tmp_path / "t.csv")).frame()
    pl.DataFrame({"café": [1], "cafe\u0301": [2]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="'café' more than once, with accents written in two ways"):
        open_files(str(tmp_path / "t.parquet")).frame()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_config_may_write_accents_in_either_way(tmp_path, form):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"é": np.arange(60.0) / 7, "ö": np.arange(60.0) ** 2, "å": np.arange(60.0) % 7}).write_parquet(path)
    data: dict[str, Any] = {"path": "t.parquet", "target": normalize(form, "å"), "drop": [normalize(form, "ö")]}
    schema = {"columns": {normalize(form, "é"): {"unit": "m"}}}
    frame = open_files(str(path)).frame()
    prepared = prepare(frame, resolve({"data": data, "schema": schema}, SHELVES))
    assert [(column.name, column.unit) for column in prepared.schema.features] == [("é", "m")]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_feature_named_like_an_output_is_a_sentence(name):
    frame = pl.DataFrame({name: np.random.default_rng(0).random(60), "y": np.arange(60.0)})
    with pytest.raises(ConfigError, match=f"a feature cannot be called '{name}'"):
        prepare(frame, resolve({"data": {"path": "t.csv", "target": "y"}}, SHELVES))
