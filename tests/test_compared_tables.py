"""Two tables compared without a model: what is drift, what is said, and tables of every cruel kind."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

import estimator
from estimator.errors import EstimatorError

GENERATOR = np.random.default_rng(1)
N_ROWS = 400


def rows(n_rows=N_ROWS):
    return pl.DataFrame(
        {
            "size": GENERATOR.lognormal(4.0, 0.5, n_rows),
            "rooms": GENERATOR.integers(1, 9, n_rows),
            "city": GENERATOR.choice(["Oslo", "Rome", "Lima"], n_rows),
            "price": GENERATOR.normal(100.0, 9.0, n_rows),
        }
    )


OLD, NEW = rows(), rows()


@pytest.fixture
def compared(run, tmp_path):
    """Compare two frames as CSV files on the command line; return the exit code and the object."""

    def call(new, old, *arguments):
        paths = tmp_path / "new.csv", tmp_path / "old.csv"
        for frame, path in zip((new, old), paths, strict=True):
            frame.write_csv(path)
        code, output, _ = run("monitor", "--input", paths[0], "--reference", paths[1], "--json", *arguments)
        return code, output

    return call


def test_like_tables_have_not_drifted(compared):
    code, output = compared(NEW, OLD)
    assert (code, output["drifted"], output["diagnosis"], output["findings"]) == (0, False, None, [])
    assert output["compared_with"] == "old.csv"


def test_drift_between_tables_is_explained_in_text_and_on_a_page(run, tmp_path):
    NEW.with_columns(pl.col("size") * 1000.0).write_csv(tmp_path / "new.csv")
    OLD.write_parquet(tmp_path / "old.parquet")
    page = tmp_path / "page.html"
    code, output, _ = run(
        "monitor", "--input", tmp_path / "new.csv", "--reference", tmp_path / "old.parquet", "--page", page
    )
    assert code == 3
    assert "size may be in another unit: values are 1000 times those of the reference" in output["text"]
    assert "prediction" not in output["text"]
    assert "not compared" not in output["text"]
    assert "compared with old.parquet" in page.read_text()
    assert "size in the reference and now" in page.read_text()


def test_the_target_is_compared_unless_it_is_named(compared):
    new = NEW.with_columns(pl.col("price") + 50.0)
    code, output = compared(new, OLD)
    assert (code, output["diagnosis"]["columns"][0]["column"]) == (3, "price")
    assert compared(new, OLD, "--target", "price")[0] == 0


def test_columns_of_one_table_alone_are_said(compared):
    code, output = compared(NEW.drop("city").with_columns(color=pl.lit("red")), OLD)
    assert code == 3
    assert output["findings"] == ["columns that are not in new.csv: 'city'", "columns that are not in old.csv: 'color'"]
    assert output["diagnosis"]["data_faults"] == ["city is not in the table"]


def test_another_type_is_a_fault(compared):
    new = NEW.with_columns(size=pl.lit("large"), city=pl.int_range(pl.len()) % 3)
    code, output = compared(new, OLD)
    assert code == 3
    assert sorted(output["diagnosis"]["data_faults"]) == [
        "city held text in the reference and holds numbers now: '0'",
        "size held numbers in the reference and cannot be read in 100% of the rows: 'large'",
    ]


@pytest.mark.parametrize(
    ("new", "old", "code"),
    [
        (NEW[:1], OLD, 0),
        (NEW, OLD[:1], 0),
        (NEW.select("size"), OLD.select("size"), 0),
        (NEW.with_columns(constant=1), OLD.with_columns(constant=1), 0),
        (NEW.with_columns(flag=pl.int_range(pl.len()) % 2), OLD.with_columns(flag=1), 3),
        (NEW.with_columns(gone=None), OLD.with_columns(gone=None), 0),
        (NEW.with_columns(size=None), OLD, 3),
        (NEW, OLD.with_columns(size=None), 3),
        (NEW.with_columns(pl.lit("x").alias('a,"b\n*')), OLD.with_columns(pl.lit("y").alias('a,"b\n*')), 3),
    ],
    ids=["one row", "one old row", "one column", "constant", "was constant", "all missing", "lost", "came", "name"],
)
def test_cruel_tables_are_compared(compared, new, old, code):
    assert compared(new, old)[0] == code


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        (NEW[:0], OLD, "rows: no row can be compared"),
        (NEW, OLD[:0], "reference: no row can be compared"),
        (NEW, OLD.select(id=pl.int_range(pl.len())), "reference: no column can be compared"),
    ],
)
def test_tables_without_rows_or_columns_are_an_error(new, old, message):
    with pytest.raises(EstimatorError, match=message):
        estimator.compare_tables(new, old)


def test_ids_and_dates_are_not_compared_and_said():
    dated = {"id": pl.int_range(pl.len()), "day": pl.date(2026, 1, 1) + pl.duration(days=pl.int_range(pl.len()) % 90)}
    checked = estimator.compare_tables(NEW.with_columns(**dated), OLD.with_columns(**dated))
    assert checked.not_compared == {"id": "identifier", "day": "date"}
    assert checked.not_compared_message == "not compared: id (identifier), day (date)"
    assert json.loads(json.dumps(checked.to_data()))["not_compared"] == checked.not_compared


def test_wide_tables_are_compared():
    names = [f"column {index}" for index in range(400)]
    old, new = (pl.DataFrame(GENERATOR.normal(size=(60, 400)), schema=names) for _ in range(2))
    checked = estimator.compare_tables(new.with_columns(pl.col("column 7") * 1000.0), old)
    assert checked.drifted
    assert checked.diagnosis.columns[0].column == "column 7"


def test_rows_as_dictionaries_and_settings_are_taken():
    checked = estimator.compare_tables(
        NEW.to_dicts(), OLD.to_dicts(), target="price", overrides=('monitoring.ignore=["city"]',)
    )
    names = {result.column for results in checked.check.results.values() for result in results}
    assert names - {None} == {"size", "rooms"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--input", "a.csv"), "Missing argument 'MODEL'"),
        (("--reference", "a.csv"), "pass --input"),
        (("--input", "a.csv", "--target", "y"), "pass --reference"),
        (("houses", "--input", "a.csv", "--reference", "b.csv"), "without MODEL"),
        (("--input", "a.csv", "--reference", "b.csv", "--schedule"), "without --schedule"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(run, arguments, message):
    code, _, stderr = run("monitor", *arguments)
    assert code == 2
    assert message in " ".join(stderr.split())
