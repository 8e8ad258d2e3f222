"""The page's script evaluates graphs as onnxruntime does, and parses values as the schema does, in a real browser."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from estimator import models
from estimator.checks import encoders as encoder_checks
from estimator.checks import models as checks
from estimator.core.task import Task
from estimator.data.schema import Column, Schema
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.data.sources.base import with_composed_names
from estimator.data.sources.csv import Csv
from estimator.data.sources.files import MemoryFile
from estimator.errors import EstimatorError, PageError, SourceError
from estimator.features import encoders
from estimator.features.encoders import Encoder, EncoderInput
from estimator.features.formulas import Formulas
from estimator.graph.builder import DOUBLE, STRING, Graph, Output, graph_operators
from estimator.graph.session import Session
from estimator.models.conformal import Conformal
from estimator.models.nets import keras_names
from estimator.serving.model_page.page import MAX_BYTES, build_model_page, column_data
from estimator.store.artefact import Artefact, open_artefact, write_artefact
from estimator.store.store import version_folder
from estimator.training.parity import LONG_TEXT
from estimator.training.train import write_graph
from tests.cruel_tables import cruel_tables, csv_text
from tests.formulas import SCHEMA, made_formula, made_rows
from tests.test_cruel_tables import N_TABLES
from tests.test_dates import N_DATES, made_dates, read_value
from tests.test_reading_matrix import CSV_TABLES

EVALUATE = """async ([content, feed]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const inputs = Object.entries(feed).map(([name, data]) => {
    const kind = data.some((value) => typeof value === "string") ? STRING : DOUBLE;
    return [name, tensorOf(kind, [data.length, 1], ARRAYS[kind].from(data))];
  });
  const outputs = prepareGraph(readGraph(bytes))(Object.fromEntries(inputs));
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data)]));
}"""
READ = """(text) => {
  const [data, values] = JSON.parse(text), column = columnOf(data.name, data);
  return values.map((value) => {
    try {
      return { cell: readCell(column, value) };
    } catch (error) {
      if (!(error instanceof CellError)) throw error;
      return { error: error.message };
    }
  });
}"""


@pytest.fixture(scope="module")
def script(penguins, window, tmp_path_factory) -> Any:
    """A window in which the page's script is loaded."""
    path = tmp_path_factory.mktemp("script") / "page.html"
    path.write_bytes(build_model_page(penguins).content)
    page = window().new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    return page


@pytest.fixture(scope="module")
def differences(script) -> Callable[..., float]:
    """The largest difference between the script and onnxruntime, as parity measures it; classes must be the same."""

    def call(graph: bytes, feed: dict[str, Any]) -> float:
        actual = script.evaluate(
            EVALUATE, [base64.b64encode(graph).decode(), {name: values[:, 0].tolist() for name, values in feed.items()}]
        )
        session, largest = Session(graph), 0.0
        for name, expected in zip(session.outputs, session.run(feed), strict=True):
            if expected.dtype == object:
                assert actual[name] == expected.ravel().tolist()
                continue
            wanted, has = expected.ravel().astype(float), np.array(actual[name], dtype=float)
            assert has.shape == wanted.shape
            assert np.array_equal(np.isnan(has), np.isnan(wanted))
            size = np.nanmean(np.abs(wanted)) if (~np.isnan(wanted)).any() else 1.0
            with np.errstate(invalid="ignore"):
                difference = np.abs(has - wanted) / np.maximum(np.abs(wanted), max(size, 1e-300))
            largest = max(largest, float(np.nanmax(np.where(has == wanted, 0.0, difference), initial=0.0)))
        return largest

    return call


# A few trees and a small net have every operator of the default settings.
QUICK: dict[str, dict[str, Any]] = {
    "boosting": {"n_estimators": 60},
    "catboost": {"n_estimators": 60},
    "xgboost": {"n_estimators": 60},
    "ensemble": {
        "members": [
            {"kind": "boosting", "n_estimators": 60},
            {"kind": "linear"},
            {"kind": "tabm", "members": 4, "width": 64, "patience": 1},
        ]
    },
}


def learned(kind: str, task: Task, **settings: Any) -> Any:
    return models.SHELF.load(kind)(**settings).fit(checks.example_data(task), checks.TRAINING)


def near() -> Any:
    return checks.to_matrix(checks.example_data(checks.TASKS[0]).rows.batch)


