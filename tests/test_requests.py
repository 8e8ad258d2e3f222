"""Requests as people send them: every form and spelling gets one verdict, on both paths, in files and in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.data.schema import Column, Schema
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.file import from_data, to_data, to_yaml
from estimator.data.schema.inference import infer_schema
from estimator.errors import EstimatorError, RequestError, RowError
from estimator.serving.service import ResponseFormat
from estimator.store.artefact import Artefact
from tests.clients import Client, gateway
from tests.test_server_fast_path import Pair

N_ROWS = 150
CITIES = ("Oslo", "Bergen", "Lom")


def table() -> pl.DataFrame:
    """Return a table with a column of every kind; only `area` has missing values."""
    generator = np.random.default_rng(7)
    x = generator.normal(size=N_ROWS)
    return pl.DataFrame(
        {
            "x": x,
            "rooms": generator.integers(1, 9, N_ROWS),
            "sold": np.where(generator.random(N_ROWS) < 0.5, "yes", "no"),
            "city": generator.choice(CITIES, N_ROWS),
            "day": [f"2024-0{month}-1{digit}" for month, digit in generator.integers(1, 9, (N_ROWS, 2)).tolist()],
            "area": [None if index % 9 == 0 else float(index) for index in range(N_ROWS)],
            "price": [f"${1000 + value:,}" for value in generator.integers(0, 5000, N_ROWS).tolist()],
            "y": 3.0 * x + generator.normal(size=N_ROWS),
        }
    )


COLUMNS = {"price": {"kind": "number", "strip": ["$"], "thousands": ","}}


def trained(folder: Path, frame: pl.DataFrame, *, model: str = "linear", target: str = "y", **schema: Any) -> Artefact:
    """Train a small version."""
    frame.write_csv(folder / "t.csv")
    config = {
        "name": "small",
        "data": {"path": "t.csv", "target": target},
        "schema": schema,
        "model": {"kind": model},
        "validation": {"folds": 0},
        "evaluation": {"importance_repeats": 0, "bootstrap_samples": 100},
    }
    (folder / "config.json").write_text(json.dumps(config))
    context = verbs.Context(store_path=str(folder / "models"))
    return verbs.train.train(folder / "config.json", context).artefact


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Artefact:
    return trained(tmp_path_factory.mktemp("small"), table(), columns=COLUMNS)


@pytest.fixture(scope="module")
def pair(small) -> Pair:
    return Pair(small)


ROW = {
    "x": 0.5, "rooms": 3, "sold": "yes", "city": "Oslo", "day": "2024-03-12", "area": 20.0, "price": "$1,250",
}  # fmt: skip
TWO = [ROW, {**ROW, "x": -1.5, "city": "Bergen", "area": None}]
NAMES = list(ROW)
VALUES = [[row[name] for name in NAMES] for row in TWO]
FORMS = {
    "columns": {name: [row[name] for row in TWO] for name in NAMES},
    "inputs": {"inputs": TWO},
    "inputs of columns": {"inputs": {name: [row[name] for row in TWO] for name in NAMES}},
    "instances": {"instances": TWO},
    "dataframe_records": {"dataframe_records": TWO},
    "dataframe_split": {"dataframe_split": {"columns": NAMES, "data": VALUES}},
    "dataframe_split with index": {"dataframe_split": {"index": [0, 1], "columns": NAMES, "data": VALUES}},
}


def respond(pair: Pair, body: bytes, response_format: ResponseFormat = ResponseFormat.FULL) -> Any:
    """Return the content of a response that both paths agree on, or the sentences of its rejection."""
    pair.agree(body)
    try:
        return json.loads(pair.service.respond(body, "0a1b", response_format).body)
    except RowError as error:
        return [str(fault) for fault in error.faults]
    except RequestError as error:
        return [error.message]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("response_format", ResponseFormat)
def test_form_of_another_server_gets_the_same_response(pair, form, response_format):
    expected = respond(pair, json.dumps(TWO).encode(), response_format)
    assert respond(pair, json.dumps(FORMS[form]).encode(), response_format) == expected


def test_form_of_another_server_is_logged_as_rows(small):
    from estimator.prediction_log import LogEntry, records_of
    from estimator.serving.request_body import as_row_list

    for content in FORMS.values():
        assert json.loads(as_row_list(json.dumps(content).encode())) == TWO
    response = Client(gateway(small)).post("/v1/predict", FORMS["instances"])
    entry = LogEntry("a", 1.0, "small", "v", as_row_list(json.dumps(FORMS["instances"]).encode()), response.content)
    assert [record.inputs for record in records_of(entry)] == TWO


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROW, "put one row in [ ]"),
        ({"data": TWO}, "expected a list of rows"),
        ({"rows": TWO, "model": ["a"]}, "expected a list of rows"),
        ({"inputs": VALUES}, "inputs: expected a value per column name in each row, got values without names"),
        ({"instances": VALUES}, "name the columns, or send dataframe_split"),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}]}, "Open Inference Protocol"),
        ({"inputs": TWO, "params": {}}, "expected nothing but 'inputs', got 'params' next to it"),
        ({"signature_name": "serving_default", "instances": TWO}, "got 'signature_name' next to it"),
        ({"instances": []}, "expected at least one row"),
        ({"dataframe_split": {"columns": NAMES}}, 'dataframe_split: expected {"columns": [names], "data": [rows]}'),
        ({"dataframe_split": {"columns": NAMES, "data": [VALUES[0], [1]]}}, "row 2: expected 7 values, got 1 values"),
        ({"dataframe_split": {"columns": [*NAMES[1:], "city"], "data": VALUES}}, "columns names 'city' twice"),
        ({"dataframe_split": TWO}, "dataframe_split: expected"),
        (VALUES, "expected an object with a value per column, got [0.5, 3, 'yes'"),
        ({"x": [1.0, 2.0], "rooms": [1]}, "expected columns of the same length"),
        ({"x": {"0": 1.0}}, "expected a list of rows"),
        ("rows", "expected a list of rows"),
        ({}, "expected a list of rows"),
    ],
)
def test_other_forms_are_named_with_what_is_accepted(pair, content, message):
    assert message in respond(pair, json.dumps(content).encode())[0]


def test_table_with_a_column_called_inputs_is_a_table_of_columns(tmp_path):
    frame = pl.DataFrame({"inputs": ["a", "b"] * 60, "y": [1.0, 3.5] * 60})
    pair = Pair(trained(tmp_path, frame))
    expected = respond(pair, b'[{"inputs":"a"},{"inputs":"b"}]')
    assert len(expected["predictions"]) == 2
    assert respond(pair, b'{"inputs":["a","b"]}') == expected


@pytest.mark.parametrize("wrap", ["[{}]", '{{"instances":[{}]}}', '{{"inputs":[{}]}}', '{{"dataframe_records":[{}]}}'])
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('"x":NaN', "row 1, column 'x': expected a finite number or null, got nan, which JSON does not allow"),
        ('"x":-Infinity', "row 1, column 'x': expected a finite number or null, got -inf, which JSON does not allow"),
        ('"x":1e400', "row 1, column 'x': expected a finite number or null, got inf, which JSON does not allow"),
        ('"area":NaN', "row 1, column 'area': expected a finite number or null, got nan, which JSON does not allow"),
        ('"x":{"a":[NaN]}', "row 1, column 'x': expected a finite number or null, got nan, which JSON does not allow"),
        ('"x":1,"x":2', "row 1, column 'x': this column is given twice"),
        ('"x":true', "row 1, column 'x': expected a number, got True; training range"),
        ('"x":[1]', "row 1, column 'x': expected a number, got [1]; training range"),
        ('"x":{}', "row 1, column 'x': expected a number, got {}; training range"),
        ('"rooms":2.5', "row 1, column 'rooms': expected a whole number, got 2.5; training range 1 to 8"),
        ('"rooms":9007199254740993', "row 1, column 'rooms': expected a whole number, got 9007199254740993"),
        ('"sold":2', "row 1, column 'sold': expected true or false, got 2"),
        ('"city":["Oslo"]', "row 1, column 'city': expected text, got ['Oslo']"),
        ('"city":"a\\u0000"', "row 1, column 'city': expected text without NUL characters"),
        ('"city":"\\ud800"', "the body holds a lone surrogate, which is half of a character"),
        ('"city":{"\\ud800":1}', "the body holds a lone surrogate, which is half of a character"),
        ('"x":1' + "0" * 400, "row 1, column 'x': expected a number, got 1000"),
        ('"x":1' + "0" * 5000, "the body is not JSON: "),
        ('"price":"12,50"', "row 1, column 'price': expected a number, got '12,50'"),
        ('"x":null', "row 1, column 'x': expected a number, got a missing value (None)"),
        ('"x":""', "row 1, column 'x': expected a number, got a missing value ('')"),
        ('"x":' + "[" * 5000 + "]" * 5000, "the body is not JSON"),
    ],
)
def test_bad_values_get_one_sentence_in_every_form(pair, wrap, cell, message):
    name = cell.partition(":")[0].strip('"')
    others = ",".join(f'"{key}":{json.dumps(value)}' for key, value in ROW.items() if key != name)
    (first, *_) = respond(pair, wrap.format(f"{{{others},{cell}}}").encode())
    assert first.startswith(message)


@pytest.mark.parametrize("names", ["columns", "dataframe_split"])
def test_nan_is_not_a_missing_value_in_columns_either(pair, names):
    content = FORMS[names]
    text = json.dumps(content).replace("20.0", "NaN")
    assert respond(pair, text.encode()) == [
        "row 1, column 'area': expected a finite number or null, got nan, which JSON does not allow"
    ]


# What is sent in JSON, and the same as the text of a CSV cell.
SPELLINGS = {
    "x": [1, 1.0, "1", " 1.5 ", "1e3", "+2", "0x1", "1_0", "١", "", "NA", "1,5", "inf", "NaN", "1.", ".5", "--1"],
    "rooms": [3, 3.0, "3", "3.0", "3.5", "3e0", "9007199254740993", 10**20, "three", "", "03"],
    "sold": [True, False, "true", "FALSE", "Yes", "n", "T", 1, 0, 1.0, "1.0", 2, "maybe", ""],
    "city": ["Oslo", "oslo", " Oslo", "Atlantis", 1, 1.5, True, "", "NA"],
    "day": ["2024-03-12", "2024-3-2", "2024-03-12T10:00:00", "12.03.2024", "", "soon"],
    "area": [None, "", "NA", " ", "12", 12, "abc", -1.5],
    "price": ["$1,250", "1,250", 1250, "1250", "$ 7", "12,50", "", "€5", 1.5],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_value_gets_one_verdict_in_json_csv_and_python(pair, small, name, tmp_path):
    for value in SPELLINGS[name]:
        row = {**ROW, name: value}
        as_json = respond(pair, msgspec.json.encode([row]))
        verdicts = {"rows": _python(small, [row]), "frame": _python(small, _frame(row, name))}
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        # An integer of more digits than a double has is not the text of a float.
        verdicts["csv"] = _csv(small, {**row, name: text}, tmp_path)
        expected = as_json["predictions"][0]["prediction"] if isinstance(as_json, dict) else as_json
        for way, verdict in verdicts.items():
            if isinstance(expected, float):
                assert verdict == pytest.approx(expected, rel=1e-12), (way, name, value, verdict, expected)
            else:
                assert isinstance(verdict, str), (way, name, value, verdict, expected)


def _frame(row: dict[str, Any], name: str) -> pl.DataFrame:
    return pl.DataFrame({key: pl.Series([value], dtype=pl.Object if isinstance(value, int) and value > 2**63 else None)
                         for key, value in row.items()})  # fmt: skip


def _python(artefact: Artefact, data: Any) -> float | str:
    try:
        return float(artefact.predictor.predict(data)[0])
    except RowError as error:
        return error.message


def _csv(artefact: Artefact, row: dict[str, Any], folder: Path) -> float | str:
    pl.DataFrame([row]).cast(pl.String).write_csv(folder / "new.csv")
    try:
        verbs.predict.predict(artefact, str(folder / "new.csv"), str(folder / "out.csv"))
    except RowError as error:
        return error.message
    return float(pl.read_csv(folder / "out.csv")["prediction"][0])


HUGE = [{"a": 1.0, "b": 1.0}, {"a": 1e308, "b": 1e308}, {"a": 1e308, "b": -1e308}]


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory) -> Artefact:
    """A version whose prediction overflows for enormous numbers."""
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(2, 150)) * 1e-3
    frame = pl.DataFrame({"a": a, "b": b, "y": 4e3 * a + 4e3 * b})
    return trained(tmp_path_factory.mktemp("overflowing"), frame)


def test_prediction_that_is_not_finite_is_rejected_on_both_paths(overflowing):
    pair = Pair(overflowing)
    for response_format in ResponseFormat:
        (fault,) = respond(pair, json.dumps(HUGE[:2]).encode(), response_format)
        assert fault.startswith(
            "row 2: the model has no finite prediction for this row; out of range: 'a', training range"
        )
        assert isinstance(respond(pair, json.dumps(HUGE[:1]).encode(), response_format), dict)
    response = Client(gateway(overflowing)).post("/v1/predict", HUGE)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", 1]


def test_prediction_that_is_not_finite_stops_a_file_or_is_counted(overflowing, tmp_path, run):
    pl.DataFrame([*HUGE[:1] * 3, *HUGE]).write_csv(tmp_path / "new.csv")
    output, model = tmp_path / "o.csv", overflowing.folder
    command = ("predict", "--model", model, "--input", tmp_path / "new.csv", "--output", output)
    code, _, stderr = run(*command)
    assert code == 1
    assert "row 5: the model has no finite prediction for this row" in stderr
    assert not output.exists()
    code, data, _ = run(*command, "--on-error", "missing", "--json")
    assert (code, data["rows"], data["rows_without_prediction"]) == (0, 6, 2)
    assert pl.read_csv(output)["prediction"].is_null().to_list() == [False] * 4 + [True] * 2
    with pytest.raises(RowError, match="row 2: the model has no finite prediction"):
        overflowing.predictor.predict(HUGE)
    with pytest.raises(RowError, match="row 3: the model has no finite prediction"):
        overflowing.predictor.predict_table([*HUGE[:1] * 2, HUGE[2]])


def test_evaluate_names_the_row_without_a_finite_prediction(overflowing, tmp_path):
    rows = [{**HUGE[0], "y": 1.0}, {**HUGE[0], "y": None}, {**HUGE[1], "y": 1.0}]
    pl.DataFrame(rows).write_csv(tmp_path / "new.csv")
    with pytest.raises(RowError, match="row 3: the model has no finite prediction"):
        verbs.evaluate.evaluate(overflowing, str(tmp_path / "new.csv"))


MODEL_KINDS = ("linear", "boosting", "xgboost", "catboost", "tabm", "dense", "constant")


@pytest.fixture(scope="module")
def imputing(tmp_path_factory) -> Artefact:
    """A version that imputes missing values, of a table that has none but in `area`; `price` has a default."""
    columns = {"price": {**COLUMNS["price"], "default": "$1,000"}, "rooms": {"on_missing": "reject"}}
    return trained(tmp_path_factory.mktemp("imputing"), table(), columns=columns, on_missing="impute")


def test_missing_value_is_rejected_with_the_edit(small, tmp_path, run):
    response = Client(gateway(small)).post("/v1/predict", [{**ROW, "x": None}])
    assert response.status_code == 422
    edit = "schema.columns.x: nullable: true accepts missing values, on_missing: impute replaces them; then train again"
    assert response.json()["hint"] == edit
    pl.DataFrame([ROW, {**ROW, "x": None}]).write_csv(tmp_path / "new.csv")
    output = tmp_path / "out.csv"
    code, _, stderr = run("predict", "--model", small.folder, "--input", tmp_path / "new.csv", "--output", output)
    assert code == 1
    assert "row 2, column 'x': expected a number, got a missing value" in stderr
    assert edit in stderr


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_every_model_imputes_a_value_that_was_never_missing(kind, tmp_path):
    frame = table()
    artefact = trained(tmp_path, frame.with_columns(pl.col("area").fill_null(5.0)), model=kind, columns=COLUMNS,
                       on_missing="impute")  # fmt: skip
    assert all(column.imputes for column in artefact.schema.features)
    values = [artefact.predictor.predict([{**ROW, name: None}])[0] for name in ROW]
    values.append(artefact.predictor.predict([dict.fromkeys(ROW)])[0])
    assert np.isfinite(np.array(values, dtype=float)).all()
    # A number that is missing is the median of the training rows.
    trained_x = frame["x"].to_numpy()
    test_rows = artefact.manifest["data"]["rows_held_out"]
    assert test_rows
    candidates = artefact.predictor.predict([{**ROW, "x": value} for value in sorted(trained_x)[60:90]])
    assert np.isclose(candidates, values[0]).any()


def test_imputed_values_are_reported_and_counted(imputing):
    app = gateway(imputing)
    client = Client(app)
    rows = [ROW, {**ROW, "x": None}, {**ROW, "city": "", "day": None, "area": None}]
    whole, first, second = client.post("/v1/predict", rows).json()["predictions"]
    assert "imputed" not in whole
    assert (first["imputed"], second["imputed"]) == (["x"], ["city", "day"])
    counted = app.recorder.metrics.counters["imputed_values_total"]
    assert dict(counted) == {("x",): 1, ("city",): 1, ("day",): 1}
    response = client.post("/v1/predict", [{**ROW, "rooms": None}])
    assert response.status_code == 422
    assert "the column is not nullable" in response.json()["detail"][0]["msg"]


def test_whole_rows_of_an_imputing_version_stay_on_the_fast_path(imputing):
    pair = Pair(imputing)
    row = {**ROW, "sold": True, "price": 1250}
    assert pair.agree(json.dumps([row]).encode())
    for name in ("x", "city", "day", "sold"):
        assert not pair.agree(json.dumps([{**row, name: None}]).encode())
        assert not pair.agree(json.dumps([{**row, name: ""}]).encode())


def test_file_with_missing_values_is_predicted_with_a_note(imputing, tmp_path, run):
    rows = [ROW, {**ROW, "x": None}, {**ROW, "x": None, "city": None}]
    pl.DataFrame(rows).drop("area", "price").write_csv(tmp_path / "new.csv")
    output = tmp_path / "out.csv"
    command = ("predict", "--model", imputing.folder, "--input", tmp_path / "new.csv", "--output", output, "--json")
    code, data, _ = run(*command)
    assert code == 0
    notes = [note.partition(": ")[2] for note in data["notes"]]
    assert "column 'x': missing values imputed: 2" in notes
    assert "column 'city': missing values imputed: 1" in notes
    assert "no column 'area': its default, or a missing value, in all rows" in notes
    expected = imputing.predictor.predict([{**row, "area": None, "price": 1000} for row in rows])
    np.testing.assert_allclose(pl.read_csv(output)["prediction"].to_numpy(), expected, rtol=1e-12)


def test_file_with_values_that_training_did_not_have_is_predicted_with_a_note(imputing, tmp_path, run):
    rows = [ROW, {**ROW, "x": 1e6}, {**ROW, "x": -1e6, "city": "Nowhere"}]
    pl.DataFrame(rows).drop("price").write_csv(tmp_path / "new.csv")
    command = ("predict", "--model", imputing.folder, "--input", tmp_path / "new.csv", "--output", tmp_path / "o.csv")
    code, data, _ = run(*command, "--json")
    unseen = "new.csv: values outside the training range, or categories unknown in training, in columns"
    assert (code, [note.rpartition("/")[2] for note in data["notes"] if "outside" in note]) == (
        0,
        [f"{unseen} x (2 rows), city (1 row)"],
    )


def test_column_that_may_be_missing_may_be_left_out(imputing, small):
    row = {name: value for name, value in ROW.items() if name not in ("area", "price", "x")}
    full = {**row, "area": None, "price": "$1,000", "x": None}
    pair = Pair(imputing)
    assert respond(pair, json.dumps([row]).encode()) == respond(pair, json.dumps([full]).encode())
    assert imputing.predictor.predict(row) == imputing.predictor.predict(pl.DataFrame([row]))
    faults = respond(Pair(small), json.dumps([row]).encode())
    assert [fault.partition(": ")[0] for fault in faults] == ["row 1, column 'x'", "row 1, column 'price'"]


def test_left_out_columns_are_logged_with_what_stood_in(imputing):
    from estimator.serving.service import Service

    row = {name: value for name, value in ROW.items() if name not in ("area", "price", "x")}
    service = Service(imputing, Pair(imputing).service.serving)
    (logged,) = json.loads(service.rows_to_log(json.dumps([row]).encode()))
    assert logged == {**row, "area": None, "price": "$1,000", "x": None}


def test_misspelled_optional_column_is_not_left_out_in_silence(tmp_path):
    artefact = trained(tmp_path, table(), columns=COLUMNS, unknown_columns="ignore")
    row = {**ROW, "unheard_of": 1}
    del row["area"]
    assert len(artefact.predictor.predict(row)) == 1
    with pytest.raises(RowError, match="did you mean it by 'aera'"):
        artefact.predictor.predict({**row, "aera": 20.0})


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"required": False}, "required: false needs a value for rows that leave the column out"),
        ({"default": "many"}, "default: expected a whole number, got 'many'"),
        ({"default": 3.5}, "default: expected a whole number, got 3.5"),
        ({"on_missing": "drop"}, "on_missing"),
    ],
)
def test_wrong_choices_are_named(tmp_path, choices, message):
    with pytest.raises(EstimatorError, match=message):
        trained(tmp_path, table(), columns={**COLUMNS, "rooms": choices})


def test_required_column_must_be_there_although_nullable(tmp_path):
    artefact = trained(tmp_path, table(), columns={**COLUMNS, "area": {"required": True}})
    row = {name: value for name, value in ROW.items() if name != "area"}
    assert len(artefact.predictor.predict({**row, "area": None})) == 1
    with pytest.raises(RowError, match="missing: expected a whole number or null"):
        artefact.predictor.predict(row)


def test_config_comes_before_the_schema_file(tmp_path):
    schema = infer_schema(table().cast(pl.String), "y", overrides={"price": ColumnOverride(**COLUMNS["price"])})
    (tmp_path / "schema.yml").write_text(to_yaml(schema))
    columns = {
        "x": {"nullable": True},
        "rooms": {"range": [0, None], "unit": "1"},
        "city": {"replace": {"Lom": "Oslo"}},
        "area": {"na_values": ["none"], "on_missing": "impute"},
    }
    read = trained(tmp_path, table(), file="schema.yml", columns=columns).schema.by_name
    assert read["x"].nullable
    assert read["x"].training_range == schema.by_name["x"].training_range
    assert (read["rooms"].range, read["rooms"].unit) == ((0, None), "1")
    assert set(read["city"].categories) == {"Oslo", "Bergen"}
    assert (read["area"].na_values, read["area"].nullable, read["area"].on_missing) == (("none",), True, "impute")
    assert read["price"] == schema.by_name["price"]


def test_kind_in_the_config_comes_before_that_of_the_schema_file(tmp_path):
    schema = infer_schema(table().cast(pl.String), "y")
    assert schema.by_name["price"].kind not in ("number", "integer")
    (tmp_path / "schema.yml").write_text(to_yaml(schema))
    read = trained(tmp_path, table(), file="schema.yml", columns={"price": {"strip": ["$"], "thousands": ","}}).schema
    assert read.by_name["price"].kind == "integer"
    assert read.by_name["price"].training_range is not None


def test_column_that_neither_table_nor_schema_file_has_is_named(tmp_path):
    (tmp_path / "schema.yml").write_text(to_yaml(infer_schema(table().cast(pl.String), "y")))
    with pytest.raises(EstimatorError, match="no column 'aera'"):
        trained(tmp_path, table(), file="schema.yml", columns={"aera": {"nullable": True}})


def test_schema_file_keeps_what_is_said_of_missing_columns():
    column = Column("x", "number", on_missing="impute", required=True, default=2.5)
    schema = Schema((column,), Column("y", "number"))
    assert from_data(to_data(schema), source="schema.yml") == schema
    assert "on_missing" not in to_data(Schema((Column("x", "number"),), Column("y", "number")))["columns"]["x"]


def test_openapi_says_what_may_be_left_out(imputing):
    document = Client(gateway(imputing))("GET", "/openapi.json").json()
    content = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = content["schema"]["oneOf"][0]["items"]
    assert row["required"] == ["rooms"]
    assert row["properties"]["x"]["type"] == ["number", "null"]
    assert "null is imputed; may be left out" in row["properties"]["x"]["description"]
    assert "then '$1,000'" in row["properties"]["price"]["description"]


def test_training_table_must_have_every_column(tmp_path):
    schema = infer_schema(table().cast(pl.String), "y")
    (tmp_path / "schema.yml").write_text(to_yaml(schema))
    with pytest.raises(RowError, match="column 'area': missing: expected a whole number or null"):
        trained(tmp_path, table().drop("area"), file="schema.yml")


def test_retraining_keeps_what_is_said_of_missing_values(imputing, tmp_path):
    from estimator.verbs.monitor import MonitoredModel

    new = (
        table().drop("area").with_columns(x=pl.when(pl.int_range(pl.len()) % 10 == 3).then(None).otherwise(pl.col("x")))
    )
    new.write_csv(tmp_path / "new.csv")
    context = verbs.Context(["retraining.candidates=[refit,new_only]"], store_path=str(imputing.folder.parent.parent))
    model = MonitoredModel("small", folder=imputing.folder.parent.parent.parent)
    decision = verbs.retrain.retrain(model, context, data=str(tmp_path / "new.csv"))
    for candidate in decision.candidates:
        assert candidate.error is None
        schema = context.version(f"small/{candidate.version}").schema
        assert schema.by_name["x"].imputes
        assert schema.by_name["price"].default == "$1,000"


def test_accepted_edits_count_although_init_wrote_a_schema_file(tmp_path, run):
    """What explore proposes is written into the config, next to a schema file of the table as it was."""
    table().write_csv(tmp_path / "t.csv")
    conf, page = tmp_path / "config.yml", tmp_path / "page.html"
    assert run("init", tmp_path / "t.csv", "--target", "y", "--conf", conf)[0] == 0
    assert "on_missing: impute" in conf.read_text()
    _, data, _ = run("explore", "--conf", conf, "--page", page, "--json")
    numbers = [finding["number"] for finding in data["findings"] if "price" in json.dumps(finding["edit"])]
    assert numbers
    run("explore", "--conf", conf, "--page", page, "--accept", ",".join(map(str, numbers)), "--json")
    _, data, _ = run("explore", "--conf", conf, "--page", page, "--json")
    (price,) = [column for column in data["profile"]["columns"] if column["name"] == "price"]
    assert price["kind"] in ("number", "integer")
    assert not [finding for finding in data["findings"] if "price" in json.dumps(finding["edit"])]
