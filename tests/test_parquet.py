"""Parquet files of one table that were written with different types."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from estimator.data.sources.opener import open_source
from estimator.errors import SourceError


def months(tmp_path, first: dict, second: dict):
    for name, columns in (("a", first), ("b", second)):
        pl.DataFrame(columns).write_parquet(tmp_path / f"{name}.parquet")
    with open_source(str(tmp_path / "*.parquet")) as source:
        return source.frame(), source.notes()


def test_parquet_files_whose_types_differ_are_read_as_one_type(tmp_path):
    """Integers become floats in a month with missing values, and have no type in one without any value."""
    first = {
        "n": [1, 2],
        "gone": pl.Series([None, None], dtype=pl.Null),
        "at": [datetime(1600, 1, 1)] * 2,
        "level": pl.Series(["low", "high"], dtype=pl.Categorical),
    }
    second = {
        "n": [1.5, None],
        "gone": ["x", None],
        "at": pl.Series([datetime(2020, 1, 2)] * 2).dt.cast_time_unit("ns"),
        "level": ["high", "none"],
    }
    frame, notes = months(tmp_path, first, second)
    assert frame["n"].to_list() == [1.0, 2.0, 1.5, None]
    assert frame["gone"].to_list() == [None, None, "x", None]
    assert frame["at"].dt.year().to_list() == [1600, 1600, 2020, 2020]
    assert frame["level"].to_list() == ["low", "high", "high", "none"]
    assert any("'n' is Int64 in" in note and "Float64 in" in note and "read as Float64" in note for note in notes)


@pytest.mark.parametrize(
    ("first", "second", "types"),
    [
        ({"n": [2**60 + 1]}, {"n": [0.5]}, f"a.parquet: column 'n' holds the integer {2**60 + 1}"),
        ({"n": [-(2**63)]}, {"n": [0.5]}, f"a.parquet: column 'n' holds the integer {-(2**63)}"),
        ({"n": [1]}, {"n": ["one"]}, "b.parquet: column 'n' is String, but Int64"),
    ],
)
def test_parquet_types_that_no_type_holds_are_rejected(tmp_path, first, second, types):
    with pytest.raises(SourceError, match=types):
        months(tmp_path, first, second)
