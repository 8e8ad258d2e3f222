"""A table that was made dirty, cleaned by accepting findings, and compared with the clean original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import read_config
from estimator.data.schema.frames import read_series
from estimator.data.schema.overrides import build_schema
from estimator.data.sources.opener import open_files
from estimator.exploration.findings.spelling import SENTINELS
from estimator.verbs.context import SHELVES

CLEANING = {
    "number as text",
    "boolean spellings",
    "mixed date formats",
    "code spellings",
    "category spellings",
    "missing-value spellings",
    "sentinel value",
}
# Column of the file -> column of the clean table, and the fraction of cells that must be equal.
COLUMNS = {
    "sale date": ("date", 0.999),
    "price": ("price", 0.99),
    "Living Area": ("sqft_living", 0.99),
    "sqft_lot": ("sqft_lot", 0.99),
    "Bedrooms": ("bedrooms", 0.99),
    "bathrooms": ("bathrooms", 0.99),
    "floors": ("floors", 0.999),
    "waterfront": ("waterfront", 0.999),
    "view": ("view", 0.999),
    "condition": ("condition", 0.99),
    "grade": ("grade", 0.99),
    "yr_built": ("yr_built", 0.99),
    "zip": ("zipcode", 0.999),
    "lat": ("lat", 0.99),
    "Agency ": ("agency", 0.99),
}


@pytest.fixture(scope="module")
def cleaned(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The dirty file as the schema reads it after findings were accepted, and the clean table, row by row."""
    folder = tables / "messy_sales"
    conf = tmp_path_factory.mktemp("messy") / "c.yml"
    conf.write_text(f"data: {{path: {folder / 'messy_sales.csv.gz'}, target: price}}\n")
    for _ in range(2):
        explored = verbs.explore.explore(conf, verbs.Context(), page=conf.with_name("p.html"))
        chosen = [item.number for item in explored.findings if item.rule in CLEANING and item.edit]
        verbs.explore.accept_findings(conf, explored.findings, [range(number, number + 1) for number in chosen])
    config = read_config(conf, SHELVES)
    frame = open_files(config.data.path).frame()
    schema, _ = build_schema(frame, config)
    read = {}
    for name in COLUMNS:
        column = replace(schema.by_name[name], nullable=True)
        read[name] = pl.Series(read_series(column, frame[name])[0][:, 0].tolist())
    rows = pl.read_parquet(folder / "row_map.parquet")
    expected = pl.read_parquet(folder / "truth.parquet")[rows["truth_row"]]
    return pl.DataFrame(read)[rows["file_row"]], expected


@pytest.mark.parametrize("name", COLUMNS)
def test_accepted_findings_clean_a_column(name: str, cleaned, report_figure: Callable[[str], None]):
    actual, expected = cleaned[0][name], _as_read(name, cleaned[1][COLUMNS[name][0]])
    # Deleted values cannot be restored: missing ones, and sentinels.
    present = actual.is_not_null() & (actual.is_not_nan() if actual.dtype == pl.Float64 else actual != "")
    equal = (_as_text(actual) == _as_text(expected)) if actual.dtype == pl.String else _is_close(name, actual, expected)
    fraction = float((equal & present).sum() / present.sum())
    missing = (~present).mean()
    report_figure(
        f"messy_sales, {name.strip()}: {fraction:.2%} of {present.sum():,} known cells equal, {missing:.1%} missing"
    )
    assert fraction >= COLUMNS[name][1]
    assert present.mean() > 0.93
    assert name != "yr_built" or not actual.is_in(SENTINELS).any()


def _as_read(name: str, expected: pl.Series) -> pl.Series:
    return expected.str.to_datetime().dt.epoch("s") if name == "sale date" else expected


def _as_text(series: pl.Series) -> pl.Series:
    return series.cast(pl.String).str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def _is_close(name: str, actual: pl.Series, expected: pl.Series) -> pl.Series:
    # An area given in square meters to one decimal is exact to about half a square foot.
    near = 1.1 if name == "Living Area" else 1e-6
    return pl.Series(np.abs(actual.to_numpy() - expected.cast(pl.Float64).to_numpy()) <= near)