def far() -> Any:
    """Rows far out of the training range, of zeros, and of missing values."""
    return np.vstack([near() * 100, np.zeros((1, checks.WIDTH)), np.full((1, checks.WIDTH), np.nan)])


def noisy_conformal(model: Any, task: Task) -> Conformal | None:
    """Fit intervals, or calibration and prediction sets, to other rows of which the model gets some wrong."""
    target, generator = checks.example_data(task).rows.target, np.random.default_rng(4)
    labels = np.where(generator.random(len(target)) < 0.3, generator.permutation(target), target)
    return Conformal.fit(task, model.predict(checks.to_batch(near() * 1.01)), labels, 0.8, calibrate=True)


@pytest.mark.parametrize("task", checks.TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("kind", models.SHELF.names())
def test_every_model_predicts_as_onnxruntime(differences, kind, task):
    model = learned(kind, task, **QUICK.get(kind, {}))
    graph = write_graph(model, noisy_conformal(model, task))
    for rows in (near(), near()[:1]):
        assert differences(graph, checks.to_batch(rows).feed) < 1e-6
    # Far out of range, rounding to single precision limits the digits.
    assert differences(graph, checks.to_batch(far()).feed) < max(1e-6, model.tolerance)


@pytest.mark.parametrize("activation", keras_names.ACTIVATIONS)
def test_every_activation_is_supported(differences, activation):
    needed = {"threshold": 0.2, "default_value": 0.1} if activation == "threshold" else {}
    settings = {"layers": [8, 6], "activation": {"name": activation, **needed}, "batch_normalization": True}
    model = learned("dense", checks.TASKS[0], **settings)
    rows = np.vstack([near(), far()])
    assert differences(write_graph(model, None), checks.to_batch(rows).feed) < model.tolerance


def encoded(kind: type[Encoder], learning: EncoderInput, values: Any) -> tuple[bytes, dict[str, Any]]:
    graph, fitted = Graph(), kind.fit(learning)
    graph.input("a", STRING if learning.values.dtype == object else DOUBLE)
    written = kind.nodes(graph, {"a": fitted})
    return graph.finish([Output("matrix", written, DOUBLE, rank=2)]), {"a": values.reshape(-1, 1)}


@pytest.mark.parametrize("kind", encoders.SHELF.names())
def test_every_encoder_gives_the_same_matrix(differences, kind):
    encoder = encoders.SHELF.load(kind)
    example = encoder_checks.example(encoder)
    unusual: Any = [1e12, -1e12, 0.0, -0.0, 86399.999, 1e-300, math.nan]
    if example.values.dtype == object:
        unusual = ["", "unknown", "red", "RED green", "__proto__", "constructor", LONG_TEXT, " \t", "é\u0301 日本 ½ ²"]
    values = np.concatenate([example.values, np.array(unusual, dtype=example.values.dtype)])
    for column in (values, values[:1], values[-1:]):
        assert differences(*encoded(encoder, example, column)) < 1e-12


@pytest.mark.parametrize("kind", ["tfidf", "words"])
@pytest.mark.parametrize("task", checks.TASKS, ids=lambda task: task.kind)
def test_text_encoders_give_the_same_matrix(differences, kind, task):
    generator = np.random.default_rng(8)
    target = generator.integers(0, max(task.n_outputs, 2), 200).astype(float)
    nouns = ["Haus", "garden", "РЕКА", "naïve", "x1"]
    texts = [" ".join([*generator.choice(nouns, 3), nouns[int(label)], "I ❤️ 😀"]) for label in target]
    values = np.array([*texts, "", "HAUS haus, hAUS", LONG_TEXT], dtype=object)
    learning = EncoderInput(np.array(texts, dtype=object), target, task)
    assert differences(*encoded(encoders.SHELF.load(kind), learning, values)) < 1e-12


def test_formulas_are_computed_as_onnxruntime_does(differences):
    generator, kinds = np.random.default_rng(5), ("number", "boolean", "category", "datetime")
    texts = {f"f{index}": made_formula(generator, kinds[index % 4]) for index in range(200)}
    formulas, graph = Formulas.compile(SCHEMA, texts), Graph()
    for name in formulas.columns:
        graph.input(name, STRING if SCHEMA.by_name[name].is_string else DOUBLE)
    written = formulas.write(graph, {name: name for name in formulas.columns})
    outputs = [
        Output(f"out {item.name}", written[item.name], STRING if item.kind == "category" else DOUBLE, rank=2)
        for item in formulas
    ]
    content, feed = graph.finish(outputs), SCHEMA.read_rows(made_rows(50)).feed
    assert differences(content, {name: feed[name] for name in formulas.columns}) < 1e-12


NUMBER = Column("x", "number", nullable=True, na_values=("NA",), training_range=(0.5, 1e6), example=2.5)
DATE = Column("d", "date", training_range=(0.0, 86400.0 * 365), example="1970-03-01")
CATEGORY = Column(
    "c", "category", nullable=True, categories={"red": 3, "it's": 2, "10": 1, "__proto__": 1}, example="red"
)
COLUMNS = {
    "number": NUMBER,
    "not nullable": replace(NUMBER, nullable=False, na_values=()),
    "imputed": replace(NUMBER, nullable=False, na_values=(), on_missing="impute"),
    "imputed category": replace(CATEGORY, nullable=False, na_values=(), on_missing="impute", unknown="error"),
    "range": replace(NUMBER, range=(0.0, 100.0)),
    "minimum": replace(NUMBER, range=(1.5, None)),
    "money": replace(NUMBER, strip=("$", "USD"), thousands=",", range=(None, 1e5)),
    "comma": replace(NUMBER, thousands=".", decimal=",", units={"km": 1000.0, "m": 1.0}),
    "blanks": replace(NUMBER, thousands=" ", strip=("€",)),
    "pattern": replace(NUMBER, pattern=r"^(\d+)(?: - \d+|\.0)?", replace={"many": "99"}),
    "sentinels": replace(NUMBER, na_values=("inf", "-3", "1e2000", "5.", "many")),
    "sentinel codes": replace(CATEGORY, na_values=("5", "123456.789")),
    "sentinel dates": replace(DATE, nullable=True, na_values=("2020-02-29", "2020-01-01T12:30Z")),
    "integer": replace(NUMBER, kind="integer", training_range=(1.0, 12.0), example=3),
    "boolean": replace(NUMBER, kind="boolean", training_range=(0.0, 1.0), example=True),
    "category": CATEGORY,
    "known categories": replace(CATEGORY, unknown="error", nullable=False, na_values=()),
    "ignore case": replace(CATEGORY, ignore_case=True, unknown="error", replace={"rouge": "red"}),
    "a code": replace(CATEGORY, pattern=r"([A-Z]\d{3})[-_ ]\w", categories={f"L{n}": n for n in range(12)}),
    "text": replace(CATEGORY, kind="text", categories={}, example="some words"),
    "date": DATE,
    "datetime": replace(DATE, kind="datetime", nullable=True, example="1970-03-01 12:00:00"),
    "formats": replace(
        DATE, date_formats=("%d.%m.%Y", "%m/%d/%y", "%d-%b-%Y", "%B %d, %Y", "%Y%m%dT%H%M%S", "%I:%M %p %m %Y")
    ),
    "months": replace(DATE, date_formats=("%Y-%m",)),
    "zones": replace(DATE, kind="datetime", date_formats=("%Y-%m-%d %H:%M:%S%z", "%d %b %Y %a %H.%M.%S.%f")),
}
VALUES: list[Any] = [
    None, True, False, 0, 1, 5, -3, 2.5, "1e20", "1e-7", 123456.789, 2**53, "", "  ", "NA", "\tNA\n", "5", " 5 ", "5.",
    ".5", "-.5e3", "1e400", "1_000", "0x10", "inf", "nan", "None", "٣", "½", "1,234", "12,5", "1,234.5", "1.234,5",
    "1.234", "12 345", "12\u00a0345", "$5", "5$", "USD 1,200", "$-3", "€ 7", "3 km", "3km", "3 m", "km", "12 - 14",
    "7.0", "many", "true", "YES", "f", "Maybe", "red", "RED", " red ", "rouge", "it's", 'say "it\'s"', "a\nb",
    "back\\slash", "10", "__proto__", "constructor", "an unknown category", "x" * 100, "😀" * 90, "\u200b", "A123-z",
    "A123 z", "a123-z", "nul\0", "\ufeff5", "\x1c5", "2020-02-29", "2021-02-29", "20200229", "2020-2-9",
    "2020-W05-3", "2020W053", "2020-W05", "2020W05", "2020-W54", "2020-01-01T", "2020-01-01 12", "2020-01-01T12:30",
    "2020-01-01x12:30:15", "2020-01-01T12:30:15.123456789", "2020-01-01T12:30:15,5", "20200101T123015",
    "2020-01-01T123015", "2020-01-01T12:30Z", "2020-01-01T12:30+02:00", "2020-01-01T12:30-0130",
    "2020-01-01T12:30+25:00", "2020-01-01T25:00", "2020-01-01T12:60", "0000-01-01", "0001-01-01",
    "9999-12-31T23:59:59.999999", "2020-13-01", "1.2.2020", "31.12.1999", "31.02.2020", "2/3/68", "2/3/69",
    "3-jan-2021", "3-MAY-2021", "January 5, 2020", "january  5,  2020", "20200101T010203", "12:05 am 2 2020",
    "12:05 PM 02 2020", "2020-01-01 10:00:00+0530", "2020-01-01 10:00:00Z", "05 jan 2022 Wed 10.20.30.5", "2022-09",
    "2022-9", "2022-13", "yesterday", "-3.0", "Infinity", "-inf", "1e999", "5.0", "2020-01-01 12:30:00",
    "12.5.20", "2020",
]  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_values_get_the_same_cell_or_message(script, name):
    column = COLUMNS[name]
    data = {"name": column.name, **column_data(column)}
    results = script.evaluate(READ, json.dumps([data, VALUES]))
    wrong = {}
    for value, actual in zip(VALUES, results, strict=True):
        try:
            expected: dict[str, Any] = {"cell": read_cell(column, value)}
        except CellError as error:
            expected = {"error": str(error)}
        if actual != expected and not (
            actual.get("cell") != actual.get("cell") and expected.get("cell") != expected.get("cell")
        ):
            wrong[repr(value)] = (actual, expected)
    assert wrong == {}


READ_ROW = """(text) => {
  const [data, row] = JSON.parse(text), schema = schemaOf(data), read = readRow(schema, row, 1);
  const faults = columnFaults(schema, Object.keys(row)).map(([, name]) => name);
  const imputed = schema.features.filter((column) => isImputed(column, read.cells.get(column.name)));
  return { faults, cells: Object.fromEntries(read.cells), imputed: imputed.map(({ name }) => name) };
}"""


def test_left_out_columns_stand_in_as_the_schema_has_them(script):
    columns = (
        replace(NUMBER, name="nullable"),
        replace(NUMBER, name="required", required=True),
        replace(NUMBER, name="imputed", nullable=False, on_missing="impute"),
        replace(CATEGORY, name="default", nullable=False, default="red"),
        replace(NUMBER, name="plain", nullable=False),
    )
    schema = Schema(columns, Column("y", "number"))
    features = {column.name: column_data(column) for column in columns}
    data = {"target": "y", "unknown_columns": "error", "features": list(features), "columns": features}
    actual = script.evaluate(READ_ROW, json.dumps([data, {"plain": 1}]))
    assert actual["faults"] == [name for _, name in schema.name_faults({"plain"})] == ["required"]
    batch = schema.read_rows([{"plain": 1, "required": None}])
    assert actual["imputed"] == schema.imputed(batch)[0] == ["imputed"]
    for name, cells in batch.feed.items():
        assert actual["cells"][name] == cells[0, 0] or np.isnan([actual["cells"][name], cells[0, 0]]).all()


def test_made_dates_are_read_as_the_schema_reads_them(script):
    for date_format, pairs in made_dates(3, max(N_DATES // 10, 2000)):
        texts, column = [text for text, _ in pairs], replace(DATE, nullable=True, date_formats=(date_format,))
        cells = script.evaluate(READ, json.dumps([{"name": "d", **column_data(column)}, texts]))
        assert [item.get("cell") for item in cells] == [read_value(text, [date_format]) for text in texts], date_format


READ_TABLE = """async ([content, text]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)), schema = schemaOf(JSON.parse(text));
  const { names, rows } = readCsv(await textOfFile(new File([bytes], "t.csv")), "t.csv");
  return rows.map((row, index) => {
    const given = Object.fromEntries(names.map((name, position) => [name, row[position]]));
    const { cells, faults } = readRow(schema, given, index + 1);
    return { cells: [...cells], faults: faults.map(({ text }) => text) };
  });
}"""


@settings(max_examples=max(N_TABLES // 5, 60), deadline=None, suppress_health_check=list(HealthCheck))
@given(table=cruel_tables())
def test_made_tables_are_read_as_predict_reads_them(script, table):
    content = csv_text(table).encode()
    try:
        frame = with_composed_names(Csv((MemoryFile("t.csv", content),)).frame())
        schema = infer_schema(frame, frame.columns[-1])
    except EstimatorError:
        return
    batch = read_frame(schema, frame.drop(schema.target.name))
    features = {column.name: column_data(column) for column in schema.features}
    data = {"target": schema.target.name, "unknown_columns": "ignore", "features": list(features), "columns": features}
    rows = script.evaluate(READ_TABLE, [base64.b64encode(content).decode(), json.dumps(data)])
    columns = {name: cells[:, 0].tolist() for name, cells in batch.feed.items()}
    expected = [[(name, repr(cells[row])) for name, cells in columns.items()] for row in range(frame.height)]
    assert [row["faults"] for row in rows] == [[]] * frame.height
    # JSON writes whole doubles as integers.
    assert expected == [
        [(name, repr(cell if isinstance(cell, str) else float(cell))) for name, cell in row["cells"]] for row in rows
    ]


def changed(artefact: Artefact, folder: Path, **files: Any) -> Artefact:
    """A version with another graph (bytes), or other settings of its column `island`, and matching hashes."""
    contents = {name: artefact.read(name) for name in artefact.manifest["files"]}
    if "graph" in files:
        contents["model.onnx"] = files["graph"]
    data = artefact.read_json("schema.json")
    data["columns"]["island"] |= files.get("island", {})
    contents["schema.json"] = json.dumps(data).encode()
    manifest = {**artefact.manifest, "operators": graph_operators(contents["model.onnx"])}
    return open_artefact(write_artefact(folder, "changed", manifest, contents))


@pytest.fixture(scope="module")
def penguins(store) -> Artefact:
    return open_artefact(version_folder(store / "penguins"))


def test_unsupported_operator_is_named(penguins, tmp_path):
    graph = Graph()
    sine = graph("Sin", graph.input("bill_length_mm", DOUBLE))
    content = graph.finish([Output("prediction", sine, DOUBLE, rank=2)])
    with pytest.raises(PageError, match=r"penguins .*does not support the operators Sin of the graph"):
        build_model_page(changed(penguins, tmp_path, graph=content))


def test_a_manifest_without_operators_says_retrain(penguins, tmp_path):
    manifest = {name: value for name, value in penguins.manifest.items() if name != "operators"}
    contents = {name: penguins.read(name) for name in manifest["files"]}
    with pytest.raises(PageError, match=r"does not list the operators of its graph") as error:
        build_model_page(open_artefact(write_artefact(tmp_path, "old", manifest, contents)))
    assert error.value.hint == "train the version again with this release of estimator"


def test_too_large_page_is_rejected_with_its_size(penguins, tmp_path):
    graph = Graph()
    noise = graph.constant(np.random.default_rng(0).standard_normal(MAX_BYTES // 8))
    total = graph("Add", graph.input("bill_length_mm", DOUBLE), noise)
    content = graph.finish([Output("prediction", total, DOUBLE, rank=2)])
    with pytest.raises(PageError, match=r"expected a page of at most 20 MB, got 2\d MB"):
        build_model_page(changed(penguins, tmp_path, graph=content))


@pytest.mark.parametrize(
    ("change", "message"), [({"pattern": r"(?i)x"}, r"does not read the pattern '\(\?i\)x' as Python does")]
)
def test_unsupported_schema_is_rejected(penguins, tmp_path, change, message):
    with pytest.raises(PageError, match=message):
        build_model_page(changed(penguins, tmp_path, island=change))


READ_FILE = """async ([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  try {
    return readCsv(await textOfFile(new File([bytes], name)), name);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return { error: error.message };
  }
}"""
# A page has no detector of encodings.
ONLY_UTF8 = "new.csv: not UTF-8"


@pytest.mark.parametrize("name", CSV_TABLES)
def test_page_reads_a_file_as_predict_does(script, name):
    content = CSV_TABLES[name].content
    read = script.evaluate(READ_FILE, [base64.b64encode(content).decode(), "new.csv"])
    source = Csv((MemoryFile("new.csv", content),))
    try:
        frame = source.frame()
    except SourceError as error:
        # It has no config, and its sentence ends with what to do.
        assert read["error"].startswith(error.message) or read["error"].startswith(ONLY_UTF8)
        return
    if "error" in read:
        assert read["error"].startswith(ONLY_UTF8) or content.count(b"\0")
        return
    assert read["names"] == frame.columns
    assert list(map(tuple, read["rows"])) == frame.rows()
    assert read["notes"] == source.notes()
