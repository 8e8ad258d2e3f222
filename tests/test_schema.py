"""The schema: the kind that is inferred for a column, and the values that are accepted afterwards."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.config.document import read_document
from estimator.data.schema import Column, Schema
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.file import from_data, to_data, to_yaml
from estimator.data.schema.frames import read_frame, read_series
from estimator.data.schema.inference import infer_column, infer_schema
from estimator.errors import RowError, SchemaError
from tests.conftest import read_example


def column(*values: object, name: str = "x", **override: object) -> Column:
    return infer_column(pl.Series(name, values), ColumnOverride(**override))  # type: ignore[arg-type] # shorthand


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1.5", "2", "3e2"), "number"),
        (("1", "2", "2"), "integer"),
        (("1.0", "2.0", "3.0"), "integer"),
        (("00501", "02134", "10001"), "category"),
        (("yes", "no", "no"), "boolean"),
        (("True", "False", "True"), "boolean"),
        (("red", "blue", "red"), "category"),
        (("2024-01-31", "2024-02-28", "2023-12-01"), "date"),
        (("31.01.2024", "28.02.2024", "01.12.2023"), "date"),
        (("2022-09", "2021-11", "2019-06"), "date"),
        (("1234-05", "1234-06", "4711-12"), "category"),
        (("2024-01-31 10:00:00", "2024-02-28 11:30:00"), "datetime"),
        (("2024-01-31T10:00:00+01:00", "2024-02-28T11:30:00+01:00"), "datetime"),
        (("a", "a", "a"), "constant"),
        ((None, None, None), "constant"),
        (("NA", "?", ""), "constant"),
    ],
)
def test_kind_is_inferred_from_all_values(values, kind):
    assert column(*values).kind == kind


def test_row_number_is_an_identifier():
    assert column(*map(str, range(1, 40))).kind == "identifier"


def test_one_late_word_makes_a_category():
    assert column(*["1"] * 500, "two").kind == "category"


@pytest.mark.parametrize("spelling", ["NA", "N/A", "", "null", "-", "?", "nan"])
def test_spelled_missing_value_keeps_the_kind(spelling):
    inferred = column("1", spelling, "3", "4")
    assert (inferred.kind, inferred.nullable) == ("integer", True)
    assert spelling in ("", *inferred.na_values)


@pytest.mark.parametrize(
    ("override", "values", "nullable", "na_values"),
    [
        ({}, ("1", "2", "4"), False, ()),
        ({}, ("1", "", "4"), True, ()),
        ({"nullable": True}, ("1", "2", "4"), True, ()),
        ({"na_values": ["999"]}, ("1", "2", "4"), True, ("999",)),
        ({"na_values": ["999"], "nullable": False}, ("1", "2", "4"), False, ("999",)),
        ({"na_values": []}, ("1", "2", "4"), False, ()),
    ],
)
def test_override_decides_on_missing_values(override, values, nullable, na_values):
    inferred = column(*values, **override)
    assert (inferred.nullable, inferred.na_values) == (nullable, na_values)


def test_none_is_missing_in_numbers_and_a_category_in_words():
    assert column("1", "None", "3").kind == "integer"
    assert "None" in column("brick", "None", "stone", "None").categories


def test_integers_next_to_missing_values_are_exact():
    large = 2**53 - 1
    values, faults = read_series(column(str(large), "", "3"), pl.Series("x", [str(large), "", "3"]))
    assert not faults
    assert int(values[0, 0]) == large
    assert math.isnan(values[1, 0])


def test_integers_too_large_for_a_double_are_identifiers():
    assert column(2**53 + 1, 2**53 + 3).kind == "identifier"


def test_leading_zeros_reach_the_graph():
    codes = column("00501", "02134", "00501")
    assert read_cell(codes, "00501") == "00501"


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("boston", {"integer": 3, "number": 10}),
        ("penguins", {"number": 2, "integer": 3, "category": 2}),
        ("credit", {"integer": 9, "category": 3, "boolean": 1}),
    ],
)
def test_examples_are_inferred_right(name, kinds):
    target = {"boston": "MEDV", "penguins": "species", "credit": "Status"}[name]
    schema = infer_schema(read_example(name), target)
    counts = {kind: sum(item.kind == kind for item in schema.columns) for kind in kinds}
    assert counts == kinds


NUMBER = Column("x", "number", training_range=(0.0, 10.0))
INTEGER = Column("x", "integer", training_range=(0.0, 10.0))
BOOLEAN = Column("x", "boolean", training_range=(0.0, 1.0))
CATEGORY = Column("x", "category", categories={"a": 1, "b": 2})
STRICT = Column("x", "category", categories={"a": 1, "b": 2}, unknown="error")
DATE = Column("x", "date", date_formats=("%Y-%m-%d",), example="2024-01-31", training_range=(0.0, 86400.0))
BOUNDED = Column("x", "number", range=(0.0, 5.0))
NULLABLE = Column("x", "number", nullable=True, na_values=("NA",))
NULLABLE_CATEGORY = Column("x", "category", nullable=True, na_values=("NA",), categories={"a": 1})


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (NUMBER, 3, 3.0),
        (NUMBER, "3.5", 3.5),
        (NUMBER, " 3.5 ", 3.5),
        (INTEGER, 3.0, 3.0),
        (INTEGER, "3", 3.0),
        (BOOLEAN, True, 1.0),
        (BOOLEAN, "No", 0.0),
        (BOOLEAN, 0, 0.0),
        (CATEGORY, "a", "a"),
        (CATEGORY, "new", "new"),
        (CATEGORY, 7, "7"),
        (CATEGORY, 7.0, "7"),
        (DATE, "1970-01-02", 86400.0),
        (DATE, "1970-01-02T00:00:00Z", 86400.0),
        (BOUNDED, 5.0, 5.0),
    ],
)
def test_good_value_is_read(schema, value, expected):
    assert read_cell(schema, value) == expected


MONEY = Column("x", "number", strip=("$", "USD"), thousands=",", training_range=(0.0, 10.0))
EURO = Column("x", "number", strip=("€",), thousands=".", decimal=",", training_range=(0.0, 10.0))

AREA = Column("x", "number", True, ("NA",), strip=("sq ft",), units={"m2": 10.0}, thousands=",", replace={"two": "2"})
RATED = Column("x", "category", True, ("NA",), ignore_case=True, replace={"goood": "good", "a": "b", "b": "c"})
ZIP = Column("x", "category", pattern=r"^(\d{5})(?:-\d+|\.0)?$", unknown="error", categories={"98178": 1})
DAYS = Column("x", "date", date_formats=("%Y-%m-%d", "%m/%d/%Y", "%d-%b-%y"), example="2014-09-02")
WRITTEN = (MONEY, EURO, AREA, RATED, ZIP, DAYS)

BAD = [
    (AREA, "5 m3"),
    (AREA, "three"),
    (ZIP, "98179-1234"),
    (DAYS, "21/09/2014"),
    (MONEY, "12,5"),
    (MONEY, "1,23,4567"),
    (MONEY, "£5"),
    (MONEY, "$"),
    (EURO, "1,234.5"),
    (NUMBER, "$5"),
    (NUMBER, "many"),
    (NUMBER, math.inf),
    (NUMBER, "inf"),
    (NUMBER, None),
    (NUMBER, math.nan),
    (NUMBER, True),
    (NUMBER, [1]),
    (NUMBER, "1_000"),
    (NUMBER, "٣"),
    (NUMBER, 10**400),
    (INTEGER, 3.5),
    (INTEGER, 2**60),
    (BOOLEAN, "maybe"),
    (CATEGORY, None),
    (CATEGORY, {"a": 1}),
    (CATEGORY, "a\x00b"),
    (STRICT, "c"),
    (DATE, "yesterday"),
    (DATE, 20240131),
    (BOUNDED, 5.1),
    (BOUNDED, -1),
]


@pytest.mark.parametrize(("schema", "value"), BAD)
def test_bad_value_is_rejected_with_the_expectation(schema, value):
    with pytest.raises(CellError, match=r"expected .* got"):
        read_cell(schema, value)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (MONEY, "$1,234.50", 1234.5),
        (MONEY, "USD 1,234,567", 1234567.0),
        (MONEY, "-7", -7.0),
        (MONEY, 12.5, 12.5),
        (EURO, "1.234,5 €", 1234.5),
        (EURO, "12,5", 12.5),
        (AREA, "1,200 sq ft", 1200.0),
        (AREA, "120.5 m2", 1205.0),
        (AREA, "1\u00a0234", 1234.0),
        (AREA, "two", 2.0),
        (RATED, "  GOOOD ", "good"),
        (RATED, "a", "b"),
        (ZIP, "98178-1234", "98178"),
        (ZIP, 98178.0, "98178"),
        (DAYS, "09/21/2014", 1411257600.0),
        (DAYS, "21-Sep-14", 1411257600.0),
    ],
)
def test_written_value_is_normalized(schema, value, expected):
    assert read_cell(schema, value) == expected


@pytest.mark.parametrize("value", [None, math.nan, "", "NA", "  "])
def test_missing_value_is_read_in_a_nullable_column(value):
    assert math.isnan(read_cell(NULLABLE, value))


def test_missing_value_is_rejected_in_a_column_that_is_not_nullable():
    with pytest.raises(CellError, match=r"got a missing value \('NA'\); the column is not nullable"):
        read_cell(replace(NULLABLE, nullable=False), "NA")


CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "nan", "inf", "-0", "1e5", "1e400", "+3", " 7 ", "0x1f", "1_0", ".5", "5.", "true", "a"]
    ),
    st.sampled_from(["\x1f", " NA\x1c", "\x857", "\u20037", "\x1ea"]),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.dates().map(str),
    st.sampled_from(["5 m2", "1,200 sq ft", "two", "GOOOD ", "A", "b", "98178-12", "98178.0"]),
    st.sampled_from(["09/21/2014", "21-Sep-14"]),
    st.sampled_from(["$1,234.5", "12,5", "1.234,5 €", "5 €", "$ 7", "1,234", "1.234"]),
    st.text(max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(CELLS, min_size=1, max_size=8),
    st.sampled_from([NUMBER, INTEGER, BOOLEAN, CATEGORY, STRICT, DATE, BOUNDED, NULLABLE, *WRITTEN]),
)
def test_file_and_request_get_the_same_verdict(cells, schema):
    values, faults = read_series(schema, pl.Series("x", cells, dtype=pl.String))
    messages = {fault.row - 1: fault.message for fault in faults}
    for index, cell in enumerate(cells):
        try:
            expected = read_cell(schema, cell)
        except CellError as error:
            assert messages[index] == str(error)
            continue
        assert index not in messages
        value = values[index, 0]
        assert value == expected or (value != value and expected != expected)


@pytest.mark.parametrize(
    "numbers",
    [[1.0, 98178.0, -0.0, 2.5, None], [1e15, 2.0**53, 2.0**53 + 2, 1e17, 1.5e300], [1e-3, 1e-4, 9.9e-5, -1e-7, 0.1]],
)
def test_number_is_the_same_category_in_file_and_request(numbers):
    values, faults = read_series(NULLABLE_CATEGORY, pl.Series("x", numbers, dtype=pl.Float64))
    assert not faults
    assert values[:, 0].tolist() == [read_cell(NULLABLE_CATEGORY, number) for number in numbers]


def two_columns() -> Schema:
    return Schema(
        (NUMBER, Column("colour", "category", categories={"red": 1}, aliases=("color",))), Column("y", "number")
    )


def test_row_error_names_row_column_and_value():
    with pytest.raises(RowError) as caught:
        two_columns().read_rows([{"x": 1, "colour": "red"}, {"x": "ten", "colour": "red"}])
    assert str(caught.value) == "row 2, column 'x': expected a number, got 'ten'; training range 0 to 10"


def test_unknown_and_missing_columns_are_matched_up():
    with pytest.raises(RowError) as caught:
        two_columns().read_rows([{"x": 1, "colur": "red"}])
    texts = [str(fault) for fault in caught.value.faults]
    assert any("did you mean it by 'colur'?" in text for text in texts)
    assert any("did you mean 'colour'?" in text for text in texts)


def test_alias_and_target_are_accepted():
    batch = two_columns().read_rows([{"x": 1, "color": "red", "y": "anything"}])
    assert batch.feed["colour"][0, 0] == "red"


def test_unknown_columns_can_be_ignored():
    schema = Schema(two_columns().columns, Column("y", "number"), "ignore")
    assert schema.read_rows([{"x": 1, "colour": "red", "more": 1}]).n_rows == 1


def test_faulty_rows_can_be_dropped():
    frame = pl.DataFrame({"x": ["1", "two", "3"], "colour": ["red", "red", "red"]})
    batch = read_frame(two_columns(), frame, first_row=11, drop_faulty=True)
    assert batch.n_rows == 2
    assert batch.faults[0].row == 12


def test_schema_round_trips_as_data():
    schema = infer_schema(read_example("credit"), "Status")
    assert from_data(to_data(schema), source="file") == schema


def test_schema_round_trips_as_yaml(tmp_path):
    schema = infer_schema(read_example("ames"), "Sale_Price")
    path = tmp_path / "schema.yml"
    path.write_text(to_yaml(schema), encoding="utf-8")
    assert from_data(read_document(path).values, source="file") == schema


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "numbr"}, "did you mean 'number'?"),
        ({"knd": "number"}, "unknown key 'knd'"),
        ({"unknown": "never"}, "unknown: expected other, missing, error"),
        ({"nullable": "yes"}, "nullable: expected true or false"),
    ],
)
def test_wrong_schema_file_is_explained(change, expected):
    data = to_data(two_columns())
    data["columns"]["x"] |= change
    with pytest.raises(SchemaError) as caught:
        from_data(data, source="schema.yml")
    assert expected in f"{caught.value.message} {caught.value.hint}"


def test_kind_that_does_not_fit_is_rejected():
    with pytest.raises(SchemaError, match="does not fit 1 of its values"):
        column("1", "two", kind="number")


def test_normalization_ignores_the_type_of_the_column():
    texts = pl.Series("x", ["98178", "98178-1", None])
    for series in (texts, texts.cast(pl.Categorical)):
        assert read_series(replace(ZIP, nullable=True), series)[0][:, 0].tolist() == ["98178", "98178", ""]
    assert read_series(ZIP, pl.Series("x", [98178, 98178]))[0][:, 0].tolist() == ["98178", "98178"]
    assert read_series(ZIP, pl.Series("x", [98178.0]))[0][:, 0].tolist() == ["98178"]


def test_normalization_round_trips_as_data():
    columns = tuple(replace(column, name=f"c{index}") for index, column in enumerate(WRITTEN))
    schema = Schema(columns, Column("y", "number"))
    assert from_data(to_data(schema), source="f") == schema


@pytest.mark.parametrize(
    ("key", "value"), [("pattern", "("), ("units", [1]), ("na_values", "NA"), ("replace", "x"), ("pattern", 5)]
)
def test_malformed_schema_value_is_rejected(key, value):
    content = {"target": "y", "columns": {"x": {"kind": "number", key: value}, "y": {"kind": "number"}}}
    with pytest.raises(SchemaError, match=f"column 'x': {key}:"):
        from_data(content, source="f")
