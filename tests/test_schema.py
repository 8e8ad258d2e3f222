"""The contract: what a column is told to be, and what is accepted afterwards."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.data.schema import Column, Schema
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.file import from_data, to_data, to_yaml
from estimator.data.schema.frames import read_frame, read_series
from estimator.data.schema.inference import ColumnOverride, infer_column, infer_schema
from estimator.errors import RowError, SchemaError
from tests.conftest import read_example


def column(*values: object, name: str = "x", **reviewed: object) -> Column:
    return infer_column(pl.Series(name, values), ColumnOverride(**reviewed))  # type: ignore[arg-type] # shorthand


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
def test_a_kind_is_told_from_all_values(values, kind):
    assert column(*values).kind == kind


def test_a_row_number_is_an_identifier():
    assert column(*map(str, range(1, 40))).kind == "identifier"


def test_one_late_word_makes_a_category():
    assert column(*["1"] * 500, "two").kind == "category"


@pytest.mark.parametrize("gap", ["NA", "N/A", "", "null", "-", "?", "nan"])
def test_a_spelled_gap_does_not_change_the_kind(gap):
    found = column("1", gap, "3", "4")
    assert found.kind == "integer"
    assert gap in ("", *found.na_values)


def test_none_is_a_gap_among_numbers_and_a_level_among_words():
    assert column("1", "None", "3").kind == "integer"
    assert "None" in column("brick", "None", "stone", "None").categories


def test_integers_with_gaps_keep_their_value():
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
def test_the_examples_are_told_right(name, kinds):
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
LIMITED = Column("x", "number", range=(0.0, 5.0))
GAPPY = Column("x", "number", nullable=True, na_values=("NA",))
GAPPY_WORDS = Column("x", "category", nullable=True, na_values=("NA",), categories={"a": 1})


@pytest.mark.parametrize(
    ("contract", "value", "read"),
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
        (LIMITED, 5.0, 5.0),
    ],
)
def test_a_good_value_is_read(contract, value, read):
    assert read_cell(contract, value) == read


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
    (MONEY, "1,23,456"),
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
    (LIMITED, 5.1),
    (LIMITED, -1),
]


@pytest.mark.parametrize(("contract", "value"), BAD)
def test_a_bad_value_is_refused_with_the_wish(contract, value):
    with pytest.raises(CellError, match=r"expected .* got"):
        read_cell(contract, value)


@pytest.mark.parametrize(
    ("contract", "value", "read"),
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
def test_a_value_is_read_as_it_is_written(contract, value, read):
    assert read_cell(contract, value) == read


@pytest.mark.parametrize("gap", [None, math.nan, "", "NA", "  "])
def test_a_gap_is_read_where_it_is_allowed(gap):
    assert math.isnan(read_cell(GAPPY, gap))


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
    st.sampled_from([NUMBER, INTEGER, BOOLEAN, CATEGORY, STRICT, DATE, LIMITED, GAPPY, *WRITTEN]),
)
def test_a_file_and_a_request_get_the_same_verdict(cells, contract):
    values, faults = read_series(contract, pl.Series("x", cells, dtype=pl.String))
    told = {fault.row - 1: fault.message for fault in faults}
    for place, cell in enumerate(cells):
        try:
            expected = read_cell(contract, cell)
        except CellError as error:
            assert told[place] == str(error)
            continue
        assert place not in told
        found = values[place, 0]
        assert found == expected or (found != found and expected != expected)


@pytest.mark.parametrize(
    "numbers",
    [[1.0, 98178.0, -0.0, 2.5, None], [1e15, 2.0**53, 2.0**53 + 2, 1e17, 1.5e300], [1e-3, 1e-4, 9.9e-5, -1e-7, 0.1]],
)
def test_a_number_is_the_same_level_in_a_file_and_a_request(numbers):
    values, faults = read_series(GAPPY_WORDS, pl.Series("x", numbers, dtype=pl.Float64))
    assert not faults
    assert values[:, 0].tolist() == [read_cell(GAPPY_WORDS, number) for number in numbers]


def two_columns() -> Schema:
    return Schema(
        (NUMBER, Column("colour", "category", categories={"red": 1}, aliases=("color",))), Column("y", "number")
    )


def test_a_row_check_names_row_column_and_value():
    with pytest.raises(RowError) as caught:
        two_columns().read_rows([{"x": 1, "colour": "red"}, {"x": "ten", "colour": "red"}])
    assert str(caught.value) == "row 2, column 'x': expected a number, got 'ten'; training range 0 to 10"


def test_unknown_and_missing_columns_are_matched_up():
    with pytest.raises(RowError) as caught:
        two_columns().read_rows([{"x": 1, "colur": "red"}])
    texts = [str(fault) for fault in caught.value.faults]
    assert any("did you mean it by 'colur'?" in text for text in texts)
    assert any("did you mean 'colour'?" in text for text in texts)


def test_an_alias_and_the_target_are_accepted():
    batch = two_columns().read_rows([{"x": 1, "color": "red", "y": "anything"}])
    assert batch.feed["colour"][0, 0] == "red"


def test_unknown_columns_can_be_ignored():
    schema = Schema(two_columns().columns, Column("y", "number"), "ignore")
    assert schema.read_rows([{"x": 1, "colour": "red", "more": 1}]).n_rows == 1


def test_faulty_rows_can_be_left_out():
    frame = pl.DataFrame({"x": ["1", "two", "3"], "colour": ["red", "red", "red"]})
    batch = read_frame(two_columns(), frame, first_row=11, drop_faulty=True)
    assert batch.n_rows == 2
    assert batch.faults[0].row == 12


def test_a_schema_survives_its_file():
    schema = infer_schema(read_example("credit"), "Status")
    assert from_data(to_data(schema), place="file") == schema


def test_a_schema_file_is_read_as_it_was_written(tmp_path):
    from estimator.config.document import read_document

    schema = infer_schema(read_example("ames"), "Sale_Price")
    path = tmp_path / "schema.yml"
    path.write_text(to_yaml(schema), encoding="utf-8")
    assert from_data(read_document(path).values, place="file") == schema


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "numbr"}, "did you mean 'number'?"),
        ({"knd": "number"}, "unknown key 'knd'"),
        ({"unknown": "never"}, "unknown: expected"),
    ],
)
def test_a_wrong_schema_file_is_explained(change, expected):
    data = to_data(two_columns())
    data["columns"]["x"] |= change
    with pytest.raises(SchemaError) as caught:
        from_data(data, place="schema.yml")
    assert expected in f"{caught.value.message} {caught.value.hint}"


def test_a_reviewed_kind_that_cannot_hold_is_refused():
    with pytest.raises(SchemaError, match="does not fit 1 of its values"):
        column("1", "two", kind="number")


def test_what_is_meant_is_the_same_whatever_type_a_column_has():
    words = pl.Series("x", ["98178", "98178-1", None])
    for series in (words, words.cast(pl.Categorical)):
        assert read_series(replace(ZIP, nullable=True), series)[0][:, 0].tolist() == ["98178", "98178", ""]
    assert read_series(ZIP, pl.Series("x", [98178, 98178]))[0][:, 0].tolist() == ["98178", "98178"]
    assert read_series(ZIP, pl.Series("x", [98178.0]))[0][:, 0].tolist() == ["98178"]


def test_ways_of_writing_survive_the_schema_file():
    columns = tuple(replace(column, name=f"c{place}") for place, column in enumerate(WRITTEN))
    schema = Schema(columns, Column("y", "number"))
    assert from_data(to_data(schema), place="f") == schema


@pytest.mark.parametrize(
    ("key", "value"), [("pattern", "("), ("units", [1]), ("na_values", "NA"), ("replace", "x"), ("pattern", 5)]
)
def test_a_way_of_writing_that_cannot_be_read_is_refused(key, value):
    content = {"target": "y", "columns": {"x": {"kind": "number", key: value}, "y": {"kind": "number"}}}
    with pytest.raises(SchemaError, match=f"column 'x': {key}:"):
        from_data(content, place="f")
