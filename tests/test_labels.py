"""Labels are read as training read the target: over HTTP, in files and from the log; what is no value is refused."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator import verbs
from estimator.config import Data
from estimator.data.labels import TargetReader
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.cells import CellError
from estimator.data.schema.inference import infer_column
from estimator.data.target import read_labels, read_target
from estimator.errors import RowError
from estimator.monitoring.new_rows import labeled_records
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import Label, PredictionRecord, open_log
from estimator.serving.telemetry.recorder import RequestRecorder
from estimator.store.artefact import Artefact
from estimator.verbs.monitor import MonitoredModel
from tests.clients import Client, gateway

# Targets as tables hold them: a name, the cells, and what a person has set.
TARGETS = {
    "booleans": (["True", "False"], {}),
    "yes and no": (["Yes", "No"], {}),
    "codes": (["0", "1"], {}),
    "words": (["low", "high", "other one"], {}),
    "grades": (["1", "2", "3"], {"kind": "category"}),
    "any case": (["Oslo", "BERGEN"], {"ignore_case": True}),
    "replaced": (["y", "n", "J"], {"replace": {"J": "y"}}),
    "one spelled missing": (["red", "blue", "none"], {"na_values": ["none"]}),
    "prices": (["1,250", "$3,000.50", "7"], {"strip": ["$"], "thousands": ","}),
    "decimals": (["1,5", "2,25", "3"], {"decimal": ","}),
}


def reader_of(name: str) -> tuple[TargetReader, pl.Series, np.ndarray]:
    """Return the reader of a target, its column, and the labels that training reads in it."""
    cells, override = TARGETS[name]
    series = pl.Series("y", cells * 4)
    column = infer_column(series, ColumnOverride(**override))
    labels = read_target(column, series, Data(path="t.csv", target="y"))
    return TargetReader(column, labels.task), series, labels.values


@pytest.mark.parametrize("name", TARGETS)
def test_labels_are_read_as_training_reads_them(name):
    reader, series, expected = reader_of(name)
    labels, faults = read_labels(reader, series)
    assert faults == []
    np.testing.assert_array_equal(labels, expected)
    for cell, label in zip(series.to_list(), expected.tolist(), strict=True):
        if np.isnan(label):
            with pytest.raises(CellError, match="got a missing value"):
                reader.read(cell)
        else:
            assert reader.read(cell) == label


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("booleans", True, "True"), ("booleans", False, "False"), ("booleans", "true", "True"),
        ("booleans", "TRUE", "True"), ("booleans", 1, "True"), ("booleans", 0.0, "False"), ("booleans", "y", "True"),
        ("yes and no", True, "Yes"), ("yes and no", "no", "No"), ("yes and no", "0", "No"),
        ("codes", 1, "1"), ("codes", 1.0, "1"), ("codes", "1.0", "1"), ("codes", True, "1"), ("codes", "false", "0"),
        ("grades", 2, "2"), ("grades", 2.0, "2"), ("words", "high", "high"), ("any case", " oslo ", "oslo"),
        ("replaced", "J", "y"), ("replaced", True, "y"), ("prices", 1250, 1250.0), ("prices", "$ 1,250", 1250.0),
        ("prices", "1250", 1250.0), ("decimals", "1,5", 1.5), ("decimals", 1.5, 1.5),
    ],
)  # fmt: skip
def test_label_in_another_spelling_is_the_same_value(name, value, label):
    assert reader_of(name)[0].label(value) == label


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("booleans", "maybe", "expected one of the classes 'False', 'True', got 'maybe'"),
        ("booleans", 2, "expected one of the classes 'False', 'True', got 2"),
        ("words", "hihg", "got 'hihg'; did you mean 'high'?"),
        ("words", True, "got True"),
        ("words", 1, "got 1"),
        ("codes", 0.5, "got 0.5"),
        ("grades", 4, "expected one of the classes '1', '2', '3', got 4"),
        ("prices", "abc", "expected a number, got 'abc'"),
        ("prices", True, "expected a number, got True"),
        ("prices", "12,5", "expected a number, got '12,5'"),
        ("prices", [1], "expected a number, got [1]"),
        ("words", {"a": 1}, "got {'a': 1}"),
        ("prices", 10**400, "expected a number"),
        ("prices", float("inf"), "expected a number, got inf"),
        ("one spelled missing", "none", "got a missing value ('none')"),
        ("prices", None, "got a missing value (None)"),
        ("words", "", "got a missing value ('')"),
    ],
)
def test_what_is_no_value_of_the_target_is_named(name, value, message):
    with pytest.raises(CellError) as caught:
        reader_of(name)[0].read(value)
    assert message in str(caught.value)


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 5), st.floats(allow_nan=False), st.text(max_size=5),
    st.sampled_from(["true", "False", " yes", "1,250", "1.0", "none", "$7", "low", "BERGEN", "J", "1,5", "1e3"]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(TARGETS)), st.lists(st.text(max_size=4) | st.sampled_from(["yes", "1", "1.0", "7"])))
def test_columns_and_single_labels_are_read_alike(name, cells):
    reader = reader_of(name)[0]
    labels, faults = read_labels(reader, pl.Series("y", cells, dtype=pl.String))
    messages = {fault.row - 1: fault.message for fault in faults}
    for index, cell in enumerate(cells):
        try:
            expected = reader.read(cell)
        except CellError as error:
            is_missing = "a missing value" in str(error)
            assert np.isnan(labels[index])
            assert messages.get(index) == (None if is_missing else str(error))
        else:
            assert labels[index] == expected


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(TARGETS)), JSON_VALUES)
def test_a_stored_label_is_read_back(name, value):
    reader = reader_of(name)[0]
    try:
        label = reader.label(value)
    except CellError:
        return
    assert reader.read(label) == reader.read(value)


ROWS = [{"x": index % 10 + (5.0 if index % 2 else 0.0)} for index in range(120)]
SEND = "/v1/labels"


def trained(folder: Path, name: str, labels: list[str]) -> Artefact:
    """Train a small version of a model that predicts a column of its own name."""
    pl.DataFrame([{**row, name: label} for row, label in zip(ROWS, labels, strict=True)]).write_csv(folder / "t.csv")
    config = {"name": name, "data": {"path": "t.csv", "target": name}, "model": {"kind": "linear"}}
    quick = {"validation": {"folds": 0}, "evaluation": {"importance_repeats": 0, "bootstrap_samples": 100}}
    (folder / "config.json").write_text(json.dumps({**config, **quick}))
    context = verbs.Context(store_path=str(folder / "models"))
    return verbs.train.train(folder / "config.json", context).artefact


@pytest.fixture(scope="module")
def sold(tmp_path_factory) -> Artefact:
    """A version that predicts a boolean."""
    return trained(tmp_path_factory.mktemp("sold"), "sold", [str(row["x"] > 6) for row in ROWS])


@pytest.fixture(scope="module")
def price(tmp_path_factory) -> Artefact:
    """A version that predicts a number."""
    return trained(tmp_path_factory.mktemp("price"), "price", [str(2.3 * row["x"]) for row in ROWS])


@pytest.fixture
def served(sold, tmp_path):
    """A client of a server with ten logged predictions, r0 to r9, the recorder, and the log."""
    log = open_log("log.db", tmp_path, {})
    created = datetime.fromisoformat(sold.manifest["created"]).timestamp()
    log.write(
        [
            PredictionRecord(
                f"r{index}", created + 10 + index, "sold", sold.version, ROWS[index],
                {"prediction": "True", "probabilities": {"False": 0.1, "True": 0.9}, "out_of_range": []},
            )
            for index in range(10)
        ]
    )  # fmt: skip
    recorder = RequestRecorder(connect_log=lambda: open_log("log.db", tmp_path, {}))
    yield Client(gateway(sold, recorder=recorder)), recorder, log
    recorder.close()
    log.close()


def test_label_is_stored_as_the_class_it_means(served):
    client, recorder, log = served
    sent = [{"id": f"r{index}", "label": label} for index, label in enumerate([True, "true", 1, "no"])]
    assert client.post(SEND, sent).json() == {"received": 4, "matched": 4, "replaced": 0}
    assert [log.find(f"r{index}").label for index in range(4)] == ["True", "True", "True", "False"]
    assert recorder.metrics.counters["labels_total"]["accepted",] == 4


def test_body_with_one_wrong_label_stores_none(served):
    client, recorder, log = served
    response = client.post(
        SEND, [{"id": "r0", "label": True}, {"id": "r1", "label": "maybe"}, {"id": "r2", "label": 7}]
    )
    assert response.status_code == 422
    first, second = response.json()["detail"]
    assert first["loc"] == ["body", 1, "label"]
    assert first["msg"] == "row 2, column 'label': expected one of the classes 'False', 'True', got 'maybe'"
    assert (second["row"], second["value"]) == (3, 7)
    assert log.find("r0").label is None
    assert recorder.metrics.counters["labels_total"]["rejected",] == 2


def test_changed_label_is_counted_as_replaced(served):
    client, recorder, log = served
    client.post(SEND, [{"id": "r0", "label": True}, {"id": "r1", "label": True}])
    again = client.post(SEND, [{"id": "r0", "label": "true"}, {"id": "r1", "label": False}])
    assert again.json() == {"received": 2, "matched": 2, "replaced": 1}
    assert (log.find("r0").label, log.find("r1").label) == ("True", "False")
    assert recorder.metrics.counters["labels_total"]["replaced",] == 1
    assert 'estimator_labels_total{result="replaced"} 1' in client("GET", "/metrics").text


def test_wrong_label_does_not_replace_a_right_one(served):
    client, _, log = served
    client.post(SEND, [{"id": "r0", "label": True}])
    assert client.post(SEND, [{"id": "r0", "label": "abc"}]).status_code == 422
    assert log.find("r0").label == "True"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"id": "r0", "label": 1}', 'expected a list of {"id": ..., "label": ...}, got an object'),
        (b"[]", "expected at least one label"),
        (b"", "the body is empty"),
        (b'[{"id": "r0", "truth": 1}]', "missing: expected id and label, got 'id', 'truth'"),
        (b'[{"id": "r0", "label": 1, "at": 5}]', "unknown key: expected id and label"),
        (b'[{"label": 1}]', "missing: expected id and label"),
        (b'[{"id": 7, "label": 1}]', "expected the id of a prediction, got 7"),
        (b'[["r0", 1]]', 'expected {"id": ..., "label": ...}, got [\'r0\', 1]'),
        (b'[{"id": "r0", "label": null}]', "got a missing value (None)"),
        (b'[{"id": "r0", "label": NaN}]', "got nan, which JSON does not allow"),
        (b'[{"id": "r0", "label": 1e400}]', "got inf, which JSON does not allow"),
        (b'[{"id": "r0", "label": [true]}]', "expected one of the classes 'False', 'True', got [True]"),
        (b'[{"id": "r0", "label": 1, "label": 0}]', "given twice"),
        (b'[{"id": "r0", "label": 1}, {"id": "r0", "label": 0}]', "this id has another label in row 1"),
        (b'[{"id": "r\\ud800", "label": 1}]', "a lone surrogate"),
        (b'[{"id": "r\\u0000", "label": 1}]', "expected the id of a prediction"),
        (b'[{"id": "r0", "label": 1' + b"0" * 400 + b"}]", "expected one of the classes"),
        (b'[{"id": "r0", "label": 1' + b"0" * 5000 + b"}]", "the body is not JSON"),
    ],
)
def test_labels_in_another_form_are_named(served, body, message):
    client, _, log = served
    response = client.post(SEND, body)
    assert response.status_code == 422
    assert any(message in detail["msg"] for detail in response.json()["detail"]), response.text
    assert log.count() == (10, 0)


def test_same_label_twice_in_a_body_counts_once(served):
    client, _, _ = served
    body = [{"id": "r0", "label": True}] * 2
    assert client.post(SEND, body).json() == {"received": 1, "matched": 1, "replaced": 0}


def test_label_before_its_prediction_is_read_by_the_only_model(served):
    client, _, log = served
    assert client.post(SEND, [{"id": "later-0", "label": "yes"}]).json()["matched"] == 0
    assert client.post(SEND, [{"id": "later-1", "label": "perhaps"}]).status_code == 422
    assert log.count() == (10, 1)


def test_label_that_follows_its_prediction_at_once_is_matched(served):
    client, _, log = served
    response = client.post("/v1/predict", ROWS[:1]).json()
    body = [{"id": row["id"], "label": True} for row in response["predictions"]]
    assert client.post(SEND, body).json() == {"received": 1, "matched": 1, "replaced": 0}
    assert log.find(body[0]["id"]).label == "True"


def test_label_of_one_of_two_models_is_read_by_its_target(sold, price, tmp_path):
    log = open_log("log.db", tmp_path, {})
    log.write([PredictionRecord(name, 1.0, name, "v", {}, {"prediction": 1}) for name in ("sold", "price", "other")])
    recorder = RequestRecorder(connect_log=lambda: open_log("log.db", tmp_path, {}))
    client = Client(gateway(sold, price, recorder=recorder))
    response = client.post(SEND, [{"id": "sold", "label": True}, {"id": "price", "label": "21.5"}])
    assert response.status_code == 200, response.text
    assert (log.find("sold").label, log.find("price").label) == ("True", 21.5)
    for name, label in (("sold", 21.5), ("price", "yes"), ("other", 1), ("not logged yet", "perhaps")):
        assert client.post(SEND, [{"id": name, "label": label}]).status_code == 422, name
    assert client.post(SEND, [{"id": "not logged yet", "label": 21.5}]).status_code == 200
    recorder.close()
    log.close()


def test_unreadable_labels_of_an_old_log_are_set_aside_and_named(served, sold, tmp_path):
    _, _, log = served
    labels = ["true", 1, "maybe", 1e9, "False"]
    log.add_labels([Label(f"r{index}", label) for index, label in enumerate(labels)], 2e9)
    model = MonitoredModel("sold", str(tmp_path / "log.db"))
    context = verbs.Context(store_path=str(sold.folder.parent.parent))
    performance = verbs.monitor.monitor(model, context, since=None, until=3e9).performance
    assert (performance.n_labels, performance.n_unreadable) == (3, 2)
    assert performance.loss is not None
    assert performance.warnings[0].startswith("2 labels are set aside, as no value of the target: prediction r2: ")
    notes = []
    frame = labeled_records(sold, log, note=notes.append)
    assert frame["sold"].to_list() == ["True", "True", "False"]
    assert notes == [performance.warnings[0]]
    reader = RecordReader(sold, drift_reference(sold))
    records = list(log.read("sold"))
    assert reader.labels(records)[:5].tolist() == pytest.approx([1.0, 1.0, np.nan, np.nan, 0.0], nan_ok=True)


def test_evaluate_reads_labels_in_any_spelling_and_refuses_others(sold, tmp_path):
    rows = [{**row, "sold": "yes" if row["x"] > 6 else "0"} for row in ROWS[:40]]
    pl.DataFrame([*rows, {"x": 1.0, "sold": None}]).write_csv(tmp_path / "new.csv")
    context = verbs.Context()
    evaluation = verbs.evaluate.evaluate(sold, str(tmp_path / "new.csv"), context=context)
    assert evaluation.rows == 40
    assert evaluation.metrics["accuracy"].value > 0.9
    assert any("rows without a value in 'sold' are left out: 1" in note for note in context.notes.to_data())
    pl.DataFrame([*rows, {"x": 1.0, "sold": "maybe"}]).write_csv(tmp_path / "wrong.csv")
    with pytest.raises(
        RowError, match="row 41, column 'sold': expected one of the classes 'False', 'True', got 'maybe'"
    ):
        verbs.evaluate.evaluate(sold, str(tmp_path / "wrong.csv"))


def test_retrain_reads_the_labels_of_a_file(sold, tmp_path):
    model = MonitoredModel("sold", folder=sold.folder.parent.parent.parent)
    context = verbs.Context(["retraining.candidates=[refit]"], store_path=str(sold.folder.parent.parent))
    rows = [{**row, "sold": "yes" if row["x"] > 6 else "no"} for row in ROWS]
    pl.DataFrame(rows).write_csv(tmp_path / "new.csv")
    (candidate,) = verbs.retrain.retrain(model, context, data=str(tmp_path / "new.csv")).candidates
    assert candidate.error is None
    assert context.version(f"sold/{candidate.version}").predictor.task.classes == ("False", "True")
    pl.DataFrame([*rows, {"x": 1.0, "sold": "maybe"}]).write_csv(tmp_path / "new.csv")
    with pytest.raises(RowError, match="row 121, column 'sold'"):
        verbs.retrain.retrain(model, context, data=str(tmp_path / "new.csv"))
