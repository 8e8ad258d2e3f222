"""Tables in Python: what pandas, numpy and Python have for a value is read as a file's cell is."""

from __future__ import annotations

import enum
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from estimator.data.schema import Column
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.dtypes import nested_noun, plain_series
from estimator.data.tables import as_frame
from estimator.errors import SchemaError


class City(str, enum.Enum):  # noqa: UP042 # as in Python 3.10, and usual with FastAPI
    OSLO = "Oslo"


@pytest.mark.parametrize("missing", [pd.NaT, pd.NA, None, np.datetime64("NaT")])
def test_a_missing_value_of_pandas_is_missing_in_a_row(missing):
    assert np.isnan(read_cell(Column("d", "date", nullable=True), missing))
    assert read_cell(Column("c", "category", nullable=True), missing) == ""
    with pytest.raises(CellError, match="got a missing value"):
        read_cell(Column("d", "date"), missing)


def test_a_member_of_an_enumeration_of_texts_is_its_text():
    cell = read_cell(Column("city", "category"), City.OSLO)
    assert (cell, type(cell)) == ("Oslo", str)
    assert as_frame([{"city": City.OSLO}])["city"].to_list() == ["Oslo"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([np.int64(3), 2.5], [3.0, 2.5]),
        ([np.int8(1), 300], [1, 300]),
        ([np.bool_(True), 2.5, 7], [1.0, 2.5, 7.0]),
        ([1.0, 2.5, "A", None], ["1", "2.5", "A", None]),
        ([True, "A"], ["true", "A"]),
        ([pd.NA, 1], [None, 1]),
    ],
)
def test_the_first_value_of_a_column_does_not_decide_its_type(values, expected):
    assert as_frame([{"x": value} for value in values])["x"].to_list() == expected
    assert as_frame(pd.DataFrame({"x": pd.Series(values, dtype=object)}))["x"].to_list() == expected


@pytest.mark.parametrize("unit", ["D", "h", "s", "ms", "us", "ns"])
def test_times_of_every_unit_are_read(unit):
    days = np.arange("2020-01-01", "2020-01-04", dtype="datetime64[D]").astype(f"datetime64[{unit}]")
    frame = as_frame(pd.DataFrame({"t": days, "d": days - days[0]}))
    assert frame["t"].dt.day().to_list() == [1, 2, 3]
    assert plain_series(frame["d"]).to_list() == [0.0, 86400.0, 172800.0]


def test_names_that_are_equal_as_texts_are_refused():
    with pytest.raises(SchemaError, match="columns of the same name"):
        as_frame(pd.DataFrame({1: [1.0], "1": [2.0]}))


def test_whole_decimals_are_whole_numbers():
    ids = [Decimal(2**60 + index) for index in range(3)]
    assert plain_series(pl.Series(ids, dtype=pl.Decimal(38, 0))).to_list() == [2**60, 2**60 + 1, 2**60 + 2]
    too_large = plain_series(pl.Series([Decimal(10**30), None], dtype=pl.Decimal(38, 0)))
    assert too_large.to_list() == [str(10**30), None]
    assert plain_series(pl.Series([Decimal("1.5")])).to_list() == [1.5]


def test_nested_types_have_a_noun():
    for dtype in (pl.List(pl.Int64), pl.Struct({"a": pl.Int64}), pl.Array(pl.Int64, 2), pl.Binary()):
        assert nested_noun(dtype) is not None
