"""The command line: results on stdout, messages on stderr, and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import EXAMPLES, read_example

# For tests of the commands around training, not of the model.
CONSTANT = ("--set", "model.kind=constant")


@pytest.fixture
def table(tmp_path) -> Path:
    return Path(shutil.copy(EXAMPLES / "credit" / "credit.csv", tmp_path / "credit.csv"))


def test_train_prints_one_json_object(run, tmp_path):
    code, output, _ = run("train", "--conf", EXAMPLES / "penguins" / "config.yml", "--store", tmp_path, "--json")
    assert code == 0
    assert set(output) >= {"name", "version", "folder", "task", "metrics", "baseline", "parity", "seconds"}
    assert set(output["metrics"]["log_loss"]) == {"value", "low", "high"}
    assert output["parity"]["largest_difference"] < 1e-9
    assert (Path(output["folder"]) / "manifest.json").is_file()


def test_train_prints_the_next_step(run, tmp_path):
    command = ("train", "--conf", EXAMPLES / "penguins" / "config.yml", *CONSTANT, "--store", tmp_path)
    assert "next: estimator serve" in run(*command)[1]["text"]
    assert "next: estimator promote penguins" in run(*command)[1]["text"]


def test_config_error_exits_with_1(run, tmp_path):
    code, output, err = run(
        "train",
        "--conf",
        EXAMPLES / "penguins" / "config.yml",
        "--set",
        "training.epocs=1",
        "--store",
        tmp_path,
        "--json",
    )
    assert code == 1
    assert "did you mean 'epochs'?" in output["error"]["message"]
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    "command", [("trian",), ("train",), ("train", "--cnof", "x"), ("serve", "--model", "x", "--port", "99999")]
)
def test_usage_error_exits_with_2(run, command):
    assert run(*command)[0] == 2


def test_misspelled_command_gets_a_suggestion(run):
    assert "did you mean 'train'?" in run("trian")[2]


def test_interrupt_exits_with_130_and_writes_no_version(run, tmp_path, monkeypatch):
    from estimator.models.linear import Linear

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Linear, "fit", interrupted)
    code, _, err = run("train", "--conf", EXAMPLES / "penguins" / "config.yml", "--store", tmp_path)
    assert code == 130
    assert "interrupted" in err
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("name", "target"), [("boston", "MEDV"), ("ames", "Sale_Price"), ("credit", "Status"), ("penguins", "species")]
)
def test_init_writes_a_config_that_trains(run, tmp_path, name, target):
    source = next(path for path in (EXAMPLES / name).iterdir() if ".csv" in path.name)
    conf = tmp_path / "new" / "config.yml"
    code, created, _ = run("init", source, "--target", target, "--conf", conf, "--json")
    assert code == 0
    assert created["schema"] == str(conf.with_name("schema.yml"))
    # The ensemble of a new config is slow on the larger tables; penguins and Boston are trained as written.
    model = ("--set", "model.kind=boosting") if name in ("ames", "credit") else ()
    code, trained, _ = run("train", "--conf", conf, "--store", tmp_path / "models", *model, "--json")
    assert code == 0
    assert trained["model"]["kind"] == ("boosting" if model else "ensemble")
    assert trained["beats_baseline"]


def test_init_reads_a_folder_of_files(run, tmp_path):
    frame = read_example("credit")
    (tmp_path / "parts").mkdir()
    frame.head(2000).write_csv(tmp_path / "parts" / "a.csv")
    frame.tail(2454).write_csv(tmp_path / "parts" / "b.csv")
    assert run("init", tmp_path / "parts", "--target", "Status", "--conf", tmp_path / "c.yml")[0] == 0
    linear = ("--set", "model.kind=linear")
    code, trained, _ = run("train", "--conf", tmp_path / "c.yml", "--store", tmp_path / "models", *linear, "--json")
    assert (code, trained["rows"]) == (0, 4454)


def test_init_overwrites_nothing_without_force(run, table, tmp_path):
    command = ("init", table, "--target", "Status", "--conf", tmp_path / "config.yml")
    assert run(*command)[0] == 0
    assert "already exist" in run(*command)[2]
    assert run(*command, "--force")[0] == 0


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_predict_keeps_the_order_of_rows(run, store, table, tmp_path, ending):
    output = tmp_path / f"predictions{ending}"
    code, report, _ = run("predict", "--model", store / "credit", "--input", table, "--output", output, "--json")
    assert (code, report["rows"]) == (0, 4454)
    predictions = pl.read_csv(output) if ending == ".csv" else pl.read_parquet(output)
    assert predictions.columns == ["prediction", "prediction_set", "probability_good", "probability_bad"]
    assert predictions.height == 4454
    from estimator import load

    expected = load(store / "credit").predict(read_example("credit"))
    assert predictions["prediction"].to_list() == expected.tolist()


def spoiled(table: Path) -> Path:
    """Write text into two cells of a numeric column."""
    frame = read_example("credit").with_row_index()
    price = pl.when(pl.col("index").is_in([2, 4000])).then(pl.lit("cheap")).otherwise(pl.col("Price"))
    frame.with_columns(Price=price).drop("index").write_csv(table)
    return table


def test_predict_stops_at_an_invalid_row(run, store, table, tmp_path):
    output = tmp_path / "predictions.csv"
    code, _, err = run("predict", "--model", store / "credit", "--input", spoiled(table), "--output", output)
    assert code == 1
    assert "row 3, column 'Price': expected a whole number, got 'cheap'" in err
    assert not output.exists()
    assert not list(tmp_path.glob(".predictions*"))


def test_invalid_rows_may_get_no_prediction(run, store, table, tmp_path):
    output = tmp_path / "predictions.parquet"
    command = (
        "predict",
        "--model",
        store / "credit",
        "--input",
        spoiled(table),
        "--output",
        output,
        "--on-error",
        "missing",
        "--json",
    )
    code, report, err = run(*command)
    assert (code, report["rows_without_prediction"]) == (0, 2)
    assert "2 of 4,454 rows" in err
    predictions = pl.read_parquet(output)
    assert predictions["prediction"].is_null().arg_true().to_list() == [2, 4000]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--output", "x.xlsx"), "ends in .parquet or .csv"),
        (("--output", "no/such/folder/x.csv"), "cannot be written"),
        (("--input", "none.csv", "--output", "x.csv"), "no such file"),
    ],
)
def test_unusable_predict_option_is_explained(run, store, table, options, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("predict", "--model", store / "credit", "--input", table, *options)
    assert code == 1
    assert expected in err


def test_evaluate_scores_a_labeled_table(run, store, table):
    code, report, _ = run("evaluate", "--model", store / "credit", "--input", table, "--json")
    assert (code, report["rows"]) == (0, 890)
    assert 0.8 < report["metrics"]["auc"]["value"] < 1.0
    assert report["confusion"]["by_class"]["bad"]["rows"] == 250
    text = run("evaluate", "--model", store / "credit", "--input", table)[1]["text"]
    assert "actual class  rows  recall" in text


@pytest.mark.parametrize(("require", "code"), [("auc>=0.8", 0), ("auc>=0.999", 3), ("log_loss <= 0.1", 3)])
def test_missed_requirement_exits_with_3(run, store, table, require, code):
    command = ("evaluate", "--model", store / "credit", "--input", table, "--require", require, "--json")
    exit_code, report, _ = run(*command)
    assert exit_code == code
    assert report["missed"] == ([require] if code else [])


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ("auc", "expected one of log_loss"),
        ("aucc>=1", "expected one of log_loss"),
        ("auc>=high", "then a number"),
        ("auc>=1.2.3", "then a number"),
        ("auc<=0.9", "auc is better when higher, so expected auc>=0.9"),
        ("log_loss>=0.3", "log_loss is better when lower, so expected log_loss<=0.3"),
    ],
)
def test_malformed_requirement_is_a_usage_error(run, store, table, require, message):
    code, _, err = run("evaluate", "--model", store / "credit", "--input", table, "--require", require)
    assert (code, message in err) == (2, True)


def test_promote_and_rollback_move_the_live_alias(run, tmp_path):
    conf = EXAMPLES / "penguins" / "config.yml"
    first, second = (
        run("train", "--conf", conf, *CONSTANT, "--store", tmp_path, "--json")[1]["version"] for _ in range(2)
    )
    assert run("models", "--store", tmp_path, "--json")[1]["models"][0]["aliases"] == {
        "live": first,
        "candidate": second,
    }
    assert run("promote", "penguins", "--store", tmp_path, "--json")[1]["version"] == second
    assert "live" in run("models", "--store", tmp_path)[1]["text"]
    rolled = run("rollback", "--store", tmp_path, "--why", "too slow", "--json")[1]
    assert rolled == _last_move(tmp_path)
    assert _last_move(tmp_path)["version"] == first
    assert _last_move(tmp_path)["reason"] == "too slow"


def _last_move(store: Path) -> dict:
    return json.loads((store / "penguins" / "history.jsonl").read_text().splitlines()[-1])


def test_damaged_version_cannot_be_promoted(run, tmp_path):
    conf = EXAMPLES / "penguins" / "config.yml"
    made = [run("train", "--conf", conf, *CONSTANT, "--store", tmp_path, "--json")[1] for _ in range(2)]
    (Path(made[1]["folder"]) / "model.onnx").write_bytes(b"damaged")
    code, _, err = run("promote", made[1]["version"], "--store", tmp_path)
    assert code == 1
    assert "changed since the version was written" in err
    assert run("models", "--store", tmp_path, "--json")[1]["models"][0]["aliases"]["live"] == made[0]["version"]


def test_schema_prints_the_json_schema_of_configs(run):
    document = run("schema", "--json")[1]
    assert document["properties"]["training"]
    kinds = {branch["properties"]["kind"]["const"] for branch in document["properties"]["model"]["anyOf"]}
    assert kinds == {"boosting", "catboost", "constant", "dense", "ensemble", "linear", "tabm", "xgboost"}


def test_empty_store_is_reported(run, tmp_path):
    assert "no models yet" in run("models", "--store", tmp_path / "none")[1]["text"]


@pytest.mark.parametrize("content", ["", "a,b\n", "a,b\n1\n1,2,3,4\n", "\x00\x01"])
def test_broken_table_is_explained(run, tmp_path, content):
    (tmp_path / "table.csv").write_text(content)
    code, _, err = run("init", tmp_path / "table.csv", "--target", "b", "--conf", tmp_path / "c.yml")
    assert code == 1
    assert any(line.startswith("error: ") for line in err.splitlines())


def test_detected_encoding_and_delimiter_are_noted(run, tmp_path):
    rows = ["stadt;y", *(f"{'Köln' if row % 2 else 'Düsseldorf'};{row % 7}" for row in range(60))]
    (tmp_path / "table.csv").write_bytes("\n".join(rows).encode("latin1"))
    command = ("explore", tmp_path / "table.csv", "--target", "y", "--page", tmp_path / "p.html", "--json")
    code, report, _ = run(*command)
    assert code == 0
    assert [category for category, *_ in report["profile"]["columns"][0]["top_categories"]] == ["Düsseldorf", "Köln"]
    assert "read as Windows-1252" in report["notes"][0]
    assert "';'" in report["notes"][1]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("ebay_autos_latin1/autos.csv.gz", "price"),
        ("bengaluru_raw/Bengaluru_House_Data.csv.gz", "price"),
        ("airbnb_munich/listings.csv.gz", "price"),
        ("bank_marketing/bank-additional-full.csv.gz", "y"),
    ],
)
def test_messy_tables_are_explored_without_options(run, tables, tmp_path, name, target):
    command = ("explore", tables / name, "--target", target, "--page", tmp_path / "p.html", "--json")
    code, report, _ = run(*command)
    assert code == 0
    assert report["profile"]["rows"] > 6000
    assert report["findings"]


@pytest.mark.parametrize(
    "content",
    [
        b"a,b,y\r1,2,3\r4,5,6\r7,9,8\r",
        "a,b,y\n1,2,3\n4,5,6\n7,9,8\n".encode("utf-16"),
        b"\xef\xbb\xbfa;b;y\r\n1;2;3\r\n4;5;6\r\n7;9;8\r\n",
    ],
    ids=["lines end in CR", "UTF-16", "BOM, CRLF and semicolons"],
)
def test_line_ends_and_encodings_are_detected(run, tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    code, report, _ = run("explore", tmp_path / "t.csv", "--target", "y", "--page", tmp_path / "p.html", "--json")
    assert code == 0
    assert [column["name"] for column in report["profile"]["columns"]] == ["a", "b", "y"]
    assert report["profile"]["rows"] == 3


def test_duplicate_column_name_is_rejected(run, tmp_path):
    (tmp_path / "t.csv").write_text("a,a,y\n1,2,3\n")
    code, _, err = run("init", tmp_path / "t.csv", "--target", "y", "--conf", tmp_path / "c.yml")
    assert (code, "the header has 'a' more than once" in err) == (1, True)


def test_suspiciously_good_score_names_the_columns(run, tmp_path):
    rows = "\n".join(f"{row % 97},{row % 7},{(row % 97) * 2 + 1}" for row in range(4000))
    (tmp_path / "t.csv").write_text(f"x,n,y\n{rows}\n")
    (tmp_path / "c.yml").write_text("data: {path: t.csv, target: y}\nmodel: {kind: linear}\n")
    text = run("train", "--conf", tmp_path / "c.yml", "--store", tmp_path / "m")[1]["text"]
    assert "this score is suspiciously good: it depends on 'x'; is that known when" in text
