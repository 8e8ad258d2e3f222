"""Queries: a real PostgreSQL and SQLite, and passwords that never show up."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest

from estimator.checks import sources as checks
from estimator.data.sources.opener import open_source
from estimator.errors import SourceError
from tests.servers import PASSWORD, postgresql, rows
from tests.test_promises import named

HOUSES = (
    "SELECT g AS id, g % 7 AS rooms, g % 7 * 10.5 + g % 3 AS price, 'n' || g % 4 AS nook FROM generate_series(1, {}) g"
)


@pytest.fixture(scope="module")
def postgres():
    with postgresql() as server:
        yield server


def database(folder: Path, *statements: str) -> str:
    with closing(sqlite3.connect(folder / "my rows.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return "sqlite:///my rows.db"


# PostgreSQL


def test_postgresql_types_are_converted(postgres):
    query = """SELECT 1::smallint AS small, 5000000000 AS big, 0.1::real AS single, 12345.678901::numeric AS exact,
        12.5::money AS money, true AS yes, DATE '2024-02-29' AS day, 'infinity'::date AS never,
        TIMESTAMP '2024-02-29 12:30:00.5' AS moment, TIMESTAMPTZ '2024-02-29 12:30:00+02' AS zoned,
        'é'::varchar AS word, 'a'::char(3) AS padded, ARRAY[1, 2] AS list, '{"a": 1}'::jsonb AS json,
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS id, INTERVAL '1 day' AS span, TIME '12:30' AS clock,
        'NaN'::numeric AS no_number, NULL::int AS missing"""
    frame = rows(postgres.address, query, PGPASSWORD=PASSWORD)
    assert frame.row(0, named=True) | {"no_number": None} == {
        "small": 1, "big": 5_000_000_000, "single": 0.1, "exact": 12345.678901, "money": 12.5, "yes": True,
        "day": date(2024, 2, 29), "never": None, "moment": datetime(2024, 2, 29, 12, 30, 0, 500_000),
        "zoned": frame["zoned"][0], "word": "é", "padded": "a", "list": "{1,2}", "json": '{"a": 1}',
        "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "span": "1 day", "clock": "12:30:00", "no_number": None,
        "missing": None,
    }  # fmt: skip
    assert frame["zoned"].dt.epoch("s")[0] == 1709202600


def test_large_result_is_streamed(postgres, monkeypatch):
    heights = []
    write = pl.DataFrame.write_parquet
    monkeypatch.setattr(
        pl.DataFrame, "write_parquet", lambda frame, *a, **k: (heights.append(frame.height), write(frame, *a, **k))
    )
    query = "SELECT g AS id, repeat('x', 200) AS word FROM generate_series(1, 300000) g ORDER BY g"
    with open_source(postgres.address, query=query, environment={"PGPASSWORD": PASSWORD}) as source:
        batches = [batch["id"] for batch in source.batches(rows=50_000)]
    assert sum(heights) == 300_000
    assert max(heights) < 150_000
    assert len(batches) >= 3
    assert pl.concat(batches).to_list() == list(range(1, 300_001))


def test_table_name_is_a_query(postgres):
    postgres.run('CREATE SCHEMA "Big"; CREATE TABLE "Big".houses AS ' + HOUSES.format(5))
    assert rows(postgres.address, "Big.houses", PGPASSWORD=PASSWORD)["id"].to_list() == [1, 2, 3, 4, 5]


@named(checks.PROMISES)
def test_postgresql_keeps_the_promises_of_sources(postgres, promise):
    values = ", ".join(
        f"({number}, {_literal(code)}, {_literal(word)})" for number, (code, word) in enumerate(checks.ROWS.rows())
    )
    query = f"SELECT code, word FROM (VALUES {values}) AS t (number, code, word) ORDER BY number -- the end"
    with open_source(postgres.address, query=query, environment={"PGPASSWORD": PASSWORD}) as source:
        promise(source)


def _literal(text: str | None) -> str:
    return "NULL" if text is None else f"'{text}'"


def test_query_cannot_change_the_database(postgres):
    postgres.run("CREATE TABLE precious AS SELECT 1 AS a; CREATE FUNCTION spoil() RETURNS int LANGUAGE sql AS "
                 "$$ DELETE FROM precious RETURNING a $$")  # fmt: skip
    for query in ("SELECT spoil() AS a", "DELETE FROM precious", "SELECT 1 AS a; DELETE FROM precious"):
        with pytest.raises(SourceError):
            rows(postgres.address, query, PGPASSWORD=PASSWORD)
    assert rows(postgres.address, "precious", PGPASSWORD=PASSWORD).height == 1


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("huoses", 'relation "huoses" does not exist', "did you mean 'houses'?"),
        ("SELECT nope FROM houses", 'column "nope" does not exist', "columns' names"),
        ("SELEC 1", "syntax error", "one SELECT or a table's name"),
        ("DROP TABLE houses", "returns no table", "SELECT"),
        ("SELECT 1 AS a, 2 AS a", "more than one column called 'a'", "AS"),
        ("SELECT * FROM houses WHERE false", "no rows", "conditions"),
        (None, "data.query is missing", "--query"),
    ],
)
def test_invalid_query_is_explained(postgres, query, message, hint):
    postgres.run(f"CREATE TABLE IF NOT EXISTS houses AS {HOUSES.format(5)}")
    with pytest.raises(SourceError) as error:
        rows(postgres.address, query, PGPASSWORD=PASSWORD)
    assert message in error.value.message
    assert hint in str(error.value.hint)
    assert PASSWORD not in error.value.message


@pytest.mark.parametrize(
    ("change", "environment", "message"),
    [
        (("", ""), {"PGPASSWORD": "wrong-one"}, "password authentication failed"),
        (("/postgres", "/nowhere"), {"PGPASSWORD": PASSWORD}, 'database "nowhere" does not exist'),
        (("PORT", "1"), {"PGPASSWORD": PASSWORD}, "cannot connect"),
        (("", ""), {}, "environment variable 'PGPASSWORD' is not set"),
        (("", ""), {"PGPASSWORD": ""}, "environment variable 'PGPASSWORD' is not set"),
    ],
)
def test_failed_connection_is_explained(postgres, change, environment, message):
    before, after = change[0].replace("PORT", f"{postgres.port}"), change[1]
    with pytest.raises(SourceError) as error:
        rows(postgres.address.replace(before, after) if before else postgres.address, "houses", **environment)
    assert message in error.value.message
    assert error.value.hint
    assert not any(value and value in f"{error.value.message}{error.value.hint}" for value in environment.values())


def test_lost_connection_is_an_error(postgres):
    ended = "CASE g WHEN 900000 THEN pg_terminate_backend(pg_backend_pid()) END AS ended"
    query = f"SELECT g, {ended} FROM generate_series(1, 900009) g"
    with pytest.raises(SourceError, match="terminating connection"):
        rows(postgres.address, query, PGPASSWORD=PASSWORD)


def test_whole_address_may_be_a_variable(postgres):
    url = postgres.address.replace("${PGPASSWORD}", quote(PASSWORD, safe=""))
    assert rows("${DATABASE_URL}", "SELECT 1 AS a", DATABASE_URL=url).height == 1
    misspelled = postgres.address.replace("${PGPASSWORD}", PASSWORD)
    with pytest.raises(SourceError) as error:
        rows("${DATABASE_URL}", "SELECT 1 AS a", DATABASE_URL=misspelled)
    assert not any(piece in error.value.message for piece in ("p/w", "p@ss", "p@", PASSWORD))


def test_trained_model_holds_no_password(postgres, run, tmp_path, monkeypatch, scratches):
    postgres.run(f"CREATE TABLE IF NOT EXISTS flats AS {HOUSES.format(300)}")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    conf, predictions = tmp_path / "new" / "config.yml", tmp_path / "predictions.csv"
    table = (postgres.address, "--query", "SELECT * FROM flats ORDER BY id")
    outcomes = [
        run("init", *table, "--target", "price", "--conf", conf),
        run("explore", "--conf", conf, "--page", tmp_path / "page.html", "--json"),
        run("train", "--conf", conf, "--set", "model.kind=linear", "--store", tmp_path / "models", "--json"),
    ]
    assert [code for code, _, _ in outcomes] == [0, 0, 0], outcomes
    folder = Path(outcomes[2][1]["folder"])
    outcomes += [
        run("evaluate", "--model", folder, "--input", *table, "--json"),
        run("predict", "--model", folder, "--input", *table, "--output", predictions, "--json"),
    ]
    assert [code for code, _, _ in outcomes] == [0, 0, 0, 0, 0], outcomes
    assert pl.read_csv(predictions).height == outcomes[3][1]["rows"] == 300
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["data"]["files"]) == [f"postgresql://127.0.0.1:{postgres.port}/postgres"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"${PGPASSWORD}" in written
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret.encode() not in written
        assert secret not in str(outcomes)
    assert not list(scratches.iterdir())


def test_same_rows_have_the_same_fingerprint(postgres):
    def digest(query: str) -> dict[str, str]:
        with open_source(postgres.address, query=query, environment={"PGPASSWORD": PASSWORD}) as source:
            return source.fingerprint()

    some, other = (
        "SELECT g AS a, NULL::text AS b FROM generate_series({}, 9) g",
        "SELECT g AS a, '' AS b FROM generate_series(1, 9) g",
    )
    assert digest(some.format(1)) == digest(some.format(1))
    assert len({*digest(some.format(1)).values(), *digest(some.format(2)).values(), *digest(other).values()}) == 3


def test_every_pass_reads_the_same_rows(postgres):
    postgres.run("DROP TABLE IF EXISTS growing; CREATE TABLE growing AS SELECT 1 AS a")
    with open_source(postgres.address, query="growing", environment={"PGPASSWORD": PASSWORD}) as source:
        postgres.run("INSERT INTO growing VALUES (2)")
        assert source.frame().height == 1
        assert any("ORDER BY" in note for note in source.notes())


# SQLite


def test_sqlite_column_type_fits_all_values(tmp_path):
    address = database(
        tmp_path,
        "CREATE TABLE t (whole, part, word, mixed, raw, missing)",
        "INSERT INTO t VALUES (1, 1, '007', 5, x'00ff', NULL), (2, 2.5, 'é', 'five', NULL, NULL)",
    )
    with open_source(address, query="t", folder=tmp_path) as source:
        frame, notes = source.frame(), source.notes()
    assert frame.dtypes == [pl.Int64, pl.Float64, pl.String, pl.String, pl.String, pl.String]
    assert frame.rows() == [(1, 1.0, "007", "5", "0x00ff", None), (2, 2.5, "é", "five", None, None)]
    assert "column 'mixed' holds integer and text: all of it is read as text" in notes[0]


def test_sqlite_is_opened_read_only(tmp_path):
    address = database(tmp_path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    for query in ("DELETE FROM t", "DROP TABLE t", "SELECT 1 AS a; DROP TABLE t", "PRAGMA user_version = 5"):
        with pytest.raises(SourceError):
            rows(address, query, folder=tmp_path)
    assert rows(address, "SELECT a FROM t -- all", folder=tmp_path).height == 1


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("sqlite:///nowhere.db", "t", "no such file"),
        ("sqlite:///my rows.db", "u", "no such table: u"),
        ("sqlite:///my rows.db", "empty", "no rows"),
        ("sqlite:///my rows.db", None, "data.query is missing"),
        ("sqlite:///text.db", "t", "file is not a database"),
    ],
)
def test_sqlite_errors_are_explained(tmp_path, path, query, message):
    database(tmp_path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "CREATE TABLE empty (a)")
    (tmp_path / "text.db").write_text("not a database at all" * 100)
    with pytest.raises(SourceError, match=message):
        rows(path, query, folder=tmp_path)


def test_init_rewrites_a_relative_address(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = database(tmp_path, "CREATE TABLE flats (rooms, price)")
    with closing(sqlite3.connect("my rows.db")) as connection, connection:
        connection.executemany("INSERT INTO flats VALUES (?, ?)", [(n % 5, n % 5 * 2.5) for n in range(200)])
    assert run("init", address, "--query", "flats", "--target", "price", "--conf", "deep/er/config.yml")[0] == 0
    assert 'path: "sqlite:///../../my rows.db"' in Path("deep/er/config.yml").read_text()
    assert run("train", "--conf", "deep/er/config.yml", "--set", "model.kind=linear", "--json")[1]["name"] == "flats"
