"""Columns as people have them: what is no plain number, date or class is read right or named, never lost unsaid."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estimator.config import read_config
from estimator.config.document import read_document
from estimator.data.schema import NA_VALUES, Column
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.column import NA_WORDS
from estimator.data.schema.file import from_data, to_yaml
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import infer_column, infer_schema
from estimator.data.schema.points import point_notes
from estimator.data.tables import as_frame
from estimator.errors import EstimatorError, TrainingError
from estimator.exploration.scaffold import make_scaffold
from estimator.training.prepare import PreparedData, prepare
from estimator.verbs.context import SHELVES, Context
from estimator.verbs.explore import TableReference, explore
from estimator.verbs.train import train

N = 80
X = [f"{0.37 * row + 0.11:.2f}" for row in range(N)]
Y = [f"{0.74 * row:.2f}" for row in range(N)]


def with_cells(**cells: str) -> list[str]:
    """Numbers, with other texts in some rows: `with_cells(r41="oops")`."""
    return [cells.get(f"r{row}", text) for row, text in enumerate(X, start=1)]


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., PreparedData]:
    """Prepare a table for training, with a target unless it has one."""

    def read(columns: dict[str, Any] | pl.DataFrame, **sections: Any) -> PreparedData:
        frame = columns if isinstance(columns, pl.DataFrame) else pl.DataFrame(columns)
        frame = frame if "y" in frame.columns else frame.with_columns(y=pl.Series(Y[: frame.height]))
        data = {"path": "t.csv", "target": "y", **sections.pop("data", {})}
        path = tmp_path / "c.json"
        path.write_text(json.dumps({"data": data, **sections}))
        return prepare(frame, read_config(path, SHELVES))

    return read


def notes_on(prepared: PreparedData, *words: str) -> list[str]:
    return [note for note in prepared.notes if all(word in note for word in words)]


# ------------------------------------------------------------------------------------------------ missing values


def test_every_spelling_that_pandas_knows_is_known() -> None:
    known = pytest.importorskip("pandas._libs.parsers").STR_NA_VALUES
    assert known - {""} <= {*NA_VALUES, *NA_WORDS}


@pytest.mark.parametrize("spelling", [*NA_VALUES, *NA_WORDS])
def test_a_known_spelling_is_missing_among_numbers_and_dates(spelling):
    numbers = infer_column(pl.Series("x", with_cells(r41=spelling)))
    assert (numbers.kind, numbers.nullable, numbers.na_values) == ("number", True, (spelling,))
    days = [f"2024-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(N)]
    dates = infer_column(pl.Series("x", [*days, spelling]))
    assert (dates.kind, dates.na_values) == ("date", (spelling,))


def test_a_known_spelling_is_noted_with_its_rows(table):
    prepared = table({"x": with_cells(r41="#DIV/0!", r7="#DIV/0!")})
    assert notes_on(prepared, "x:", "'#DIV/0!'", "missing value in 2 rows (rows 7, 41)")
    assert np.isnan(prepared.rows.batch.feed["x"][:, 0]).sum() == 2


def test_a_spelling_in_many_columns_is_one_note(table):
    prepared = table({f"c{index}": with_cells(r3="NA", r9="NA") for index in range(30)})
    assert notes_on(prepared, "'NA'") == [
        "c0, c1, c2, c3, c4 and 25 more: 'NA' is read as a missing value in 60 cells of 30 columns"
    ]


@pytest.mark.parametrize(
    "column", [Column("x", "number", True, ("-999", "inf")), Column("x", "integer", True, ("-999", "inf"))]
)
def test_a_number_that_is_listed_is_missing_in_every_type(column):
    for value in (-999, -999.0, "-999", "-999.0", np.float64(-999), math.inf, "inf", "Infinity"):
        assert math.isnan(read_cell(column, value)), value
    for series in (pl.Series("x", [-999, 1]), pl.Series("x", [-999.0, 1.0]), pl.Series("x", ["-999.00", "1"])):
        values, faults = read_series(column, series)
        assert not faults
        assert np.isnan(values[:, 0]).tolist() == [True, False]


def test_a_listed_code_and_date_is_missing_in_a_typed_column():
    codes = Column("x", "category", True, ("9",), categories={"1": 1})
    assert read_series(codes, pl.Series("x", [9, 1]))[0][:, 0].tolist() == ["", "1"]
    assert read_cell(codes, 9.0) == ""
    days = Column("x", "date", True, ("1900-01-01",))
    series = pl.Series("x", ["1900-01-01", "2024-01-01"]).str.to_date()
    assert np.isnan(read_series(days, series)[0][:, 0]).tolist() == [True, False]


# ------------------------------------------------------------------------------------------------ words among numbers


@pytest.mark.parametrize(
    "word", ["oops", "1,2", "5 km", "3.5.1", "<0.1", "(5)", "1/2", "O.5", "eur", "\x0032.4", "tbd"]
)
def test_a_word_among_numbers_leaves_numbers_and_a_question(table, word):
    prepared = table({"x": with_cells(r41=word)})
    column = prepared.schema.by_name["x"]
    assert (column.kind, column.na_values) == ("number", (word,))
    assert notes_on(prepared, "x: 79 of 80 values are numbers, but row 41 holds", "schema.columns.x.na_values: [")


@pytest.mark.parametrize("rows", [(1,), (61,), (3, 40, 77)])
def test_a_word_among_dates_leaves_dates_and_a_question(table, rows):
    days = [f"2024-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(N)]
    prepared = table({"x": ["tbd" if row in rows else day for row, day in enumerate(days, start=1)], "z": X})
    column = prepared.schema.by_name["x"]
    assert (column.kind, column.na_values, column.date_formats) == ("date", ("tbd",), ("%Y-%m-%d",))
    assert notes_on(prepared, f"x: {N - len(rows)} of 80 values are dates, but row")


def test_words_that_come_late_do_not_change_the_result():
    texts = [f"{row}.5" for row in range(70_000)] + ["oops"]
    column = infer_column(pl.Series("x", texts))
    assert (column.kind, column.na_values) == ("number", ("oops",))
    batches = [pl.DataFrame({"x": texts[start : start + 1000], "y": ["1"] * 1000}) for start in range(0, 70_000, 1000)]
    last = pl.DataFrame({"x": ["oops"], "y": ["2"]})
    assert infer_schema(lambda: [*batches, last], "y").by_name["x"] == column


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "oops", "3"], "category"),
        ([*X[:70], *["oops"] * 10], "category"),
        ([*X[:77], "V57", "E90", "V12"], "identifier"),
        ([*"01" * 30, "many"], "category"),
        ([str(row % 40) for row in range(95)] + ["12A", "14B"], "category"),
    ],
)
def test_codes_and_many_words_are_no_numbers(values, kind):
    assert infer_column(pl.Series("x", values)).kind == kind


def test_numbers_that_are_read_as_words_are_noted(table):
    prepared = table({"x": [*X[:77], "V57", "E90", "V12"], "z": X})
    assert notes_on(prepared, "x: 96.2% of the values are numbers, but row 78 is 'V57'", "not used as identifier")


@pytest.mark.parametrize("form", ["${}", "{}%", "{} kg", "'{}'", "1,{}"])
def test_amounts_as_text_are_noted(table, form):
    prepared = table({"x": [form.format(text.zfill(6)) for text in X], "z": X})
    assert notes_on(prepared, "x: the values are numbers as text, such as", "schema.columns.x.kind: number")
    assert notes_on(table({"x": [f"{37 * row:,}.5" for row in range(N)], "z": X}), "x: the values are numbers as text")
    assert not notes_on(table({"x": [f"{row}{'ABC'[row % 3]}" for row in range(N)], "z": X}), "numbers as text")


def test_a_list_without_spellings_keeps_words(table):
    prepared = table({"x": with_cells(r41="NA"), "z": X}, schema={"columns": {"x": {"na_values": []}}})
    assert prepared.schema.by_name["x"].kind == "identifier"
    assert notes_on(prepared, "x:", "row 41 is 'NA'")


@pytest.mark.parametrize("values", [with_cells(r41="inf"), with_cells(r41="1e999"), [*map(float, X[:79]), -math.inf]])
def test_infinities_stop_training_until_they_are_decided(table, values):
    with pytest.raises(EstimatorError, match="column 'x': 79 of 80 values are finite numbers, but row") as caught:
        table({"x": values})
    assert "schema.columns.x.na_values: [" in str(caught.value.hint)
    listed = "1e999" if "1e999" in values else "inf" if "inf" in values else "-inf"
    prepared = table({"x": values}, schema={"columns": {"x": {"na_values": [listed]}}})
    assert np.isnan(prepared.rows.batch.feed["x"]).sum() == 1


def test_two_words_are_never_one_boolean(table):
    prepared = table({"x": ["yes", "1", "no", "0"] * 20, "z": X})
    column = prepared.schema.by_name["x"]
    assert (column.kind, sorted(column.categories)) == ("category", ["0", "1", "no", "yes"])
    assert notes_on(prepared, "x: '1' and 'yes' may mean the same", "schema.columns.x.kind: boolean")
    assert infer_column(pl.Series("x", ["t", "true", "f"] * 9)).kind == "category"
    assert infer_column(pl.Series("x", ["Yes", "YES", "no", "No"] * 9)).kind == "boolean"
    assert infer_column(pl.Series("x", ["yes", "no", "1", "0"] * 9), ColumnOverride(kind="boolean")).kind == "boolean"


def test_explore_asks_about_words_among_numbers(run, tmp_path):
    words = [with_cells(r41="oops"), with_cells(r41="1,234.5", r42="12")]
    target = [row * 37 % 11 for row in range(N)]
    pl.DataFrame({"x": words[0], "a": words[1], "y": target}).write_csv(tmp_path / "t.csv")
    (tmp_path / "c.yml").write_text("data: {path: t.csv, target: y}\n")
    arguments = ("explore", "--conf", tmp_path / "c.yml", "--page", tmp_path / "p.html", "--json")
    rules = ("words among numbers", "number as text")
    findings = [item for item in run(*arguments)[1]["findings"] if item["rule"] in rules]
    assert [item["edit"] for item in findings] == [
        {"schema.columns.x.na_values": ["oops"]},
        {"schema.columns.a.kind": "number", "schema.columns.a.thousands": ","},
    ]
    numbers = ",".join(str(item["number"]) for item in findings)
    assert run(*arguments, "--accept", numbers)[0] == 0
    assert not [item for item in run(*arguments)[1]["findings"] if item["rule"] in rules]


# ------------------------------------------------------------------------------------------------ large numbers

LARGE = [2**53, 2**63 - 1, -(2**63), 1_700_000_000_000_000_000]


@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("as_type", [int, str])
def test_large_whole_numbers_are_named_or_categories(table, value, as_type):
    step = -1 if value > 0 else 1
    unique = table({"x": [as_type(value + step * (1000 * row + 7919 * row % 997)) for row in range(N)], "z": X})
    assert unique.schema.by_name["x"].kind == "identifier"
    assert notes_on(unique, "x: not used, whole numbers of 2^53 and more", "schema.columns.NAME.kind")
    codes = table({"x": [as_type(value + step * (row % 3)) for row in range(N)], "z": X})
    assert (codes.schema.by_name["x"].kind, len(codes.schema.by_name["x"].categories)) == ("category", 3)
    assert notes_on(codes, "x: whole numbers of 2^53 and more", "kind: number")


def test_measured_numbers_of_any_size_are_numbers():
    assert infer_column(pl.Series("x", [6.02e23, 3e22, 1e18, 2e19])).kind == "number"
    assert infer_column(pl.Series("x", ["6.02e23", "3e22", "1e18"])).kind == "number"


def test_a_large_target_is_a_number(table):
    prepared = table({"x": X, "y": [str(10**18 + row * 10**15) for row in range(N)]})
    assert prepared.task.is_regression


# ------------------------------------------------------------------------------------------------ the target


@pytest.mark.parametrize("spelling", ["NA", "-", "null", "?", "."])
def test_a_thinned_target_is_noted_with_the_way_out(table, spelling):
    labels = ["EU", "SA", spelling, "EU"] * 20
    prepared = table({"x": X, "y": labels})
    assert notes_on(
        prepared, f"the target 'y': 20 of 80 rows have no label and are not used: {spelling!r} in rows 3, 7"
    )
    assert notes_on(prepared, "schema.columns.y.na_values: []")
    kept = table({"x": X, "y": labels}, schema={"columns": {"y": {"na_values": []}}})
    assert sorted(kept.task.classes) == sorted({"EU", "SA", spelling})
    assert not notes_on(kept, "no label")


def test_a_class_spelled_as_missing_is_named_where_nothing_is_left(table):
    with pytest.raises(EstimatorError, match="the same value in all 40 rows that have one") as caught:
        table({"x": X, "y": ["+", "-"] * 40})
    assert "'-' in rows 2, 4, 6" in str(caught.value.hint)
    assert "schema.columns.y.na_values: []" in str(caught.value.hint)


@pytest.mark.parametrize(("word", "noun"), [("inf", "finite numbers"), ("eur", "numbers"), ("1,2", "numbers")])
def test_a_word_in_a_target_of_numbers_is_named(table, word, noun):
    labels = [word if row == 7 else text for row, text in enumerate(Y)]
    with pytest.raises(EstimatorError, match=f"the target 'y': 79 of 80 values are {noun}, but row 8 holds '{word}'"):
        table({"x": X, "y": labels})
    answered = table({"x": X, "y": labels}, schema={"columns": {"y": {"na_values": [word]}}})
    assert answered.n_unlabeled == 1
    assert answered.task.is_regression
    classes = [str(row % 5) if row != 7 else word for row in range(N)]
    assert word in table({"x": X, "y": classes}, data={"task": "classification"}).task.classes


def test_init_takes_the_only_other_class_as_a_class(tmp_path):
    frame = pl.DataFrame({"x": X, "y": ["+", "-"] * 40})
    scaffold = make_scaffold(frame, data_of(tmp_path), name="t", schema_file="schema.yml")
    assert scaffold.task.classes == ("+", "-")
    assert any("'-' in rows 2, 4, 6, 8, 10 and 35 more is taken as a class" in note for note in scaffold.notes)


def test_a_target_of_lists_is_rejected(table):
    with pytest.raises(EstimatorError, match="the target 'y' holds lists, which no model predicts"):
        table({"x": X, "y": [[1]] * N})


def test_infinite_labels_of_a_typed_column_are_named(table):
    with pytest.raises(
        EstimatorError, match="the target 'y': 79 of 80 values are finite numbers, but row 1 holds 'inf'"
    ):
        table(pl.DataFrame({"x": X, "y": [math.inf, *map(float, Y[1:])]}))


def test_amounts_in_a_target_are_named_with_their_rows(table):
    with pytest.raises(EstimatorError, match=r"holds numbers as text: row 1 holds '\$0\.00'"):
        table({"x": X, "y": [f"${text}" for text in Y]})


# ------------------------------------------------------------------------------------------------ kinds of files

DURATIONS = [timedelta(seconds=90 * row, microseconds=5) for row in range(N)]
NESTED: dict[str, tuple[Sequence[Any], Any, str]] = {
    "lists": ([[row] for row in range(N)], pl.List(pl.Int64), "lists"),
    "arrays": ([[row, 1] for row in range(N)], pl.Array(pl.Int64, 2), "arrays"),
    "structs": ([{"a": row} for row in range(N)], pl.Struct({"a": pl.Int64}), "structs"),
    "bytes": ([b"\xff\xfe"] * N, pl.Binary, "bytes"),
}


def test_durations_times_of_day_and_decimals_are_numbers(table):
    frame = pl.DataFrame(
        {
            "d": DURATIONS,
            "t": [time(row // 60, row % 60, 7) for row in range(N)],
            "m": [Decimal(row).scaleb(-2) for row in range(N)],
            "x": X,
        }
    )
    prepared = table(frame)
    feed = prepared.rows.batch.feed
    assert feed["d"][:, 0].tolist() == [value.total_seconds() for value in DURATIONS]
    assert feed["t"][61, 0] == 3600 + 60 + 7
    assert feed["m"][7, 0] == 0.07
    assert notes_on(prepared, "d: durations are read as numbers of seconds")
    assert notes_on(prepared, "t: times of day are read as numbers of seconds since midnight")
    assert notes_on(prepared, "m: decimals are read as numbers")
    rows = prepared.schema.read_rows(frame.to_dicts())
    assert all(np.array_equal(rows.feed[name], feed[name]) for name in ("d", "t", "m"))


@pytest.mark.parametrize("case", NESTED)
def test_a_kind_that_no_model_takes_is_named_and_can_be_dropped(table, case, tmp_path):
    values, dtype, noun = NESTED[case]
    frame = pl.DataFrame({"x": X, "d": pl.Series(values, dtype=dtype)})
    with pytest.raises(EstimatorError, match=f"column 'd' holds {noun}") as caught:
        table(frame)
    assert 'data.drop: ["d"]' in str(caught.value.hint)
    prepared = table(frame, data={"drop": ["d"]})
    assert [column.name for column in prepared.schema.features] == ["x"]
    assert notes_on(prepared, "d: not used, left out by data.drop")
    scaffold = make_scaffold(frame.with_columns(y=pl.Series(Y)), data_of(tmp_path), name="t", schema_file="schema.yml")
    assert 'drop: ["d"]' in scaffold.config


def test_a_dropped_column_may_be_anything(table):
    choices = {"schema": {"columns": {"d": {"kind": "number", "range": [0, 1]}}}, "data": {"drop": ["d"]}}
    assert [column.name for column in table({"x": X, "d": ["a", "b"] * 40}, **choices).schema.features] == ["x"]


def test_dictionaries_enums_and_null_columns_are_read(table):
    texts = ["red", "blue"] * 40
    frame = pl.DataFrame(
        {
            "c": pl.Series(texts, dtype=pl.Categorical),
            "e": pl.Series(texts, dtype=pl.Enum(["red", "blue"])),
            "n": pl.Series([None] * N, dtype=pl.Null),
        }
    )
    prepared = table(frame)
    assert [prepared.schema.by_name[name].kind for name in "cen"] == ["category", "category", "constant"]
    assert notes_on(prepared, "n: not used, missing in every row")


def test_what_is_not_used_is_noted_with_its_reason(table):
    columns = {"x": X, "k": ["a"] * N, "n": [""] * N, "id": [f"u{row}" for row in range(N)], "w": ["1"] * N, "d": X}
    prepared = table(columns, data={"drop": ["d"], "sample_weight": "w"})
    assert notes_on(prepared, "k: not used, the same value in every row")
    assert notes_on(prepared, "n: not used, missing in every row")
    assert notes_on(prepared, "id: not used, an identifier", "schema.columns.NAME.kind")
    assert notes_on(prepared, "d: not used, left out by data.drop")
    assert notes_on(prepared, "w: not used, holds the weights")


def test_frames_of_pandas_keep_their_values(table):
    pandas = pytest.importorskip("pandas")
    objects = {
        "zoned": pandas.to_datetime(["2024-01-01 10:00", None] * 40).tz_localize("Europe/Oslo"),
        "flag": pandas.array([True, None] * 40, dtype="boolean"),
        "whole": pandas.array([2**53 - 1, None] * 40, dtype="Int64"),
        "wait": pandas.to_timedelta([1.5, None] * 40, unit="s"),
        "mixed": pandas.Series([1, "a"] * 40, dtype=object),
        "arrays": pandas.Series([np.array([1]), None] * 40, dtype=object),
        "months": pandas.period_range("2024-01", periods=80, freq="M"),
    }
    frame = as_frame(pandas.DataFrame({"x": X, **objects}))
    assert (frame["flag"][0], frame["whole"][0], frame["mixed"].to_list()[:2]) == (True, 2**53 - 1, ["1", "a"])
    with pytest.raises(EstimatorError, match="column 'arrays' holds objects, column 'months' holds objects"):
        table(frame)
    feed = table(frame, data={"drop": ["arrays", "months"]}).rows.batch.feed
    # Oslo is an hour ahead of UTC in winter.
    assert feed["zoned"][0, 0] == datetime(2024, 1, 1, 9, tzinfo=UTC).timestamp()
    assert feed["wait"][0, 0] == 1.5


def test_rows_that_are_no_dicts_are_named():
    with pytest.raises(EstimatorError, match="row 2: expected a dict"):
        as_frame([{"x": 1}, 5])


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("value", ["-1", "", "inf", "nan", "heavy"])
def test_a_wrong_weight_is_named_by_its_row(table, value):
    weights = [value if row == 3 else "1" for row in range(N)]
    with pytest.raises(EstimatorError, match="column 'w' must hold a number of at least 0 in every row: row 4 holds"):
        table({"x": X, "w": weights}, data={"sample_weight": "w"})


def test_rows_without_a_label_count_in_the_row_of_a_weight(table):
    labels = ["", *Y[1:]]
    with pytest.raises(EstimatorError, match="row 4 holds '-2'"):
        table({"x": X, "y": labels, "w": ["1", "1", "1", "-2", *["1"] * 76]}, data={"sample_weight": "w"})


def test_weights_of_zero_are_noted(table):
    with pytest.raises(EstimatorError, match="all weights are 0"):
        table({"x": X, "w": ["0"] * N}, data={"sample_weight": "w"})
    prepared = table({"x": X, "w": ["0", *["1"] * 79]}, data={"sample_weight": "w"})
    assert notes_on(prepared, "w: the weight is 0 in row 1")


# ------------------------------------------------------------------------------------------------ the file


def data_of(folder: Path) -> Any:
    (folder / "d.json").write_text('{"data": {"path": "t.csv", "target": "y"}}')
    return read_config(folder / "d.json", SHELVES).data


def test_many_categories_stand_apart_and_lines_are_short(tmp_path):
    titles = [f"Manager_{row % 400}" for row in range(2000)]
    schema = infer_schema(pl.DataFrame({"job": titles, "y": [str(row % 7) for row in range(2000)]}), "y")
    text = to_yaml(schema)
    assert max(map(len, text.splitlines())) <= 120
    assert text.index("\ncategories:\n") > text.index('"y":')
    (tmp_path / "schema.yml").write_text(text, encoding="utf-8")
    assert from_data(read_document(tmp_path / "schema.yml").values, source="s") == schema


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=3).map(lambda text: text * 700),
    st.sampled_from(
        ["null", "yes", "1", "1e5", "~", "<<", "- a", "? b", "a: b", "#c", "'", '"', "\\", "{x}", "%y", "no "]
    ),
)


@given(
    names=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    words=st.lists(NAMES, min_size=2, max_size=60, unique=True),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_init_writes_train_reads(names, words, tmp_path):
    rows = range(2 * len(words))
    frame = pl.DataFrame(
        {name: [words[(row * (index + 1)) % len(words)] for row in rows] for index, name in enumerate(names)}
    )
    target = names[0]
    frame = frame.with_columns(pl.Series(target, [str(row % 2) + "!" for row in rows]))
    path = tmp_path / "config.yml"
    data = data_of(tmp_path).model_copy(update={"target": target})
    scaffold = make_scaffold(frame, data, name="1000000", schema_file="schema.yml")
    path.write_text(scaffold.config, encoding="utf-8")
    (tmp_path / "schema.yml").write_text(scaffold.schema, encoding="utf-8")
    config = Context().config(path)
    assert (config.name, config.data.target) == ("1000000", target)
    schema = from_data(read_document(tmp_path / "schema.yml").values, source="schema.yml")
    assert schema == infer_schema(frame, target)


# ------------------------------------------------------------------------------------------------ near misses


@pytest.mark.parametrize("text", ["500.5", "1.20", "1200.5"])
def test_a_point_that_separates_thousands_is_no_decimal(text):
    column = Column("x", "number", decimal=",", thousands=".")
    assert read_cell(column, "1.134,5") == 1134.5
    with pytest.raises(CellError, match="expected a number"):
        read_cell(column, text)


def test_many_words_among_numbers_are_a_note(table):
    words = {f"r{row}": "tbd" for row in range(1, 13)}
    notes = table({"x": with_cells(**words), "z": X}).notes
    assert any("85.0% of the values are numbers, but row 1 is 'tbd'" in note for note in notes)


def test_classes_that_differ_by_case_are_a_note(table):
    (note,) = notes_on(table({"x": X, "y": ["Yes", "yes ", "No", " no"] * 20}), "differ only by case or blanks")
    assert "'Yes' and 'yes '" in note
    assert "schema.columns.y.ignore_case: true" in note


@pytest.mark.parametrize("form", ["{} €", "{}-", "({})", "\u2212{}", "~{}", "CHF 1'{}"])
def test_amounts_are_no_classes(table, form):
    with pytest.raises(TrainingError, match="holds numbers as text"):
        table({"x": X, "y": [form.format(f"{500 + row}.37") for row in range(N)]})


# ------------------------------------------------------------------------------------------------ points in numbers

GERMAN = [f"{900 + 11 * row:,}".replace(",", ".") for row in range(N)]


def with_x(**keys: str) -> dict[str, Any]:
    return {"columns": {"x": keys}}


def test_points_that_may_separate_thousands_are_a_question(table):
    question = r"'x': 70 numbers such as '1\.010' .* all others are whole numbers below 1,000"
    with pytest.raises(EstimatorError, match=question) as raised:
        table({"x": GERMAN, "z": X})
    assert 'schema.columns.x.thousands: "." and schema.columns.x.decimal: ","' in str(raised.value.hint)
    thousands = table({"x": GERMAN, "z": X}, schema=with_x(thousands=".", decimal=",")).schema.by_name["x"]
    decimals = table({"x": GERMAN, "z": X}, schema=with_x(kind="number")).schema.by_name["x"]
    assert (thousands.training_range, decimals.training_range) == ((900.0, 1769.0), (1.01, 999.0))


def test_three_digits_behind_a_decimal_comma_are_a_question(table):
    numbers, schema = [f"{row + 1},5" for row in range(N)], with_x(decimal=",")
    with pytest.raises(EstimatorError, match=r"1 number such as '1\.000' .* the decimal sign is a comma"):
        table({"x": ["1.000", *numbers[1:]], "z": X}, schema=schema)
    assert table({"x": ["1.25", "1.000", *numbers[2:]], "z": X}, schema=schema).schema.by_name["x"].kind == "number"


@pytest.mark.parametrize("text", ["0.125", "1.25", "1250", "1e3"])
def test_one_number_may_say_that_points_are_decimal_points(table, text):
    assert table({"x": [text, *GERMAN[1:]], "z": X}).schema.by_name["x"].training_range[1] < 2000


def test_a_reviewed_schema_with_thousands_read_as_decimals_is_a_note():
    frame = pl.DataFrame({"x": GERMAN, "y": [str(row) for row in range(N)]})
    schema = infer_schema(frame, "y")
    (note,) = point_notes(schema, frame)
    assert "does the point separate thousands, or is 1.010 less than 1,000?" in note
    assert not point_notes(schema, frame.with_columns(x=pl.lit("1.5")))


def test_explore_proposes_thousands(tmp_path):
    pl.DataFrame({"x": GERMAN, "y": [row * 1.5 for row in range(N)]}).write_csv(tmp_path / "t.csv")
    explored = explore(TableReference(str(tmp_path / "t.csv"), "y"), Context(), page=tmp_path / "p.html")
    (finding,) = [item for item in explored.findings if item.rule == "points in numbers"]
    assert finding.edit == {"schema.columns.x.thousands": ".", "schema.columns.x.decimal": ","}


def test_one_word_in_two_unicode_forms_is_a_note_whose_edit_joins_both(table):
    towns = ["Z\u00fcrich", "Zu\u0308rich", "Bern", "Basel"] * 20
    (note,) = notes_on(table({"town": towns, "z": X}), "two Unicode forms")
    assert r"'Zu\u0308rich' and 'Z\xfcrich', which differ" in note
    edit = {"columns": {"town": {"replace": {"Zu\u0308rich": "Z\u00fcrich"}}}}
    prepared = table({"town": towns, "z": X}, schema=edit)
    assert prepared.schema.by_name["town"].categories == {"Basel": 20, "Bern": 20, "Z\u00fcrich": 40}
    assert not notes_on(prepared, "two Unicode forms")


def test_one_point_among_many_whole_numbers_is_a_question(table):
    numbers = [str(100 + row) for row in range(N - 1)]
    with pytest.raises(EstimatorError, match=r"1 number such as '1\.348'"):
        table({"x": [*numbers, "1.348"], "z": X})


def test_spellings_of_a_boolean_in_a_target_are_a_note(table):
    (note,) = notes_on(table({"x": X, "y": ["True", "1", "0", "False"] * 20}), "may mean the same")
    assert "the target 'y': the classes '1' and 'true' may mean the same" in note


def test_numbers_with_a_decimal_comma_and_thousands_train(tmp_path):
    rows = [
        {"preis": f"{100 + 37.35 * row:,.2f}".translate(str.maketrans(",.", ".,")), "y": row * 1.5} for row in range(N)
    ]
    columns = {"columns": {"preis": {"thousands": ".", "decimal": ","}}}
    config = {"name": "m", "data": {"target": "y"}, "schema": columns, "model": {"kind": "linear"}}
    config["validation"] = {"folds": 0}
    version = train(config, Context(store_path=str(tmp_path)), data=pl.DataFrame(rows)).artefact
    assert version.predictor.predict([{"preis": "1.220,50"}])[0] == pytest.approx(45.0, rel=0.05)


@pytest.mark.parametrize(
    "form", ["{},000+", "{} km/h", "23.{} kmpl", "{},5\u4e07", "=\"{}\"", "\u200b{},5"],
)  # fmt: skip
def test_numbers_with_marks_around_them_are_a_note(table, form):
    texts = [form.format(100 + row) for row in range(N)]
    assert notes_on(table({"x": texts, "z": X}), "x: the values are numbers as text"), texts[0]


def test_versions_that_are_one_number_are_a_note(table):
    (note,) = notes_on(table({"x": ["3.1", "3.9", "3.10", "3.11"] * 20, "z": X}), "are read as one number")
    assert note.startswith("x: '3.1' and '3.10'")
    for fixed in (["2.50", "2.75", "3.00", "3.25"], ["5", "5.0", "10", "1.5"]):
        assert not notes_on(table({"x": fixed * 20, "z": X}), "are read as one number")


def test_many_infinities_stop_training_as_one_does(table):
    with pytest.raises(EstimatorError, match="64 of 80 values are finite numbers"):
        table({"x": ["1", "2.5", "3", "4", "inf"] * 16, "z": X})
