"""Predictions written to files and into tables of databases: whole or not at all, and never over what is there unasked."""

from __future__ import annotations

import sqlite3

import polars as pl
import pytest

from estimator import verbs as life
from estimator.data.sinks import sink_of
from estimator.data.sources.opener import opened
from estimator.errors import SourceError
from estimator.store.batch_prediction import predict_source
from tests.conftest import read_example
from tests.servers import PASSWORD, postgresql, rows

ENVIRONMENT = {"PGPASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def postgres():
    with postgresql() as server:
        yield server


@pytest.fixture
def predictor(store):
    return life.load("house_pricing_model", life.Store(store)).predictor


@pytest.fixture
def houses(tmp_path):
    read_example("boston").drop("MEDV").head(60).write_csv(tmp_path / "houses.csv")
    return tmp_path / "houses.csv"


@pytest.fixture
def numbered(houses):
    """The same with numbers that the contract does not know."""
    pl.read_csv(houses).with_row_index("house", offset=100).write_csv(houses)
    return houses


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        return "sqlite:///answers.db"
    server = request.getfixturevalue("postgres")
    server.run('DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS "Big" CASCADE')
    return server.address


def score(predictor, houses, address, table="answers", if_exists=None, **options):
    with opened(str(houses)) as source:
        return predict_source(
            predictor, source, sink_of(address, ENVIRONMENT, table=table, if_exists=if_exists), **options
        )


def read(address, query):
    return rows(address, query, **ENVIRONMENT)


def expected(predictor):
    return predictor.predict(read_example("boston").drop("MEDV").head(60)).tolist()


def test_a_table_gets_every_answer_by_its_rows_number(predictor, houses, address, tmp_path):
    assert score(predictor, houses, address).rows == 60
    found = read(address, "SELECT * FROM answers ORDER BY row")
    assert found.columns == ["row", "prediction", "prediction_low", "prediction_high"]
    assert found["row"].to_list() == list(range(1, 61))
    assert found["prediction"].to_list() == expected(predictor)
    assert not list(tmp_path.glob(".*"))


def test_a_column_that_is_kept_stands_before_its_answer(predictor, numbered, address):
    score(predictor, numbered, address, keep=["house"])
    found = read(address, "SELECT * FROM answers ORDER BY house")
    assert found.columns == ["house", "prediction", "prediction_low", "prediction_high"]
    assert found["prediction"].to_list() == expected(predictor)


def test_a_table_that_is_there_is_left_alone_unless_it_may_change(predictor, houses, address):
    def count():
        return read(address, "SELECT count(*) AS n FROM answers")["n"][0]

    score(predictor, houses, address)
    with pytest.raises(SourceError, match="table answers: exists"):
        score(predictor, houses, address)
    score(predictor, houses, address, if_exists="append")
    assert count() == 120
    score(predictor, houses, address, if_exists="replace")
    assert count() == 60
    score(predictor, houses, address, table="others", if_exists="append")
    assert read(address, "others").height == 60


def test_what_cannot_be_appended_leaves_the_table_as_it_was_and_the_answers_kept(
    predictor, numbered, address, tmp_path
):
    score(predictor, numbered, address, keep=["house", "CRIM"])
    with pytest.raises(SourceError, match="RM"):
        score(predictor, numbered, address, keep=["house", "RM"], if_exists="append")
    assert read(address, "answers").height == 60
    assert len(list(tmp_path.glob(".answers.*.parts"))) == 1
    assert score(predictor, numbered, address, keep=["house", "RM"], if_exists="replace").rows_resumed == 60


def test_a_schema_may_stand_before_the_table(predictor, houses, postgres, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    postgres.run('CREATE SCHEMA IF NOT EXISTS "Big"')
    for if_exists in (None, "append"):
        score(predictor, houses, postgres.address, table="Big.answers", if_exists=if_exists)
    assert read(postgres.address, "Big.answers").height == 120


def test_a_database_that_somebody_else_writes_is_waited_for_and_then_refused(predictor, houses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("estimator.data.sinks.PATIENCE", 0.1)
    with sqlite3.connect("answers.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceError, match="locked"):
            score(predictor, houses, "sqlite:///answers.db")
        other.execute("ROLLBACK")
    assert score(predictor, houses, "sqlite:///answers.db").rows_resumed == 60


@pytest.mark.parametrize(
    ("output", "options", "told"),
    [
        ("sqlite:///answers.db", {"table": None}, "expected the name of a table"),
        ("sqlite:///answers.db", {"table": 'a"; DROP TABLE b; --'}, "expected the name of a table"),
        ("sqlite:///nowhere/answers.db", {}, "cannot be written"),
        ("mysql://me@host/db", {}, "cannot be written to mysql://"),
        ("postgresql://me:secret@host/db", {}, "a password written in it"),
        ("postgresql://me@127.0.0.1:1/db", {}, "no connection"),
        ("answers.csv", {}, "is a file"),
        ("answers.csv", {"table": None, "if_exists": "append"}, "is a file"),
        ("answers.xlsx", {"table": None}, "expected a file that ends in .parquet or .csv"),
        ("nowhere/answers.csv", {"table": None}, "the folder nowhere does not exist"),
        ("houses.csv", {"table": None}, "is also the input"),
        ("answers.csv", {"table": None, "keep": ["home"]}, "no column 'home' to keep"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_row_is_answered(
    predictor, houses, tmp_path, monkeypatch, output, options, told
):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SourceError, match=told):
        score(predictor, "houses.csv", output, **options)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".parts") == before


def test_a_column_named_like_an_answer_cannot_be_kept(predictor, numbered, tmp_path):
    table = pl.read_csv(numbered).rename({"house": "prediction"})
    table.write_csv(numbered)
    with pytest.raises(SourceError, match="cannot keep 'prediction'"):
        score(predictor, numbered, str(tmp_path / "answers.csv"), table=None, keep=["prediction"])
