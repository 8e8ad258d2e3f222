"""The exported log: one row per prediction, with the schema's types, for every database; and what it is good for."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import Serving
from estimator.errors import MonitoringError, SourceError
from estimator.prediction_log import Label, LogEntry, PredictionLog, PredictionRecord, open_log, records_of
from estimator.serving.service import ResponseFormat, Service
from estimator.store.artefact import Artefact
from estimator.verbs.export import LogSelection
from estimator.verbs.monitor import MonitoredModel
from tests.clients import ESTIMATOR, within
from tests.servers import PASSWORD, postgresql

N_ROWS = 120
INPUTS = {
    "key": pl.String,
    "area": pl.Float64,
    "rooms": pl.Int64,
    "garden": pl.Boolean,
    "city": pl.String,
    "built": pl.Date,
}


def homes(n_rows: int = N_ROWS, seed: int = 1, **more: Any) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    area = generator.uniform(40, 200, n_rows).round(2)
    columns = {
        "key": [f"H{seed}-{row:04d}" for row in range(n_rows)],
        "area": area,
        "rooms": generator.integers(1, 9, n_rows),
        "garden": generator.choice([True, False], n_rows),
        "city": generator.choice(["Bern", "Genf", "Zug"], n_rows),
        "built": [date(1950 + int(year), 5, 17) for year in generator.integers(0, 70, n_rows)],
        "owner": generator.choice(["x", "y"], n_rows),
        **{name: values[:n_rows] for name, values in more.items()},
        "price": (area * 10 + generator.normal(size=n_rows)).round(2),
    }
    return pl.DataFrame({**columns, "rooms": pl.Series([None, *columns["rooms"][1:].tolist()], dtype=pl.Int64)})


def trained(folder: Path, rows: pl.DataFrame, *, target: str = "price", **sections: Any) -> Artefact:
    rows.write_csv(folder / "old.csv")
    content = {
        "name": "home",
        "data": {"path": "old.csv", "target": target},
        "model": {"kind": "linear"},
        "validation": {"folds": 0},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
        "retraining": {"candidates": ["new_only"]},
        "serving": {"private_columns": ["owner"]},
        **sections,
    }
    (folder / "config.json").write_text(json.dumps(content))
    return verbs.train.train(folder / "config.json", context(folder)).artefact


def context(folder: Path) -> verbs.Context:
    return verbs.Context(environment={"PGPASSWORD": PASSWORD}, store_path=str(folder / "models"))


def json_rows(rows: pl.DataFrame, target: str = "price") -> list[dict[str, Any]]:
    return json.loads(rows.drop(target).write_json()) if rows.height else []


def predicted(
    artefact: Artefact,
    rows: list[dict[str, Any]],
    request_id: str,
    at: float,
    form: ResponseFormat = ResponseFormat.FULL,
) -> list[PredictionRecord]:
    """Return the records that a server logs for a request."""
    service = Service(artefact, Serving(private_columns=artefact.config["serving"]["private_columns"]))
    body = json.dumps(rows).encode()
    response = service.respond(body, request_id, form)
    entry = LogEntry(
        request_id, at, artefact.name, artefact.version, service.rows_to_log(body), response.body, service.private
    )
    return records_of(entry)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with postgresql() as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("home")
    return SimpleNamespace(folder=folder, artefact=trained(folder, homes()))


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """An empty log, and its address."""
    if request.param == "sqlite":
        address = str(tmp_path / "log.db")
    else:
        running = request.getfixturevalue("server")
        running.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        address = running.address
    opened = open_log(address, Path(), {"PGPASSWORD": PASSWORD})
    yield SimpleNamespace(address=address, opened=opened)
    opened.close()


@pytest.fixture
def sqlite_log(tmp_path: Path) -> Iterator[SimpleNamespace]:
    opened = open_log("log.db", tmp_path, {})
    yield SimpleNamespace(address=str(tmp_path / "log.db"), opened=opened)
    opened.close()


def export(folder: Path, log: SimpleNamespace, output: Path | str, **selection: Any) -> Any:
    chosen = LogSelection(**{"since": 0.0, "until": time.time() + 1e6, **selection})
    return verbs.export.export(MonitoredModel("home", log.address), str(output), context(folder), chosen)


def test_rows_have_the_schemas_types_and_the_logs_values(home, log, tmp_path):
    new = homes(40, seed=2)
    log.opened.write(predicted(home.artefact, json_rows(new), "r", 1000.5))
    log.opened.add_labels([Label("r-3", 777.5)], at=2000.0)
    exported = export(home.folder, log, tmp_path / "log.parquet")
    table = pl.read_parquet(tmp_path / "log.parquet").with_columns(
        pl.col("log_id").str.split("-").list[1].cast(pl.Int64).alias("number")
    )
    table = table.sort("number")
    assert dict(table.drop("number").schema) == {
        "log_id": pl.String, "log_time": pl.Datetime("us", "UTC"), "log_version": pl.String, **INPUTS,
        "price": pl.Float64, "log_prediction": pl.Float64, "log_labeled_at": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    assert table.select(*INPUTS).equals(new.select(*INPUTS))
    assert table["log_prediction"].to_list() == pytest.approx(home.artefact.predictor.predict(new).tolist())
    assert table.row(3, named=True) | {"price": 777.5} == table.row(3, named=True)
    assert table["log_time"][0] == datetime(1970, 1, 1, 0, 16, 40, 500_000, tzinfo=UTC)
    assert table["price"].null_count() == 39
    assert (exported.n_rows, exported.n_labels, exported.private_columns) == (40, 1, ("owner",))


def test_export_for_training_is_a_table_for_evaluate_and_retrain(home, log, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    artefact = trained(folder, homes().drop("owner"), serving={})
    new = homes(80, seed=3).drop("owner")
    log.opened.write(predicted(artefact, json_rows(new), "r", time.time()))
    labels = [Label(f"r-{row}", price) for row, price in enumerate(new["price"][:60].to_list())]
    log.opened.add_labels(labels, at=time.time())
    for output in (tmp_path / "new.parquet", tmp_path / "new.csv"):
        exported = export(folder, log, output, for_training=True)
        assert exported.columns == (*INPUTS, "price")
        assert (exported.n_rows, exported.n_labels) == (60, 60)
        assert verbs.evaluate.evaluate(artefact, str(output), context=context(folder)).rows == 60
    from_input = verbs.retrain.retrain(
        MonitoredModel("home", folder=folder), context(folder), data=str(tmp_path / "new.parquet"), isolated=False
    )
    from_log = verbs.retrain.retrain(
        MonitoredModel("home", log.address, folder=folder), context(folder), isolated=False
    )
    scores = [[candidate.error for candidate in decision.candidates] for decision in (from_input, from_log)]
    assert scores[0] == pytest.approx(scores[1])


def test_classes_intervals_and_sets_are_columns(tmp_path, sqlite_log):
    classes = homes().with_columns(pl.Series("dear", np.where(np.arange(N_ROWS) % 3 > 0, "yes", "no"))).drop("price")
    artefact = trained(tmp_path, classes, target="dear", validation={"folds": 3})
    sqlite_log.opened.write(predicted(artefact, json_rows(classes, "dear")[:5], "full", 1000.0))
    sqlite_log.opened.write(
        predicted(artefact, json_rows(classes, "dear")[:1], "short", 1001.0, ResponseFormat.TUTORIAL)
    )
    sqlite_log.opened.add_labels([Label("full-0", "yes"), Label("full-1", True)], at=1002.0)
    export(tmp_path, sqlite_log, tmp_path / "log.parquet")
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert table.columns[-5:-1] == ["log_prediction", "log_prediction_set", "log_probability_no", "log_probability_yes"]
    assert table["dear"].to_list() == ["yes", "yes", None, None, None, None]
    assert set(json.loads(table["log_prediction_set"][0])) <= {"no", "yes"}
    sums = (table["log_probability_no"] + table["log_probability_yes"]).to_list()
    assert sums == [pytest.approx(1.0)] * 5 + [None]

    trained(tmp_path, homes(), validation={"folds": 3})
    sqlite_log.opened.write(predicted(context(tmp_path).version("home@candidate"), json_rows(homes(3)), "n", 1003.0))
    export(tmp_path, sqlite_log, tmp_path / "log.parquet", since=1003.0)
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert (table["log_prediction_low"] < table["log_prediction_high"]).all()


def test_columns_of_all_versions_are_joined(tmp_path, sqlite_log):
    first = trained(tmp_path, homes().drop("owner"), serving={})
    changed = (
        homes()
        .drop("owner", "garden")
        .with_columns(
            pl.col("rooms").cast(pl.Float64) + 0.5,
            pl.Series("city", np.arange(N_ROWS) % 7 + 0.5),
            floor=pl.col("area") / 9,
        )
    )
    second = trained(tmp_path, changed, serving={})
    sqlite_log.opened.write(predicted(first, json_rows(homes(2).drop("owner")), "a", 1000.0))
    sqlite_log.opened.write(predicted(second, json_rows(changed[:3]), "b", 1001.0))
    exported = export(tmp_path, sqlite_log, tmp_path / "log.parquet")
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert exported.versions == {first.version: 2, second.version: 3}
    assert table["garden"].null_count() == 3
    assert table["floor"].null_count() == 2
    assert (table.schema["rooms"], table.schema["city"]) == (pl.Float64, pl.String)
    assert table["city"][-3:].to_list() == ["0.5", "1.5", "2.5"]


def test_inputs_named_like_the_logs_columns_keep_their_names(tmp_path, sqlite_log):
    rows = homes(log_id=[f"k{row % 5}" for row in range(N_ROWS)], log_prediction=np.linspace(0, 9, N_ROWS) ** 2).drop(
        "owner"
    )
    artefact = trained(tmp_path, rows, serving={})
    sqlite_log.opened.write(predicted(artefact, json_rows(rows[:2]), "r", 1000.0))
    export(tmp_path, sqlite_log, tmp_path / "log.parquet")
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert table["log_id"].to_list() == ["k0", "k1"]
    assert table["log__id"].to_list() == ["r-0", "r-1"]
    assert table["log_prediction"].to_list() == rows["log_prediction"][:2].to_list()
    assert table["log__prediction"].null_count() == 0


def test_values_not_of_the_schemas_type_are_missing_and_counted(home, sqlite_log, tmp_path, run):
    record = predicted(home.artefact, json_rows(homes(1)), "r", 1000.0)[0]
    damaged = {"area": "large", "rooms": 2.5, "garden": [1], "city": "Atlantis", "built": "2001-02-03"}
    sqlite_log.opened.write([PredictionRecord("r-0", 1000.0, "home", record.version, damaged, record.response)])
    sqlite_log.opened.add_labels([Label("r-0", "cheap")], at=1001.0)
    output = str(tmp_path / "log.parquet")
    options = ("--log", sqlite_log.address, "--output", output, "--store", str(home.folder / "models"))
    code, text, _ = run("export", "home", *options, "--json")
    assert code == 0
    assert text["unreadable"] == {"area": 1, "rooms": 1, "garden": 1, "price": 1}
    row = pl.read_parquet(output).row(0, named=True)
    assert [row[name] for name in ("area", "rooms", "garden", "city", "built", "price")] == [
        None, None, None, "Atlantis", date(2001, 2, 3), None,
    ]  # fmt: skip
    assert (text["path"], text["n_rows"], text["columns"][:3]) == (output, 1, ["log_id", "log_time", "log_version"])


def test_time_and_version_choose_rows(home, sqlite_log, tmp_path):
    record = predicted(home.artefact, json_rows(homes(1)), "r", 1000.0)[0]
    rows = [
        PredictionRecord(f"{version}-{at}", float(at), "home", version, record.inputs, record.response)
        for version in (home.artefact.version, "deleted")
        for at in (999, 1000, 1001, 1002)
    ]
    sqlite_log.opened.write([*rows, PredictionRecord("x", 1000.0, "other", "v", record.inputs, record.response)])
    exported = export(home.folder, sqlite_log, tmp_path / "log.parquet", since=1000.0, until=1002.0, version="live")
    assert pl.read_parquet(tmp_path / "log.parquet")["log_id"].to_list() == [
        f"{home.artefact.version}-1000", f"{home.artefact.version}-1001",
    ]  # fmt: skip
    assert exported.n_rows == 2
    assert export(home.folder, sqlite_log, tmp_path / "log.parquet", version="deleted").n_rows == 4
    with pytest.raises(MonitoringError, match="'v9'"):
        export(home.folder, sqlite_log, tmp_path / "log.parquet", version="v9")


def test_time_without_predictions_is_an_empty_table(home, sqlite_log, tmp_path):
    assert export(home.folder, sqlite_log, tmp_path / "log.parquet").n_rows == 0
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert (table.height, dict(table.select(*INPUTS).schema)) == (0, INPUTS)


def test_shadow_predictions_are_left_out_and_counted(home, log, tmp_path):
    log.opened.write(served := predicted(home.artefact, json_rows(homes(3)), "r", 1000.0))
    log.opened.write_shadows(
        [PredictionRecord(row.id, row.at, "home", "shadow", {}, {"prediction": 1.0}) for row in served[1:]]
    )
    exported = export(home.folder, log, tmp_path / "log.parquet")
    assert (exported.n_rows, exported.n_shadow_rows) == (3, 2)
    exported = export(home.folder, log, tmp_path / "shadow.parquet", shadow=True)
    table = pl.read_parquet(tmp_path / "shadow.parquet")
    assert exported.versions == {"shadow": 2}
    assert table.select("log_id", "log_prediction").rows() == [("r-1", 1.0), ("r-2", 1.0)]
    assert table["area"].to_list() == homes(3)["area"].to_list()[1:]


def test_log_of_many_parts_is_exported_in_order(home, sqlite_log, tmp_path, monkeypatch):
    monkeypatch.setattr("estimator.verbs.export.PART_ROWS", 7)
    for request in range(5):
        sqlite_log.opened.write(predicted(home.artefact, json_rows(homes(10)), f"r{request}", 1000.0 + request))
    export(home.folder, sqlite_log, tmp_path / "log.csv")
    table = pl.read_csv(tmp_path / "log.csv", try_parse_dates=True)
    assert table["log_id"].to_list() == [f"r{request}-{row}" for request in range(5) for row in range(10)]


def test_log_is_exported_into_a_database(home, server, sqlite_log, tmp_path):
    sqlite_log.opened.write(predicted(home.artefact, json_rows(homes(4)), "r", 1000.0))
    server.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    selection = LogSelection(since=0.0, until=2000.0)
    for output in (f"sqlite:///{tmp_path}/out.db", server.address):
        arguments = (MonitoredModel("home", sqlite_log.address), output, context(home.folder), selection)
        assert verbs.export.export(*arguments, into="log").n_rows == 4
        with pytest.raises(SourceError, match="exists"):
            verbs.export.export(*arguments, into="log")
        verbs.export.export(*arguments, into="log", if_exists="append")
    with sqlite3.connect(tmp_path / "out.db") as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT log_id) FROM log").fetchall() == [(8, 4)]


def test_killed_export_leaves_the_old_file_and_is_repeated(home, sqlite_log, tmp_path):
    record = predicted(home.artefact, json_rows(homes(1)), "r", 1000.0)[0]
    for start in range(0, 100_000, 20_000):
        sqlite_log.opened.write(
            [
                PredictionRecord(f"r-{row}", 1000.0 + row, "home", record.version, record.inputs, record.response)
                for row in range(start, start + 20_000)
            ]
        )
    output, scratch = tmp_path / "log.parquet", tmp_path / "scratch"
    output.write_text("the old file")
    scratch.mkdir()
    words = ["export", "home", "--log", sqlite_log.address, "--output", str(output)]
    process = subprocess.Popen(
        [*ESTIMATOR, *words, "--store", str(home.folder / "models")], env=os.environ | {"TMPDIR": str(scratch)}
    )
    assert within(60.0, lambda: len(list(scratch.glob("*/*.parquet"))) > 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert output.read_text() == "the old file"
    assert export(home.folder, sqlite_log, output).n_rows == pl.read_parquet(output).height == 100_000


def test_text_says_what_is_left_out(home, sqlite_log, tmp_path, capsys):
    from estimator.cli import main

    sqlite_log.opened.write(predicted(home.artefact, json_rows(homes(3)), "r", 1000.0))
    log: PredictionLog = sqlite_log.opened
    log.write_shadows([PredictionRecord("r-0", 1000.0, "home", "shadow", {}, {"prediction": 1.0})])
    output = str(tmp_path / "log.csv")
    options = ["--log", sqlite_log.address, "--output", output, "--store", str(home.folder / "models")]
    assert main(["export", "home", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"3 rows, 0 with a label: {output}",
        "private     'owner': never in the log",
        "left out    1 shadow prediction: see --shadow",
    ]
